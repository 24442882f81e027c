"""Worker processes on this machine, one per slot, each with its own device.

Every worker is a process of its own with a pipe of its own, and nothing shared between them: no lock that a killed
worker could keep, no queue that it could leave half-read. The parent waits for all pipes at once. A pipe that
closes is a worker that died, whatever it died of; its shard goes back to the queue and the slot gets a new process.
Why not a pool from a library: docs/adr/0005-worker-processes.md.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from ovforge.errors import InputError, WorkError
from ovforge.files.machine import host_name
from ovforge.parallel import cpu_count
from ovforge.runs.executors.base import ATTEMPTS, Finished, Outcome, ShardFailed
from ovforge.runs.executors.local_worker import Died, Done, Failed, Fatal, Ready, crash_report_path, serve
from ovforge.runs.heartbeat import ClaimedShards, remove_record
from ovforge.runs.signals import held_back
from ovforge.runs.stale_files import remove_temporaries_of
from ovforge.runs.task import Shard, Slot
from ovforge.runs.worker import Attempt, Job

_CLOSING_SECONDS = 30.0
_log = logging.getLogger(__name__)
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",  # torch and whatever else uses OpenMP
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)


@dataclass(frozen=True)
class LocalExecutor:
    """`workers` processes.

    Attributes:
        workers: how many; one more than GPUs is allowed, they are shared out in turn.
        devices: what `CUDA_VISIBLE_DEVICES` may hold of (`visible_gpus()`): worker i sees the i-th as its only
            GPU and gets `cuda:0` as its slot's device. `("cpu",)`: no worker sees a GPU, the device is `cpu`. None:
            the task does not care, nothing is set.
    """

    workers: int = 1
    devices: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"--workers {self.workers}: at least one worker is needed")

    def execute(self, job: Job, shards: Sequence[Shard], report: Callable[[Outcome], None]) -> None:
        """Do `shards`; see `Executor.execute`."""
        current = multiprocessing.current_process()
        if getattr(current, "_inheriting", False):  # a worker that is importing the script which started it
            raise WorkError(
                "a script started a run while it was being imported by a worker process",
                hint='put what starts the run under `if __name__ == "__main__":`',
            )
        if current.daemon:  # which may have no children, as in a pool of multiprocessing or a DataLoader
            from ovforge.runs.executors.in_process import InProcessExecutor

            _log.warning("this process is daemonic and may start no workers: shards are done one after another in it")
            InProcessExecutor().execute(job, shards, report)
            return
        pool = _WorkerPool(job, self, shards, report)
        try:
            pool.work()
        finally:
            pool.stop()


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them; without importing torch."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        names = [name.strip() for name in given.split(",")]
        stop = next((i for i, name in enumerate(names) if name in ("", "-1", "NoDevFiles")), len(names))
        return tuple(names[:stop])  # as CUDA does: whatever stands behind an invalid one is not seen
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return _gpu_names(listing)


def _gpu_names(listing: str) -> tuple[str, ...]:
    """The names in the output of `nvidia-smi -L`; parts of a divided GPU in place of the GPU."""
    names: list[str] = []
    whole = ""
    for line in listing.splitlines():
        name = line.rpartition("UUID: ")[2].rstrip(") ")
        if line.startswith("GPU"):
            whole = name
            names.append(name)
        elif line.lstrip().startswith("MIG"):
            if whole in names:
                names.remove(whole)
            names.append(name)
    return tuple(names)


@dataclass
class _WorkerProcess:
    """A worker process as its parent sees it."""

    slot: Slot
    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    shard: Shard | None = None

    @property
    def name(self) -> str:
        return f"{self.process.pid}/{self.slot.index}"


@dataclass
class _WorkerPool:
    job: Job
    executor: LocalExecutor
    shards: Sequence[Shard]
    report: Callable[[Outcome], None]
    workers: dict[Connection, _WorkerProcess] = field(default_factory=dict)
    attempts: dict[int, list[Attempt]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.queue = deque(self.shards)
        self.claimed = ClaimedShards(self.job.folder)
        self.deaths_at_start = 0
        try:
            self.job_bytes = pickle.dumps(self.job)
        except Exception as error:
            raise WorkError(f"the task cannot be sent to a worker process: {error}") from error

    def work(self) -> None:
        for index in range(min(self.executor.workers, len(self.queue))):
            self._start(index)
        while self.workers:
            for pipe in wait(list(self.workers)):
                worker = self.workers.get(pipe)  # type: ignore[call-overload]
                if worker is None:  # shut down after the message before this one
                    continue
                try:
                    message = worker.pipe.recv()
                except (EOFError, OSError):
                    message = Died()
                self._handle(worker, message)

    def _handle(self, worker: _WorkerProcess, message: object) -> None:
        match message:
            case Ready():
                worker.ready, self.deaths_at_start = True, 0
                self._hand_out(worker)
            case Done(items):
                self._finish(worker, items)
                self._hand_out(worker)
            case Failed(attempt):
                self._fail(worker, attempt)
                self._hand_out(worker)
            case Fatal(error):
                raise error
            case _:
                self._handle_exit(worker)

    def _hand_out(self, worker: _WorkerProcess) -> None:
        """Give `worker` its next shard, or shut it down."""
        if not self.queue:
            self._dismiss(worker)
            return
        worker.shard = self._next()
        with contextlib.suppress(OSError):  # it has died: its pipe's end will be noticed
            worker.pipe.send(worker.shard)

    def _next(self) -> Shard:
        """The first shard that no other run in this folder is at; if all are taken, the first."""
        taken = self.claimed.shards()
        place = next((i for i, shard in enumerate(self.queue) if shard.index not in taken), 0) if taken else 0
        shard = self.queue[place]
        del self.queue[place]
        return shard

    def _finish(self, worker: _WorkerProcess, items: int) -> None:
        shard, worker.shard = worker.shard, None
        if shard is not None:
            self.report(Finished(shard, items))

    def _fail(self, worker: _WorkerProcess, attempt: Attempt) -> None:
        shard, worker.shard = worker.shard, None
        if shard is None:
            return
        attempts = self.attempts.setdefault(shard.index, [])
        attempts.append(attempt)
        if len(attempts) < ATTEMPTS:
            self.queue.append(shard)  # behind the others: what troubles it may have passed by then
        else:
            self.report(ShardFailed(shard, tuple(attempts)))

    def _handle_exit(self, worker: _WorkerProcess) -> None:
        """A worker has died: see what became of its shard, and put another worker in its place."""
        del self.workers[worker.pipe]
        worker.process.join(_CLOSING_SECONDS)
        if worker.process.is_alive():  # its pipe is closed, but a thread of its own keeps it from ending
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()
        crash_report = _take_crash_report(self.job.folder, worker)
        problem = _cause_of_death(worker.process.exitcode)
        if worker.shard is not None:
            entry = self.job.ledger().entry_if_done(worker.shard)
            if entry is not None:  # it was done, and could not say so any more
                self._finish(worker, entry.report.items)
            else:
                self._fail(worker, Attempt(problem, crash_report, host_name(), worker.name))
        elif not worker.ready:
            self.deaths_at_start += 1
            if self.deaths_at_start >= ATTEMPTS * self.executor.workers:
                raise WorkError(
                    f"no worker process starts: {problem}",
                    hint="what it printed stands above; the file that starts the run must not do so when imported "
                    '(`if __name__ == "__main__":`)',
                )
        if self.queue:
            self._start(worker.slot.index)
        elif not any(other.shard for other in self.workers.values()):
            self._dismiss_idle()

    def _start(self, index: int) -> None:
        devices = self.executor.devices
        name = devices[index % len(devices)] if devices else None
        slot = Slot(index, "cpu" if name == "cpu" else "cuda:0" if name else None)
        context = multiprocessing.get_context("spawn")
        pipe, worker_end = context.Pipe()
        process = context.Process(target=serve, args=(worker_end, slot), name=f"ovforge-worker-{index}", daemon=True)
        with _environment(_worker_environment(name, self.executor.workers)), _interrupt_held_back():
            process.start()
            # The worker's end must live in the worker alone, so that its death closes the pipe.
            worker_end.close()
            # An interrupt that was held back comes at the end of this block: the worker has to be known by then.
            self.workers[pipe] = _WorkerProcess(slot, process, pipe)
        with contextlib.suppress(OSError):
            pipe.send_bytes(self.job_bytes)

    def _dismiss(self, worker: _WorkerProcess) -> None:
        """Nothing left for it now. It waits, idle, while others may still give a shard back."""
        if any(other.shard for other in self.workers.values()):
            return
        self._dismiss_idle()

    def _dismiss_idle(self) -> None:
        ready = [worker for worker in self.workers.values() if worker.ready]  # the others need not open first
        for worker in ready:
            with contextlib.suppress(OSError):
                worker.pipe.send(None)
        for worker in ready:
            worker.process.join(_CLOSING_SECONDS)
        self.stop()

    def stop(self) -> None:
        """End every worker that is left, at once, and take away what it was writing."""
        for worker in self.workers.values():
            worker.process.kill()
        for worker in self.workers.values():
            worker.process.join()
            worker.pipe.close()
            _take_crash_report(self.job.folder, worker)
        self.workers.clear()


def _take_crash_report(folder: Path, worker: _WorkerProcess) -> str:
    """What a dead worker's fault handler wrote; its files are removed."""
    pid = worker.process.pid or 0
    path = crash_report_path(folder, pid)
    try:
        text = path.read_text(errors="replace")
    except OSError:
        text = ""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        remove_record(folder, pid, worker.slot.index)
        remove_temporaries_of(folder, pid)
    return text


def _cause_of_death(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"the worker process ended by itself with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    why = " (from outside, or the system ran out of memory)" if name == "SIGKILL" else ""
    return f"the worker process was killed by {name}{why}"


def _worker_environment(device: str | None, workers: int) -> dict[str, str]:
    threads = str(max(1, available_cores() // workers))
    wanted = {name: os.environ.get(name, threads) for name in _THREAD_VARIABLES}
    if device is not None:
        wanted["CUDA_VISIBLE_DEVICES"] = "" if device == "cpu" else device
    return wanted


def available_cores() -> int:
    """The processor cores that this process may use."""
    return cpu_count()


@contextlib.contextmanager
def _interrupt_held_back() -> Iterator[None]:
    """Start a process with the signals blocked that ask a run to end, until it has told Python to ignore them.

    Ctrl-C reaches the whole group: a worker that is still importing would answer it with a traceback.
    """
    resource_tracker.ensure_running()  # the first process would start it, and it unblocks SIGINT when it has
    with held_back():
        yield


@contextlib.contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    """Set variables while a process is started: it must have them before it imports anything."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
