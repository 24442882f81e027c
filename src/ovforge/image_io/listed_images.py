"""Whether a folder or file of images is that of an annotation file: asked before a run, not found out after it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from ovforge.errors import InputError, Place
from ovforge.image_io.store import ImageStore

_ASKED_FIRST = 200
_FOLDERS_LOOKED_INTO = 50


def require_listed_images(store: ImageStore, names: Sequence[str], listed_in: Path) -> None:
    """Refuse images of which the annotation file lists not a single one.

    Args:
        names: the images that `listed_in` lists.

    Raises:
        InputError: `store` has none of them; says what it has, and where they may be.
    """
    if any(name in store for name in islice(names, _ASKED_FIRST)):
        return
    stored = store.names()
    if not set(stored).isdisjoint(names):
        return
    found = f"it holds {stored[0]}, for one" if stored else "it holds no files"
    raise InputError(
        f"holds none of the {len(names):,} images of {listed_in}",
        place=Place(str(store.path)),
        detail=f"{names[0]}, for one, is not there; {found}",
        hint=_where_they_may_be(store.path, names[0]),
    )


def _where_they_may_be(path: Path, name: str) -> str:
    if path.is_dir():
        folders = sorted(one for one in path.iterdir() if one.is_dir())[:_FOLDERS_LOOKED_INTO]
        for folder in (*folders, path.parent):
            if (folder / name).is_file():
                return f"they are in {folder}: give --images={shlex.quote(str(folder))}"
    return "--images=PATH names the folder or HDF5 file of these images"
