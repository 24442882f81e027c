"""Reading a file of a data set, and whose fault it is when that fails.

Only "there is no such file, in a folder that is there" means that an image is missing. A name that leads nowhere (a
link to itself, a folder, a pipe) is a fault of the data too. Everything else (a stale handle, a failed read, a folder
that is away for a moment) is the disk's: taken for a broken image, half a second of it would leave images out for good.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ovforge.errors import ImageError, MissingImageError, StorageError

LARGEST_FILE = 512 << 20
"""Bytes; a larger file is not an image, and is not read into memory."""

_DATA_FAULTS = {
    errno.ELOOP: "is a link to itself",
    errno.EISDIR: "is a folder",
    errno.ENAMETOOLONG: "has a name that is too long",
    errno.ENXIO: "is a pipe or device",
    errno.ENODEV: "is a pipe or device",
    errno.ESPIPE: "is a pipe or device",
}
"""Errors that say something about the file, whenever it is tried again."""

OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
"""Non-blocking, because opening a named pipe would wait for a writer for ever; plain files do not mind."""


def open_regular_file(path: Path | str, name: Path | str) -> tuple[int, int]:
    """Open a file and give its descriptor and length.

    Raises:
        ImageError: it is a folder, a pipe or a device; called `name`.
        OSError: it cannot be opened; `read_failure` says what that means.
    """
    descriptor = os.open(path, OPEN_FLAGS)
    try:
        found = os.fstat(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise ImageError(name, _DATA_FAULTS[errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.ENXIO])
    return descriptor, found.st_size


def read_image_file(path: Path | str, name: Path | str) -> bytes:
    """All bytes of a file of a data set; errors call it `name`.

    Raises:
        MissingImageError: it is not there, in a folder that is there.
        ImageError: it is not a plain file, or larger than LARGEST_FILE.
        StorageError: the disk or network file system failed.
    """
    try:
        descriptor, length = open_regular_file(path, name)
        with open(descriptor, "rb", buffering=0) as file:
            check_file_size(length, name)
            return file.read()
    except OSError as error:
        raise read_failure(error, path, name) from error


def check_file_size(size: int, name: Path | str) -> None:
    """Refuse what no image is as large as.

    Raises:
        ImageError: more than LARGEST_FILE bytes.
    """
    if size > LARGEST_FILE:
        raise ImageError(name, "is too large for an image file", detail=f"{size:,} bytes")


def read_failure(error: OSError, path: Path | str, name: Path | str) -> ImageError | StorageError:
    """What it means that the file at `path`, called `name`, could not be opened or read."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        try:
            is_missing = is_absent(path)
        except OSError as again:
            return StorageError(path, again)
        if is_missing:
            return MissingImageError(name, "" if str(name) == str(path) else Path(path).parent)
        return StorageError(path, error, hint="its folder was away, or the file came back just now; try again")
    if error.errno in _DATA_FAULTS:
        return ImageError(name, _DATA_FAULTS[error.errno])
    return StorageError(path, error)


def is_absent(path: Path | str) -> bool:
    """Whether the folder of `path` is there and has no such entry, or a link that leads nowhere.

    The folder is held open while it is asked, so that it cannot come back in between.

    Raises:
        OSError: the folder is not there, or the system cannot tell.
    """
    folder, name = os.path.split(os.fspath(path))
    descriptor = os.open(folder or ".", os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        os.stat(name, dir_fd=descriptor)
    except (FileNotFoundError, NotADirectoryError):
        return True
    finally:
        os.close(descriptor)
    return False


def exists(path: Path | str) -> bool:
    """Whether there is something at `path`; like `Path.exists`, but what the disk cannot tell is no answer.

    Raises:
        StorageError: the disk or network file system failed.
    """
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno in _DATA_FAULTS:
            return False
        raise StorageError(path, error) from error
    return True


def why_no_file(entry: os.DirEntry[str]) -> str:
    """What an entry that is not a folder is, if it is not a plain file either; empty for a file or a link to one.

    Raises:
        OSError: the system cannot tell.
    """
    try:
        if entry.is_file():
            return ""
    except OSError as error:
        if error.errno in _DATA_FAULTS:
            return _DATA_FAULTS[error.errno]
        raise
    return "is a link that leads nowhere" if entry.is_symlink() else _DATA_FAULTS[errno.ENXIO]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether a directory entry is a folder, or a link to one; a link to itself is none.

    Raises:
        OSError: the system cannot tell.
    """
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno in _DATA_FAULTS:
            return False
        raise
