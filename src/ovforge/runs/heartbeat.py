"""Who is at work: each worker keeps a small file in `running/` up to date, for `pairs status` and for clean-ups."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from types import TracebackType

import msgspec

from ovforge.files.machine import host_name, machine_name, process_is_alive, process_start
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.run_layout import RUNNING
from ovforge.runs.signals import start_quietly
from ovforge.runs.task import Shard

BEAT_SECONDS = 5.0
ADVANCE_SECONDS = 1.0
"""A worker that gets on with its shard says so no more often than this."""
LOST_AFTER_SECONDS = 60.0
"""A worker of another machine whose file is older than this is taken for dead."""


class RunningWorker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker at work."""

    machine: str
    host: str
    pid: int
    process_start: str
    parent: int
    slot: int
    shard: int | None = None
    shard_seconds: float = 0.0
    """How long it has been at its shard, on its own monotonic clock, when it last wrote this."""
    items: int = 0
    """How many items of its shard are done."""
    count: int = 0


def record_path(folder: Path, pid: int, slot: int) -> Path:
    """The file of the worker `pid` of this machine."""
    return folder / RUNNING / f"{machine_name()}-{pid}-{slot}.json"


def remove_record(folder: Path, pid: int, slot: int) -> None:
    """Take away the file of a worker of this machine that has ended."""
    record_path(folder, pid, slot).unlink(missing_ok=True)


class Heartbeat:
    """Keeps this worker's file up to date from a thread of its own; the file goes when the context is left."""

    def __init__(self, folder: Path, slot: int) -> None:
        pid = os.getpid()
        self._path = record_path(folder, pid, slot)
        self._record = RunningWorker(
            machine=machine_name(),
            host=host_name(),
            pid=pid,
            process_start=process_start(pid),
            parent=os.getppid(),
            slot=slot,
        )
        self._shard: Shard | None = None
        self._since = self._written = 0.0
        self._items = 0
        self._count = 0
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._heartbeat_loop, daemon=True)

    def start(self, shard: Shard) -> None:
        """Work on `shard` begins."""
        self._shard, self._since, self._items = shard, time.monotonic(), 0
        self._write()

    def advance(self, items: int) -> None:
        """So many items of the shard are done. Written once in a while only."""
        self._items = items
        if time.monotonic() - self._written >= ADVANCE_SECONDS:
            self._write()

    def stop(self) -> None:
        """Work on the shard has ended. Not written at once: the next shard mostly follows at once."""
        self._shard = None

    def __enter__(self) -> Heartbeat:
        self._write()
        start_quietly(self._thread)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)

    def _heartbeat_loop(self) -> None:
        while not self._end.wait(BEAT_SECONDS):
            self._write()

    def _write(self) -> None:
        # Not flushed to disk: nobody needs it after a power cut. A full disk must not stop the work because of it.
        with self._lock, contextlib.suppress(OSError):
            shard = self._shard
            self._count += 1
            self._written = time.monotonic()
            record = msgspec.structs.replace(
                self._record,
                shard=None if shard is None else shard.index,
                shard_seconds=0.0 if shard is None else round(time.monotonic() - self._since, 3),
                items=0 if shard is None else self._items,
                count=self._count,
            )
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._path.with_name(f".{self._path.name}")
            temporary.write_bytes(msgspec.json.encode(record))
            os.replace(temporary, self._path)


class WorkerStatus(msgspec.Struct, frozen=True):
    """A worker's file as found, and how sure it is that the worker lives."""

    worker: RunningWorker
    age: float
    """Seconds since the file was written, by the clock of the file system."""
    alive: bool


def worker_statuses(folder: Path) -> list[WorkerStatus]:
    """All workers that have a file in `folder`, sorted by machine, process and slot.

    A worker of this machine is looked up among its processes. One of another machine lives while its file is
    fresh; "now" is the time of a file written just now in the same folder, so that neither this machine's clock
    nor the other's matters.
    """
    found: list[tuple[RunningWorker, float]] = []
    try:
        paths = sorted((folder / RUNNING).iterdir())
    except OSError:
        return []
    for path in paths:
        if path.suffix == ".json" and not path.name.startswith("."):
            with contextlib.suppress(OSError, *JSON_ERRORS):
                record = msgspec.json.decode(path.read_bytes(), type=RunningWorker)
                found.append((record, path.stat().st_mtime))
    others = any(record.machine != machine_name() for record, _ in found)
    now = _now(folder / RUNNING) if others else time.time()
    return [_worker_status(record, max(0.0, now - written)) for record, written in found]


class ClaimedShards:
    """The shards that workers of other parents are at, looked up about once a second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards: set[int] = set()
        self._looked = float("-inf")

    def shards(self) -> set[int]:
        """Their numbers. Better left to those workers; doing one all the same does no harm."""
        if time.monotonic() - self._looked > 1.0:
            mine = (machine_name(), os.getpid())
            seen = [one.worker for one in worker_statuses(self._folder) if one.alive]
            self._shards = {w.shard for w in seen if w.shard is not None and (w.machine, w.parent) != mine}
            self._looked = time.monotonic()
        return self._shards


def written_ago(path: Path) -> float:
    """Seconds since `path` was written, by the clock of its file system; 0 if it is gone."""
    try:
        return max(0.0, _now(path.parent) - path.stat().st_mtime)
    except OSError:
        return 0.0


def _worker_status(record: RunningWorker, age: float) -> WorkerStatus:
    if record.machine == machine_name():
        return WorkerStatus(record, age, process_is_alive(record.pid, record.process_start))
    return WorkerStatus(record, age, age <= LOST_AFTER_SECONDS)


def _now(folder: Path) -> float:
    """The time by the file system's clock, or this machine's where nothing can be written."""
    probe = folder / f".now-{machine_name()}-{os.getpid()}"
    try:
        probe.write_bytes(b"")
        os.utime(probe)
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
