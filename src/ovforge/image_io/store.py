"""Images by name, from a folder or from one HDF5 file.

Both are opened lazily and again after a fork or a pickle, so a store may be handed to worker processes.
A name is a key, never a path that leads anywhere: in a folder only files inside it are reached.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from ovforge.errors import ImageError, InputError, MissingImageError, MissingInputError, StorageError
from ovforge.image_io.hdf5 import ImageReader, is_hdf5
from ovforge.image_io.read_file import check_file_size, exists, is_folder, read_image_file
from ovforge.records.flat_names import flattened


class ImageStore(Protocol):
    """Images by name."""

    path: Path

    def read(self, name: str) -> bytes:
        """The bytes of one image as they are stored.

        Raises:
            MissingImageError: there is no such image, in a folder or file that is there.
            ImageError: it is not a plain file, or not stored as an image's bytes; names it.
            StorageError: the disk or network file system failed. It may well work when it is tried again.
        """

    def __contains__(self, name: object) -> bool: ...

    def names(self) -> list[str]:
        """The names of all images, sorted as plain strings."""

    def close(self) -> None:
        """Give back what was opened; the store opens itself again when it is used again."""

    def __enter__(self) -> ImageStore: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_image_store(path: Path) -> ImageStore:
    """Open a folder of images or an HDF5 file of them.

    Raises:
        MissingInputError: there is neither at `path`.
        InputError: `path` is a file, but not HDF5.
        StorageError: the disk or network file system cannot tell.
    """
    path = Path(path)
    if not exists(path):
        raise MissingInputError(
            path, what="folder or HDF5 file of images", hint="give the place of the images with --images=PATH"
        )
    if path.is_dir():
        return FolderStore(path)
    if not is_hdf5(path):
        raise InputError(
            f"{path}: is neither a folder nor an HDF5 file",
            hint="`ovforge lvis pack-images` writes such a file; one that was cut short has to be written again",
        )
    return Hdf5Store(path)


class _Closing:
    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FolderStore(_Closing):
    """The images of one folder, by file name; those in its subfolders by file name, too, or by their flat names.

    A file name that several subfolders have stands for none of them: only flat names tell them apart.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._deeper: dict[str, str] | None = None

    def read(self, name: str) -> bytes:
        """The bytes of the file `name` inside the folder."""
        if not is_plain_name(name):
            raise ImageError(repr(name), "is not a file name", detail=f"in {self.path}")
        try:
            return read_image_file(f"{self.path}/{name}", name)
        except MissingImageError:
            deeper = self._in_subfolders().get(name)
            if deeper is None:
                raise
            return read_image_file(f"{self.path}/{deeper}", name)

    def forbidden(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are files right in the folder and may not be read; asks the system about each."""
        paths = ((name, f"{self.path}/{name}") for name in names)
        return [name for name, path in paths if not os.access(path, os.R_OK) and Path(path).exists()]

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str) or not is_plain_name(name):
            return False
        return exists(f"{self.path}/{name}") or name in self._in_subfolders()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_deeper": None}

    def _in_subfolders(self) -> dict[str, str]:
        """The images in subfolders, looked for when the first image is not in the folder itself."""
        if self._deeper is None:
            found: dict[str, str] = {}
            twice: set[str] = set()
            for folder, folders, files in os.walk(self.path, followlinks=False):
                folders[:] = sorted(one for one in folders if not one.startswith("."))
                inside = os.path.relpath(folder, self.path)
                if inside == ".":
                    continue
                for name in files:
                    path = f"{inside}/{name}".replace(os.sep, "/")
                    found[flattened(path.split("/"))] = path
                    if name in found and found[name] != path:
                        twice.add(name)
                    found.setdefault(name, path)
            self._deeper = {name: path for name, path in found.items() if name not in twice}
        return self._deeper

    def names(self) -> list[str]:
        """The names of all files in the folder, sorted; subfolders and hidden files are not images."""
        try:
            with os.scandir(self.path) as entries:
                return sorted(e.name for e in entries if not e.name.startswith(".") and not is_folder(e))
        except OSError as error:
            raise StorageError(self.path, error) from error


class Hdf5Store(_Closing):
    """The images of one HDF5 file, as `image_io.hdf5` reads them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader: ImageReader | None = None
        self._process = 0

    def read(self, name: str) -> bytes:
        """The bytes of the data set `name`."""
        if not is_plain_name(name):
            raise ImageError(repr(name), "is not a file name", detail=f"in {self.path}")
        try:
            reader = self._open()
            place = reader.locate(name)
            if isinstance(place, bytes):
                return place
            check_file_size(place.size, name)
            return reader.read_at(place, name)
        except (StorageError, OSError) as error:
            self.close()  # a handle that has gone stale stays so; the next try opens the file again
            if isinstance(error, OSError):
                raise StorageError(self.path, error) from error
            raise

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and is_plain_name(name) and name in self._open()

    def names(self) -> list[str]:
        """The names of all data sets at the file's root, sorted."""
        return self._open().names()

    def close(self) -> None:
        """Close the file; it opens again when it is used again."""
        # A handle inherited through a fork belongs to the parent.
        if self._reader is not None and self._process == os.getpid():
            self._reader.close()
        self._reader = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_reader": None, "_process": 0}

    def _open(self) -> ImageReader:
        if self._reader is None or self._process != os.getpid():
            self._reader = ImageReader(self.path)
            self._process = os.getpid()
        return self._reader


IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""Of the names that data sets give images; what is inside is told by the bytes."""


def has_image_suffix(name: str) -> bool:
    """Whether a file's name ends as image files' names do, in upper or lower case.

    >>> has_image_suffix("n01443537_1.JPEG"), has_image_suffix("README.txt")
    (True, False)
    """
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_utf8(name: str) -> bool:
    """Whether a file's name is UTF-8; one that is not can stand in no JSON file."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_plain_name(name: str) -> bool:
    """Whether `name` names something right inside a folder: no separators, `..`, drive or control characters."""
    return (
        name not in ("", ".", "..")
        and not any(c in "/\\" or ord(c) < 32 for c in name)
        and not (os.name == "nt" and ":" in name)
    )
