"""Files that appear whole or not at all.

A file is written under a temporary name in its own folder, flushed to disk, and renamed. Without `overwrite`
the rename is a hard link, which fails if another process was faster, so no result is ever silently replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from ovforge.errors import OutputExistsError, WorkError
from ovforge.files.machine import machine_name

TEMPORARY_MARK = ".part-"


def check_output(path: Path, *, overwrite: bool, hint: str | Sequence[str] | None = None) -> None:
    """Refuse an existing output before any work is done; `hint` where another option than `--out` names it.

    Raises:
        OutputExistsError: `path` is there and `overwrite` is false.
    """
    if not overwrite and path.exists():
        raise OutputExistsError(path) if hint is None else OutputExistsError(path, hint=hint)


@contextlib.contextmanager
def atomic_path(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; publish what was written there under `path` on a clean exit.

    Missing folders are made. On any exception the temporary file is removed and `path` stays as it was.

    Raises:
        OutputExistsError: `path` exists, at the start or by the time of publishing, and `overwrite` is false.
        WorkError: the disk is full or the folder cannot be written; names the path.
    """
    check_output(path, overwrite=overwrite)
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        _publish(temporary, path, overwrite=overwrite)
        _flush_folder(path.parent)
    except OSError as error:
        # Errors of other files, read while this one is written, are not this file's.
        if error.filename is not None and Path(error.filename) not in (temporary, path, path.parent):
            raise
        raise _explained(error, path) from error
    finally:
        with contextlib.suppress(OSError):  # a stale temporary file is harmless, and must not hide what went wrong
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_file(path: Path, *, overwrite: bool = False, buffering: int = 1 << 20) -> Iterator[BinaryIO]:
    """Like `atomic_path`, but gives the temporary file opened for writing bytes."""
    with atomic_path(path, overwrite=overwrite) as temporary, open(temporary, "wb", buffering=buffering) as file:
        yield file


def write_bytes(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_file(path, overwrite=overwrite) as file:
        file.write(data)


def temporary_path(path: Path) -> Path:
    """A name beside `path` that no other process uses and that tells who wrote it (see `temporary_owner`)."""
    return path.parent / f".{path.name}{TEMPORARY_MARK}{machine_name()}-{os.getpid()}-{secrets.token_hex(4)}"


def publish(temporary: Path, path: Path, *, overwrite: bool = False) -> None:
    """Flush what was written to `temporary` and give it its final name.

    For writers that cannot use `atomic_path` because what goes wrong while they write is not this file's fault.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is false.
        WorkError: the disk is full or the folder cannot be written; names the path.
    """
    try:
        _flush(temporary)
        _publish(temporary, path, overwrite=overwrite)
        _flush_folder(path.parent)
    except OSError as error:
        raise _explained(error, path) from error


def is_temporary(path: Path) -> bool:
    """Whether `path` is a temporary file, as a write that was killed leaves it."""
    return path.name.startswith(".") and TEMPORARY_MARK in path.name


def temporary_owner(path: Path) -> tuple[str, int] | None:
    """(machine, process) that writes or wrote the temporary file `path`; None where the name does not tell."""
    machine, _, rest = path.name.rpartition(TEMPORARY_MARK)[2].rpartition("-")[0].rpartition("-")
    return (machine, int(rest)) if machine and rest.isdigit() else None


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    # Some network file systems refuse to open or sync a folder; the rename has happened all the same.
    with contextlib.suppress(OSError):
        _flush(folder)


def _publish(temporary: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise OutputExistsError(path) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # A file system without hard links: check once more, then rename.
        check_output(path, overwrite=False)
        os.replace(temporary, path)


def _explained(error: OSError, path: Path) -> WorkError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return WorkError(
            f"{path}: no space left to write it ({error.strerror})", hint="make room and run the same command again"
        )
    return WorkError(
        f"{path}: cannot be written ({error.strerror or error})",
        hint="check the folder and its permissions, then run the same command again",
    )
