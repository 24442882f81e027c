"""A file that is read by position, and ranges of it."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from ovforge.errors import AnnotationFileError, MissingInputError

_SPACE = re.compile(rb"[ \t\r\n]*")


class ByteFile:
    """A file read by position. Nothing is mapped, so that memory stays flat."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Without O_NONBLOCK a pipe that nobody writes to would be waited for.
            self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError:
            raise MissingInputError(path, what="annotation file") from None
        except OSError as error:
            raise AnnotationFileError(path, "cannot be read", detail=str(error.strerror or error)) from error
        status = os.fstat(self.descriptor)
        self.size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            self.close()
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
            raise AnnotationFileError(path, "cannot be read", detail=f"it is {kind}, not a file")

    def __enter__(self) -> ByteFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop), fewer at the end of the file."""
        try:
            data = os.pread(self.descriptor, stop - start, start)
            if len(data) < stop - start and start + len(data) < self.size:
                pieces = [data]  # the kernel hands out at most 2 GB a call
                start += len(data)
                while start < stop and (data := os.pread(self.descriptor, stop - start, start)):
                    pieces.append(data)
                    start += len(data)
                return b"".join(pieces)
        except OSError as error:
            raise self._unreadable(start, error) from error
        return data

    def read_into(self, memory: memoryview, start: int) -> memoryview:
        """Fill `memory` with the bytes from `start` on; the part that was filled, less at the end of the file."""
        filled = 0
        try:
            while filled < len(memory) and (count := os.preadv(self.descriptor, [memory[filled:]], start + filled)):
                filled += count
        except OSError as error:
            raise self._unreadable(start + filled, error) from error
        return memory[:filled]

    def _unreadable(self, position: int, error: OSError) -> AnnotationFileError:
        return AnnotationFileError(self.path, "cannot be read", byte=position, detail=str(error.strerror))

    def skip_space(self, start: int) -> int:
        """The position of the first byte at or after `start` that is not white space."""
        while True:
            data = self.read(start, start + 4096)
            skipped = _SPACE.match(data).end()  # type: ignore[union-attr]
            start += skipped
            if skipped < len(data) or not data:
                return start


class FileRange(NamedTuple):
    """Bytes [start, stop) of an annotation file, to be copied into another."""

    file: ByteFile
    start: int
    stop: int
