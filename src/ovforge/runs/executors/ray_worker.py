"""What runs inside the worker processes of a Ray cluster. Knows nothing of Ray itself."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable

from ovforge.errors import WorkError
from ovforge.files.machine import host_name
from ovforge.records.run_layout import MANIFEST
from ovforge.runs.heartbeat import Heartbeat
from ovforge.runs.task import Shard, Slot, Worker
from ovforge.runs.worker import Attempt, FatalError, Job, attempt, do_shard, open_worker

Packed = tuple[bytes, str]
"""The pickled job, and the folder in which the run was started."""


class ShardFailedError(Exception):
    """A shard was not done this time; Ray tries again."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt.problem)
        self.attempt = attempt

    def __reduce__(self) -> tuple[object, ...]:
        return ShardFailedError, (self.attempt,)


class RayShardWorker:
    """The actor: the task stays open between its shards."""

    def __init__(self, packed: Packed, cores: float) -> None:
        self._packed, self._cores = packed, cores
        self._opened: tuple[Job, Worker, Heartbeat] | None = None
        self._name = f"{os.getpid()}/0"

    def get_ready(self) -> None:
        """Open the task.

        Raises:
            FatalError: it cannot be opened.
        """
        self._ready()

    def _ready(self) -> tuple[Job, Worker, Heartbeat]:
        if self._opened is None:
            job, worker = _open(self._packed, self._cores, device="cuda:0", report=self._advance)
            heartbeat = Heartbeat(job.folder, 0)
            heartbeat.__enter__()  # left when the actor ends: its file is then recognised as stale
            self._opened = (job, worker, heartbeat)
        return self._opened

    def _advance(self, items: int) -> None:
        if self._opened is not None:
            self._opened[2].advance(items)

    def do(self, shard: Shard) -> int | Attempt:
        """Do `shard`; how many items it has, or what went wrong.

        Raises:
            FatalError: no shard can be done.
        """
        job, worker, heartbeat = self._ready()
        heartbeat.start(shard)
        try:
            return do_shard(job, worker, shard, self._name)
        except FatalError:
            raise
        except Exception as error:
            return attempt(error, self._name)
        finally:
            heartbeat.stop()

    def close(self) -> None:
        """Close the task."""
        if self._opened is not None:
            _, worker, heartbeat = self._opened
            self._opened = None
            with contextlib.ExitStack() as stack:
                stack.push(heartbeat)
                worker.close()


_open_in_process: tuple[Packed, Job, Worker] | None = None
"""The task opened by the last shard in this process. Ray uses a process for one task after another."""


_heartbeat: list[Heartbeat | None] = [None]
"""That of the shard that this process is at."""


def _advance(items: int) -> None:
    if _heartbeat[0] is not None:
        _heartbeat[0].advance(items)


def do_in_task(packed: Packed, shard: Shard, cores: float) -> int:
    """Do `shard` in a Ray task; how many items it has.

    Raises:
        ShardFailedError: not done this time.
        FatalError: no shard can be done.
    """
    global _open_in_process  # noqa: PLW0603 - the process is Ray's: nothing else of ovforge lives from task to task
    if _open_in_process is None or _open_in_process[0] != packed:
        if _open_in_process is not None:
            _open_in_process[2].close()
        _open_in_process = (packed, *_open(packed, cores, device="cpu", report=_advance))
    _, job, worker = _open_in_process
    name = f"{os.getpid()}/0"
    with Heartbeat(job.folder, 0) as heartbeat:
        _heartbeat[0] = heartbeat
        heartbeat.start(shard)
        try:
            return do_shard(job, worker, shard, name)
        except FatalError:
            raise
        except Exception as error:
            raise ShardFailedError(attempt(error, name)) from error


def _open(packed: Packed, cores: float, *, device: str, report: Callable[[int], None]) -> tuple[Job, Worker]:
    data, folder = packed
    # Ray sets OMP_NUM_THREADS itself; before OpenCV is imported, with the task.
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", str(max(1, int(cores))))
    with contextlib.suppress(OSError):
        os.chdir(folder)  # paths may be relative to where the run was started
    try:
        job: Job = pickle.loads(data)
    except Exception as error:
        problem = f"the task cannot be brought to {host_name()}: {error!r}"
        raise FatalError(WorkError(problem, hint="every node needs the same ovforge and its extras")) from error
    if not (job.folder / MANIFEST).is_file():
        problem = f"{job.folder}: not there on {host_name()}"
        raise FatalError(WorkError(problem, hint="the run's folder must be on a file system that all nodes share"))
    return job, open_worker(job, Slot(0, device, report))
