"""Very many small files, each whole or not there under its name.

Waiting for the disk after each of 70,000 crops takes ten times longer than making them. So these are renamed into
place without being flushed: a kill at any moment leaves whole files only, but after a power cut the last ones may
be empty. Whoever writes them keeps their sizes in a receipt that is flushed, and looks at them before trusting it.
"""

from __future__ import annotations

import os
from pathlib import Path

from ovforge.errors import WorkError
from ovforge.files.atomic import is_temporary, temporary_owner, temporary_path
from ovforge.files.machine import machine_name, process_is_alive


def write_small_file(path: Path, data: bytes) -> None:
    """Write `data` to `path`, replacing what is there; missing folders are made.

    Raises:
        WorkError: the disk is full or the folder cannot be written; names the path.
    """
    temporary = temporary_path(path)
    try:
        try:
            temporary.write_bytes(data)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise WorkError(
            f"{path}: cannot be written ({error.strerror or error})",
            hint="check the room on the disk and the folder's permissions, then run the same command again",
        ) from error


def remove_stale_files(folder: Path) -> int:
    """Remove what killed processes of this machine left half-written right inside `folder`; how many files."""
    removed = 0
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        owner = temporary_owner(path) if is_temporary(path) else None
        if owner is not None and owner[0] == machine_name() and not process_is_alive(owner[1]):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def has_size(path: Path, size: int) -> bool:
    """Whether `path` is there with `size` bytes."""
    try:
        return path.stat().st_size == size
    except (FileNotFoundError, NotADirectoryError):
        return False
