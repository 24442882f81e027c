"""ImageNet-21K as users have it: train/val/small classes, one flat folder, or class tars that nobody unpacked.

All layouts are the same to a reader: classes by ImageNet id, and images by names relative to the root,
`train/n02084071/n02084071_1.JPEG` or `n02084071/n02084071_1.JPEG`. Wherever a class's folder may stand, its tar may
stand too (`train/n02084071.tar`), with the same names. Symbolic links are followed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ovforge.errors import ImageError, InputError, MissingImageError, MissingInputError
from ovforge.image_io.header import read_size_of_file
from ovforge.image_io.store import is_plain_name
from ovforge.image_io.tar_store import TarStore

TRAIN, VAL, SMALL = "train", "val", "imagenet21k_small_classes"
PARTS = (TRAIN, VAL, SMALL)
"""The parts of ImageNet-21K-P, in the order in which their images are listed."""

_OFFICIAL_NAMES = {"imagenet21k_train": TRAIN, "imagenet21k_val": VAL}  # as unpacked from imagenet21k_resized.tar.gz
_FLAT = ""

WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class ClassPlace:
    """Where one class lies in one part."""

    part: str
    """`train`, `val`, `imagenet21k_small_classes`, or empty in the flat layout."""
    prefix: str
    """What stands before the file name in the names of its images: `train/n02084071/`."""
    is_tar: bool


class ImageNet21k:
    """An ImageNet-21K tree, opened by reading the names in its part folders; also an image store."""

    def __init__(self, path: Path) -> None:
        """Look at what is in `path`.

        Raises:
            MissingInputError: there is no folder at `path`.
            InputError: the folder has neither parts nor classes in it, or cannot be listed.
        """
        self.path = Path(path)
        if not self.path.is_dir():
            raise MissingInputError(self.path, what="ImageNet-21K folder", hint=_WHERE)
        self.unrecognised: list[str] = []
        """Entries that are no class, relative to the root, sorted: a README.txt, say."""
        self._tars: dict[str, TarStore] = {}
        self._places: dict[str, list[ClassPlace]] = {}
        try:
            found = sorted(entry.name for entry in self.path.iterdir() if entry.is_dir())
            folders = {folder: _OFFICIAL_NAMES.get(folder, folder) for folder in found}
            parts = {part: folder for folder, part in folders.items() if part in PARTS}
            for part in PARTS if parts else (_FLAT,):
                if part == _FLAT or part in parts:
                    self._look_into(part, parts.get(part, ""))
        except OSError as error:
            raise InputError(f"{error.filename or self.path}: cannot be listed ({error.strerror or error})") from error
        self.layout = "parts" if parts else "flat"
        self.unrecognised.sort()
        if not self._places and not parts:
            raise InputError(f"{self.path}: neither train, val and {SMALL} nor n* folders or tars in it", hint=_WHERE)

    def __enter__(self) -> ImageNet21k:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the tars that are open; they open again when they are used again."""
        for tars in self._tars.values():
            tars.close()

    def classes(self) -> list[str]:
        """The ImageNet ids of all classes that have a folder or a tar, sorted."""
        return sorted(self._places)

    def places(self, wnid: str) -> Sequence[ClassPlace]:
        """Where `wnid` lies: train, then val, then the small classes; empty where it lies nowhere."""
        return self._places.get(wnid, ())

    def images(self, wnid: str, *, parts: Sequence[str] | None = None) -> list[str]:
        """The names of all files of a class, part after part, sorted by file name in each.

        What is no image is in the list as well; reading its size tells. Folders, hidden files and temporary
        files are skipped.

        Args:
            wnid: the class's ImageNet id.
            parts: only these; the flat layout has no parts and gives everything.

        Raises:
            ArchiveError: a class tar is broken or has members that are refused.
            ImageError: a class folder cannot be listed.
        """
        names: list[str] = []
        for place in self.places(wnid):
            if parts is None or place.part in (_FLAT, *parts):
                names += [place.prefix + file for file in self._files(place, wnid)]
        return names

    def names(self) -> list[str]:
        """The names of all files of all classes, sorted."""
        return sorted(name for wnid in self._places for name in self.images(wnid))

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        tars, inner = self._split(name)
        return inner in tars if tars is not None else is_plain_path(name) and (self.path / name).is_file()

    def read(self, name: str) -> bytes:
        """The bytes of one image.

        Raises:
            ImageError: there is no such image, or it cannot be read; names it.
        """
        tars, inner = self._split(name)
        if tars is not None:
            return tars.read(inner)
        if not is_plain_path(name):
            raise ImageError(repr(name), "is not a path inside the tree", detail=str(self.path))
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError as error:
            raise MissingImageError(self.path / name) from error
        except OSError as error:
            raise ImageError(self.path / name, "cannot be read", detail=str(error.strerror or error)) from error

    def read_size(self, name: str) -> tuple[int, int]:
        """Width and height of one image from its header, turned by its EXIF orientation.

        Raises:
            ImageError: there is no such image, or it is none; names it.
        """
        tars, inner = self._split(name)
        if tars is not None:
            return tars.read_size(inner)
        return read_size_of_file(f"{self.path}/{name}")

    def _look_into(self, part: str, folder: str) -> None:
        prefix = f"{folder}/" if folder else ""
        with os.scandir(self.path / folder) as entries:
            found = {entry.name: entry.is_dir() for entry in sorted(entries, key=lambda entry: entry.name)}
        for name, is_folder in found.items():
            wnid = name.removesuffix(".tar")
            is_tar = wnid != name
            # Of a folder and a tar of the same class in the same place, the folder is taken.
            if not WNID.fullmatch(wnid) or is_folder == is_tar or (is_tar and found.get(wnid)):
                self.unrecognised.append(prefix + name)
                continue
            if is_tar and prefix not in self._tars:
                self._tars[prefix] = TarStore(self.path / folder)
            self._places.setdefault(wnid, []).append(ClassPlace(part, f"{prefix}{wnid}/", is_tar))

    def _files(self, place: ClassPlace, wnid: str) -> list[str]:
        if place.is_tar:
            files = list(self._tars[place.prefix.removesuffix(f"{wnid}/")].members(wnid))
        else:
            folder = self.path / place.prefix
            try:
                with os.scandir(folder) as entries:
                    files = [entry.name for entry in entries if not entry.is_dir()]
            except OSError as error:
                raise ImageError(folder, "cannot be listed", detail=str(error.strerror or error)) from error
        return sorted(file for file in files if not file.startswith("."))

    def _split(self, name: str) -> tuple[TarStore | None, str]:
        """The tars that `name` lies in, and its name there; None for a file in a folder."""
        folder, _, file = name.rpartition("/")
        prefix, wnid = folder[: -len(folder.rpartition("/")[2])], folder.rpartition("/")[2]
        tars = self._tars.get(prefix)
        if tars is None or not any(p.is_tar and p.prefix == f"{folder}/" for p in self.places(wnid)):
            return None, name
        return tars, f"{wnid}/{file}"


def is_plain_path(name: str) -> bool:
    """Whether `name` is a relative path that stays inside its folder."""
    return all(is_plain_name(part) for part in name.split("/"))


_WHERE = (
    "link an existing copy there (`ln -s`), or make one with `ovforge imagenet prepare`; "
    "ImageNet-21K comes from https://image-net.org/download-images after registration"
)
