"""A folder of class tars as an image store: images are read where they lie, nothing is unpacked."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any

from ovforge.errors import ImageError, MissingImageError, MissingInputError, StorageError
from ovforge.files.tar_archive import Member, read_members
from ovforge.image_io.header import read_header_at
from ovforge.image_io.read_file import check_file_size, exists, is_folder, read_failure
from ovforge.image_io.store import is_plain_name

REPEATED = "is in its tar more than once; the first counts"
"""What is said of an image that two members of a class tar have the name of."""
_OPEN_TARS = 64
"""Files kept open at a time; a system's limit is often 1,024."""


class TarStore:
    """The images in a folder of tars; image `file` in `nXXXXXXXX.tar` is called `nXXXXXXXX/file`.

    An image store (see `image_io.store`): files are opened when needed, and again after a fork or a pickle. A
    tar is indexed when it is first asked for, and stays indexed. Folders inside a tar are no part of the names: of
    `nXXXXXXXX/file` and `file` in one tar the first counts, and `repeated` names them.
    """

    def __init__(self, path: Path) -> None:
        path = Path(path)
        if not path.is_dir():
            raise MissingInputError(path, what="folder of class tars")
        self.path = path
        self._indexes: dict[str, dict[str, Member]] = {}
        self._repeated: dict[str, set[str]] = {}
        self._descriptors: dict[str, int] = {}
        self._process = os.getpid()

    def __enter__(self) -> TarStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_descriptors": {}, "_process": 0}

    def close(self) -> None:
        """Close the files that are open; they open again when they are used again."""
        if self._process == os.getpid():  # descriptors inherited through a fork belong to the parent
            for descriptor in self._descriptors.values():
                os.close(descriptor)
        self._descriptors.clear()

    def classes(self) -> list[str]:
        """The names of the tars without their suffix, sorted."""
        with os.scandir(self.path) as entries:
            return sorted(entry.name[:-4] for entry in entries if entry.name.endswith(".tar") and not is_folder(entry))

    def members(self, class_: str) -> dict[str, Member]:
        """File name -> member, sorted by file name, of the tar of `class_`; empty where there is none.

        Raises:
            ArchiveError: the tar is broken, cut short, or has members that are refused.
        """
        if class_ not in self._indexes:
            tar = self._tar(class_)
            members: dict[str, Member] = {}
            repeated = set()
            for member in read_members(tar) if exists(tar) else ():
                file = member.name.rpartition("/")[2]
                if members.setdefault(file, member) is not member:
                    repeated.add(file)
            self._indexes[class_] = dict(sorted(members.items()))
            self._repeated[class_] = repeated
        return self._indexes[class_]

    def repeated(self, class_: str) -> set[str]:
        """The files of which the tar of `class_` has several; the first of each counts.

        Raises:
            ArchiveError: see `members`.
        """
        self.members(class_)
        return self._repeated[class_]

    def names(self) -> list[str]:
        """The names of all images, sorted; indexes every tar."""
        return sorted(f"{class_}/{file}" for class_ in self.classes() for file in self.members(class_))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def read(self, name: str) -> bytes:
        """The bytes of an image.

        Raises:
            MissingImageError: there is no such image.
            ImageError: its tar became shorter since it was indexed.
            ArchiveError: see `members`.
            StorageError: the disk or network file system failed.
        """
        descriptor, member = self._open(name)
        check_file_size(member.size, self._shown(name))
        try:
            data = os.pread(descriptor, member.size, member.offset)
        except OSError as error:
            raise self._failed(name, error) from error
        if len(data) < member.size:
            raise ImageError(self._shown(name), "its tar was cut short since it was indexed")
        return data

    def read_size(self, name: str) -> tuple[int, int]:
        """Width and height of an image from its header, turned by EXIF.

        Raises:
            MissingImageError: there is no such image.
            ImageError: it is none, or cut short.
            ArchiveError: see `members`.
            StorageError: the disk or network file system failed.
        """
        descriptor, member = self._open(name)

        def read_at(offset: int, size: int) -> bytes:
            return os.pread(descriptor, max(0, min(size, member.size - offset)), member.offset + offset)

        try:
            return read_header_at(read_at, member.size, self._shown(name)).shown_size
        except OSError as error:
            raise self._failed(name, error) from error

    def _failed(self, name: str, error: OSError) -> ImageError | StorageError:
        """What it means that a tar cannot be read; a descriptor that has gone stale is closed, for the next try."""
        class_ = name.partition("/")[0]
        descriptor = self._descriptors.pop(class_, None)
        if descriptor is not None:
            os.close(descriptor)
        return read_failure(error, self._tar(class_), self._tar(class_))

    def _find(self, name: str) -> Member | None:
        class_, slash, file = name.partition("/")
        return self.members(class_).get(file) if slash and is_plain_name(class_) else None

    def _open(self, name: str) -> tuple[int, Member]:
        member = self._find(name)
        if member is None:
            raise MissingImageError(self._shown(name))
        return self._descriptor(name.partition("/")[0]), member

    def _tar(self, class_: str) -> Path:
        return self.path / f"{class_}.tar"

    def _shown(self, name: str) -> str:
        class_, _, file = name.partition("/")
        return f"{self._tar(class_)}:{file}"

    def _descriptor(self, class_: str) -> int:
        if self._process != os.getpid():
            self._descriptors.clear()
            self._process = os.getpid()
        descriptor = self._descriptors.pop(class_, None)
        if descriptor is None:
            if len(self._descriptors) >= _OPEN_TARS:
                os.close(self._descriptors.pop(next(iter(self._descriptors))))
            try:
                descriptor = os.open(self._tar(class_), os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise read_failure(error, self._tar(class_), self._tar(class_)) from error
        self._descriptors[class_] = descriptor
        return descriptor
