"""A folder of class tars as an image store: pictures are read where they lie, nothing is unpacked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ovforge.errors import ImageError, MissingInputError
from ovforge.storage.image_header import read_size
from ovforge.storage.tar_archive import Member, read_members

_OPEN_TARS = 64
"""Files kept open at a time; a system's limit is often 1,024."""


class TarStore:
    """The pictures in a folder of tars; picture `file` in `nXXXXXXXX.tar` is called `nXXXXXXXX/file`.

    A tar is indexed when it is first asked for, and stays indexed. Folders inside a tar are no part of the names:
    `nXXXXXXXX/file` and `file` are the same picture, the first in the tar.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise MissingInputError(folder, what="folder of class tars")
        self.folder = folder
        self._indexes: dict[str, dict[str, Member]] = {}
        self._descriptors: dict[str, int] = {}

    def __enter__(self) -> TarStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files that are open."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def classes(self) -> list[str]:
        """The names of the tars without their suffix, sorted."""
        return sorted(entry.name[:-4] for entry in os.scandir(self.folder) if entry.name.endswith(".tar"))

    def members(self, class_: str) -> dict[str, Member]:
        """File name -> member, sorted by file name, of the tar of `class_`; empty where there is none.

        Raises:
            ArchiveError: the tar is broken, cut short, or has members that are refused.
        """
        if class_ not in self._indexes:
            path = self._path(class_)
            members: dict[str, Member] = {}
            for member in read_members(path) if path.is_file() else ():
                members.setdefault(member.name.rpartition("/")[2], member)
            self._indexes[class_] = dict(sorted(members.items()))
        return self._indexes[class_]

    def names(self) -> list[str]:
        """The names of all pictures, sorted; indexes every tar."""
        return sorted(f"{class_}/{file}" for class_ in self.classes() for file in self.members(class_))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def read(self, name: str) -> bytes:
        """The bytes of a picture.

        Raises:
            ImageError: there is no such picture, or its tar became shorter since it was indexed.
            ArchiveError: see `members`.
        """
        member = self._member(name)
        data = os.pread(self._descriptor(name.partition("/")[0]), member.size, member.offset)
        while 0 < len(data) < member.size:  # one call reads at most 2 GB on Linux
            more = os.pread(self._descriptor(name.partition("/")[0]), member.size - len(data), member.offset + len(data))
            if not more:
                break
            data += more
        if len(data) < member.size:
            raise ImageError(self._shown(name), "its tar was cut short since it was indexed")
        return data

    def read_size(self, name: str) -> tuple[int, int]:
        """Width and height of a picture from its header, turned by EXIF.

        Raises:
            ImageError: there is no such picture, or it is none.
        """
        member = self._member(name)
        descriptor = self._descriptor(name.partition("/")[0])
        return read_size(_Window(descriptor, member), self._shown(name))

    def _member(self, name: str) -> Member:
        member = self._find(name)
        if member is None:
            raise ImageError(self._shown(name), "no such picture")
        return member

    def _find(self, name: str) -> Member | None:
        class_, slash, file = name.partition("/")
        return self.members(class_).get(file) if slash and class_ not in ("", "..") else None

    def _path(self, class_: str) -> Path:
        return self.folder / f"{class_}.tar"

    def _shown(self, name: str) -> str:
        class_, _, file = name.partition("/")
        return f"{self._path(class_)}: {file}"

    def _descriptor(self, class_: str) -> int:
        descriptor = self._descriptors.pop(class_, None)
        if descriptor is None:
            if len(self._descriptors) >= _OPEN_TARS:
                oldest = next(iter(self._descriptors))
                with contextlib.suppress(OSError):
                    os.close(self._descriptors.pop(oldest))
            descriptor = os.open(self._path(class_), os.O_RDONLY | os.O_CLOEXEC)
        self._descriptors[class_] = descriptor
        return descriptor
