"""Folders that appear whole or not at all: filled under a temporary name beside their place, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from ovforge.errors import InputError, OutputExistsError, WorkError
from ovforge.files.atomic import TEMPORARY_MARK


@contextlib.contextmanager
def atomic_folder(folder: Path, *, overwrite: bool = False, mark: str) -> Iterator[Path]:
    """Give an empty temporary folder beside `folder`; on a clean exit it becomes `folder`.

    An empty `folder` is replaced. With `overwrite` a full one is replaced too, with everything in it, but only if it
    was written by the same step before, which its file `mark` shows: nobody's other work is removed. On any exception
    the temporary folder is removed and `folder` stays as it was.

    Raises:
        OutputExistsError: `folder` is not empty and `overwrite` is false.
        InputError: `folder` is a file, the folder one works in, or holds something else than this step's output.
        WorkError: it cannot be written.
    """
    final = folder.resolve()
    _check(folder, final, overwrite=overwrite, mark=mark)
    unique = f"{TEMPORARY_MARK}{os.getpid()}-{secrets.token_hex(4)}"
    temporary, old = (final.parent / f".{final.name}{part}{unique}" for part in ("", ".old"))
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if final.exists():
            _check(folder, final, overwrite=overwrite, mark=mark)
            final.rename(old)
        try:
            temporary.rename(final)
        except OSError:
            if old.exists():
                old.rename(final)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise WorkError(
            f"{folder}: cannot be written ({error.strerror or error})",
            hint="check the permissions and the space on the disk; where it is a mount point, name a folder inside it",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check(folder: Path, final: Path, *, overwrite: bool, mark: str) -> None:
    if not final.exists():
        return
    if not final.is_dir():
        raise InputError(f"{folder}: is a file, not a folder", hint="name a folder that does not exist yet")
    if final == Path.cwd() or final in Path.cwd().parents:
        raise InputError(
            f"{folder}: is or holds the folder you are in and cannot be replaced",
            hint="name a folder that does not exist yet",
        )
    if not any(final.iterdir()):
        return
    if not overwrite:
        raise OutputExistsError(folder, hint=("--overwrite replaces it", "name another folder"))
    if not (final / mark).is_file():
        raise InputError(
            f"{folder}: has no {mark}, so it holds something else, and is not replaced",
            hint="name another folder, or remove this one yourself",
        )
