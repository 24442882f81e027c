"""One shard, done in a worker: written, published, entered in the ledger. The same for every executor."""

from __future__ import annotations

import contextlib
import errno
import re
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeGuard

import msgspec

from ovforge.errors import OvforgeError, StorageError, WorkError
from ovforge.files.atomic import publish, temporary_path
from ovforge.files.machine import host_name
from ovforge.runs.ledger import Ledger, LedgerEntry
from ovforge.runs.plan import file_sha256
from ovforge.runs.task import Shard, Slot, Task, Worker

STORAGE_PAUSE_SECONDS = 5.0
"""A disk or network file system that failed is given so long before the shard is tried again."""
_UNREACHABLE = tuple(
    getattr(errno, name)
    for name in ("ESTALE", "EIO", "ETIMEDOUT", "ENOTCONN", "EHOSTDOWN", "EHOSTUNREACH", "EREMOTEIO", "ENODEV")
    if hasattr(errno, name)
)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@dataclass(frozen=True)
class Job:
    """What an executor works on: the task of the run in `folder`. Picklable."""

    folder: Path
    plan_id: str
    task: Task

    def ledger(self) -> Ledger:
        """The run's ledger."""
        return Ledger(self.folder, self.plan_id)


class Attempt(msgspec.Struct, frozen=True):
    """A try at a shard that went wrong."""

    problem: str
    """One line: the exception, or how the worker died."""
    traceback: str
    host: str
    worker: str


class FatalError(Exception):
    """Something that would fail every other shard too; `error` is what the user gets to see."""

    def __init__(self, error: OvforgeError) -> None:
        super().__init__(error)
        self.error = error

    def __reduce__(self) -> tuple[object, ...]:
        return FatalError, (self.error,)


def open_worker(job: Job, slot: Slot) -> Worker:
    """Open the job's task in this process.

    Raises:
        FatalError: the task cannot be opened: a missing input, extra or device, for which no retry helps.
    """
    try:
        return job.task.open(slot)
    except OvforgeError as error:
        raise FatalError(error) from error
    except Exception as error:
        problem = f"the work could not be started on {host_name()}: {_one_line(error)}"
        raise FatalError(WorkError(problem, hint=traceback.format_exc())) from error


def do_shard(job: Job, worker: Worker, shard: Shard, slot_name: str) -> int:
    """Do `shard`, unless it is done already; how many items it has.

    Several processes may do the same shard at once: they write the same bytes, and whoever publishes first wins.

    Raises:
        FatalError: no room on the disk, or it cannot be written to.
        Exception: whatever the task raises.
    """
    ledger = job.ledger()
    if (entry := ledger.entry_if_done(shard)) is not None:
        return entry.report.items
    path = ledger.shard_path(shard, job.task.shard_suffix)
    temporary = temporary_path(path)
    started = time.monotonic()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _unraisable_raised():
            report = worker.run(shard, temporary)
        size, sha256 = temporary.stat().st_size, file_sha256(temporary)
        if (entry := ledger.entry_if_done(shard)) is not None:
            return entry.report.items
        publish(temporary, path, overwrite=True)
        _check_published(path, size)
        ledger.write(
            LedgerEntry(
                shard=shard.index,
                plan=job.plan_id,
                file=path.relative_to(job.folder).as_posix(),
                size=size,
                sha256=sha256,
                report=report,
                seconds=round(time.monotonic() - started, 6),
                host=host_name(),
                worker=slot_name,
            )
        )
    except Exception as error:
        if _is_out_of_room(error):
            raise FatalError(_out_of_room(error, path)) from error
        if _is_storage_problem(error):
            time.sleep(STORAGE_PAUSE_SECONDS)
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return report.items


def attempt(error: BaseException, slot_name: str) -> Attempt:
    """What is remembered of a shard that failed with `error`; to be called where it is being handled."""
    return Attempt(_one_line(error), traceback.format_exc(), host_name(), slot_name)


@contextlib.contextmanager
def _unraisable_raised() -> Iterator[None]:
    """Raise the failed writes that Python could only have printed.

    h5py writes what it still holds when handles are freed; on a full disk that fails inside `__dealloc__`, where
    nothing can be raised, and the file would be taken for whole. Whatever else cannot be raised is printed as ever.
    """
    caught: list[BaseException] = []
    unraisable_hook, except_hook = sys.unraisablehook, sys.excepthook

    def keep(unraisable: sys.UnraisableHookArgs) -> None:
        if _is_failed_write(unraisable.exc_value):
            caught.append(unraisable.exc_value)
        else:
            unraisable_hook(unraisable)

    def keep_silently(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
        """Cython prints first, through this hook, what it then hands to the other."""
        if not _is_failed_write(error):
            except_hook(kind, error, at)

    sys.unraisablehook, sys.excepthook = keep, keep_silently
    try:
        yield
    except Exception as error:
        if caught and error.__cause__ is None:
            raise error from caught[0]  # the first that went wrong, and mostly the reason for the second
        raise
    finally:
        sys.unraisablehook, sys.excepthook = unraisable_hook, except_hook
    if caught:
        raise WorkError(f"writing failed: {_one_line(caught[0])}") from caught[0]


def _is_failed_write(error: BaseException | None) -> TypeGuard[BaseException]:
    return isinstance(error, OSError) or (isinstance(error, RuntimeError) and "write failed" in str(error))


def _check_published(path: Path, size: int) -> None:
    # A network file system may report a rename and lose it; the ledger must not speak of a file that is not there.
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        found = -1
    if found != size:
        raise WorkError(f"{path}: published with {size:,} bytes, but {'gone' if found < 0 else f'{found:,} are there'}")


def _is_out_of_room(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        # HDF5 reports the system's error in words only: "file write failed: ... errno = 28, error message = ...".
        code = re.search(r"errno = (\d+)", str(error))
        if code and int(code[1]) in _NO_ROOM:
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_storage_problem(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, StorageError) or (isinstance(error, OSError) and error.errno in _UNREACHABLE):
            return True
        error = error.__cause__ or error.__context__
    return False


def _out_of_room(error: BaseException, path: Path) -> WorkError:
    if isinstance(error, WorkError) and not isinstance(error.__cause__, RuntimeError):
        return error
    return WorkError(
        f"{path}: cannot be written: no room left, or a read-only disk ({_one_line(error)})",
        hint="make room and run the same command again: what is done stays done",
    )


def _one_line(error: BaseException) -> str:
    text = error.message if isinstance(error, OvforgeError) else str(error)
    return f"{type(error).__name__}: {' '.join(text.split())}"[:500]
