"""Reading and changing `NAME.review.json`.

Every change reads the file, changes single entries, and replaces the file in one step, all under a lock. So pages,
processes and machines that share the folder never undo each other's work, and a process that is killed leaves either
the old file or the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from ovforge.errors import InputError, MissingInputError, Place, WorkError
from ovforge.files.atomic import TEMPORARY_MARK, write_bytes
from ovforge.records.review import Changed, Review, ReviewChange, ReviewEntry, apply_changes


def read_review(path: Path, *, required: bool = False) -> Review:
    """The review at `path`; an empty one where there is no file, unless it is required.

    Raises:
        MissingInputError: it is required and not there.
        InputError: it is not a review, or is damaged; says where.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if required:
            hint = "`ovforge pairs view NAME` writes it: press k, r or t on a pair"
            raise MissingInputError(path, what="review", hint=hint) from None
        return Review()
    except OSError as error:
        raise InputError("the review cannot be read", place=Place(str(path)), detail=str(error.strerror)) from error
    try:
        return msgspec.json.decode(content, type=Review)
    except msgspec.MsgspecError as error:
        raise InputError(
            "is not a review of pairs",
            place=Place(str(path)),
            detail=str(error),
            hint="mend it, or move it away to begin a new review",
        ) from None


def change_review(
    path: Path, changes: Iterable[ReviewChange]
) -> tuple[Review, list[Changed], list[tuple[str, ReviewEntry]]]:
    """Change single entries of the review at `path`; see `apply_changes`.

    Raises:
        InputError: what is there is no review; it stays as it is.
        WorkError: it cannot be locked or written; names the path.
    """
    with _locked(path):
        before = read_review(path)
        review, changed, refused = apply_changes(before, changes)
        if review is not before:
            write_bytes(path, msgspec.json.format(msgspec.json.encode(review), indent=1) + b"\n", overwrite=True)
    return review, changed, refused


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the review's lock, which the system takes back from a process that dies."""
    lock_path = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _not_writable(path, error) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise _not_writable(path, error) from error
        # Whoever holds the lock is the only writer: other temporary files are of processes that were killed.
        for left in path.parent.glob(f".{path.name}{TEMPORARY_MARK}*"):
            with contextlib.suppress(OSError):
                left.unlink()
        yield
    finally:
        os.close(lock)


def _not_writable(path: Path, error: OSError) -> WorkError:
    return WorkError(
        f"{path}: the review cannot be written ({error.strerror})",
        hint="check the folder and its permissions; `--read-only` shows the pages without it",
    )
