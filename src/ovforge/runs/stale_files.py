"""What killed processes leave behind, taken away at the next start; never what a living one is writing."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from ovforge.files.atomic import is_temporary, temporary_owner
from ovforge.files.machine import machine_name, process_is_alive
from ovforge.records.run_layout import RUNNING, WRITTEN_FOLDERS
from ovforge.runs.heartbeat import worker_statuses, written_ago

OTHERS_AFTER_SECONDS = 900.0
"""What another machine wrote is left alone until it is this old, even if nothing is heard of that machine."""
_RECORD = re.compile(r"\.?(now-)?(?P<machine>[^-]+-[^-]+)-(?P<pid>\d+)")  # machine_name() has one hyphen


def remove_stale_files(folder: Path) -> int:
    """Remove temporary files and records of processes that are gone; how many temporary files there were.

    On this machine a process is looked up. What another machine wrote is removed when its worker has not been
    heard of and nothing was written for 15 minutes. Should that be wrong (a clock that jumped), the worker finds
    its temporary file missing and does its shard again.
    """
    seen = worker_statuses(folder)
    alive = {(seen_one.worker.machine, seen_one.worker.pid) for seen_one in seen if seen_one.alive}
    removed = 0
    for path in list(_temporaries(folder)):
        owner = temporary_owner(path)
        if owner is not None and owner[0] == machine_name():
            gone = not process_is_alive(owner[1])
        else:
            gone = owner not in alive and written_ago(path) > OTHERS_AFTER_SECONDS
        if gone:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                removed += 1
    for record in (folder / RUNNING).glob("*"):
        _remove_record_of_dead(record, alive)
    return removed


def remove_temporaries_of(folder: Path, pid: int) -> None:
    """Remove the temporary files of one process of this machine that has ended."""
    for path in list(_temporaries(folder)):
        if temporary_owner(path) == (machine_name(), pid):
            path.unlink(missing_ok=True)


def _temporaries(folder: Path) -> Iterator[Path]:
    for name in WRITTEN_FOLDERS:
        with contextlib.suppress(OSError):
            yield from (path for path in sorted((folder / name).iterdir()) if is_temporary(path))


def _remove_record_of_dead(path: Path, alive: set[tuple[str, int]]) -> None:
    match = _RECORD.match(path.name)
    if match is None or (match["machine"], int(match["pid"])) in alive:
        return
    here = match["machine"] == machine_name()
    gone = not process_is_alive(int(match["pid"])) if here else written_ago(path) > OTHERS_AFTER_SECONDS
    if gone:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
