"""How many processors there are, one bounded ordered map over threads or processes, and the processes of large files.

`map_ordered` is the map that every step uses, with threads or with processes: results in the order of the jobs, few
of them in flight, so that jobs may come from a stream and results need not fit into memory.

Starting a process takes as long as reading 100 MB, so whatever a step does shares the same few: a step opens
`Workers` around all its work, and what it calls opens them again at no cost.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol, TypeVar

R = TypeVar("R")
W = TypeVar("W", bound="Workers")
Pieces = Sequence[bytes]

SMALL_BYTES = 32 << 20
"""Below this, starting workers takes longer than the work."""
_MOST_WORKERS = 4


@functools.cache
def cpu_count() -> int:
    """How many processors this process may use: what the machine has, its affinity mask and a container's limit
    (cgroups v1 and v2) leave, and what Slurm or Ray have allotted. LOKY_MAX_CPU_COUNT lowers it further.
    """
    import loky  # knows of affinity and cgroups on every system; loaded late, for it takes as long as a small step

    counts = [count for count in (loky.cpu_count(), _slurm_cpus(), _ray_cpus()) if count is not None]
    return max(1, int(min(counts)))


def _slurm_cpus() -> int | None:
    """What Slurm gave to a task of this job; clusters that do not bind tasks leave it to the task to keep to that."""
    if "SLURM_JOB_ID" not in os.environ:
        return None
    given = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE") or ""
    return int(given) if given.isdecimal() and int(given) else None


def _ray_cpus() -> int | None:
    """What Ray has reserved for the task or actor that this process is working on."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    if context.get_task_id() is None and context.get_actor_id() is None:
        return None  # the driver, which runs beside the cluster
    return int(context.get_assigned_resources().get("CPU", 0)) or None


def may_start_processes() -> bool:
    """Whether this process may have children: a daemonic one, as of `multiprocessing.Pool`, may not."""
    return not multiprocessing.current_process().daemon


class Submits(Protocol):
    """What hands a call to threads or processes: an executor, or `Workers`."""

    def submit(self, function: Callable[..., R], /, *arguments: Any) -> Future[R]:
        """Have it called; the result is the future's."""
        ...


def map_ordered(
    executor: Submits,
    function: Callable[..., R],
    jobs: Iterable[tuple[Any, ...]],
    *,
    ahead: int,
    alone_if_broken: bool = False,
) -> Generator[R, None, None]:
    """`function(*job)` for each job in threads or processes; the results in the order of the jobs.

    At most `ahead` + 1 jobs are in flight or waiting to be handed back. What `function` or `jobs` raise comes where its
    result would have. Jobs that have not begun are cancelled when the caller stops listening. With `alone_if_broken`,
    what processes that died have not done is done in this process.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as threads:
    ...     list(map_ordered(threads, pow, [(2, 3), (3, 2)], ahead=4))
    [8, 9]
    """
    waiting: deque[tuple[tuple[Any, ...], Future[R] | None]] = deque()

    def submit(job: tuple[Any, ...]) -> Future[R] | None:
        try:
            return executor.submit(function, *job)
        except BrokenProcessPool:
            if alone_if_broken:
                return None
            raise

    def result(job: tuple[Any, ...], future: Future[R] | None) -> R:
        try:
            if future is not None:
                return future.result()
        except BrokenProcessPool:
            if not alone_if_broken:
                raise
        return function(*job)

    try:
        for job in jobs:
            waiting.append((job, submit(job)))
            # A job that nobody took is done now, after all before it: nothing is gained by waiting.
            while waiting and (len(waiting) > ahead or waiting[-1][1] is None):
                yield result(*waiting.popleft())
        while waiting:
            yield result(*waiting.popleft())
    finally:
        for _, future in waiting:
            if future is not None:
                future.cancel()


class Workers:
    """A few worker processes, started when first needed and ended with the outermost `with` block.

    Where no process can be started (no room, a daemonic process, or a script without `if __name__ == "__main__"`) or
    one dies, the work is done in this process.
    """

    _lock = threading.RLock()
    _writing = threading.RLock()
    _users = 0
    _executor: ProcessPoolExecutor | None = None
    _turn: _Turn
    _broken = False

    @property
    def count(self) -> int:
        """How many workers there are, or would be."""
        return min(_MOST_WORKERS, cpu_count())

    def __enter__(self: W) -> W:
        with Workers._lock:
            Workers._users += 1
        return self

    def __exit__(self, *exception: object) -> None:
        with Workers._lock:
            Workers._users -= 1
            if Workers._users:
                return
            executor, Workers._executor, Workers._broken = Workers._executor, None, False
        if executor is not None:
            executor.shutdown(cancel_futures=True)

    @property
    def usable(self) -> bool:
        """Whether there is more than one processor and no worker has died."""
        return self.count > 1 and not Workers._broken and may_start_processes()

    def submit(self, function: Callable[..., R], /, *arguments: Any) -> Future[R]:
        """Have a worker call a function of a module.

        Raises:
            BrokenProcessPool: workers cannot be started, or one died; here or when the result is asked for.
        """
        if not self.usable:
            raise BrokenProcessPool("no worker processes here")
        try:
            return self._started().submit(function, *arguments)
        except BrokenProcessPool:
            self.give_up()
            raise

    def give_up(self) -> None:
        """Use no workers until the outermost block is left."""
        Workers._broken = True

    def ordered(self, function: Callable[..., R], jobs: Iterable[tuple[Any, ...]]) -> Generator[R, None, None]:
        """`function(*job)` for each job, the results in the order of the jobs."""
        return map_ordered(self, function, jobs, ahead=2 * self.count, alone_if_broken=True)

    def write_in_order(
        self, path: Path, offset: int, function: Callable[..., Pieces], jobs: Callable[[], Iterable[tuple[Any, ...]]]
    ) -> int:
        """Write the pieces `function(*job)` of each job into an existing file from `offset` on, in the jobs' order.

        The workers write by themselves, each when it is its turn, so that no bytes go from process to process.
        Returns the position after the last. `jobs` is called again if a worker dies.
        """
        if self.usable:
            with contextlib.suppress(BrokenProcessPool):
                return self._write_there(path, offset, function, jobs())
            self.give_up()
        descriptor = os.open(path, os.O_WRONLY)
        try:
            for job in jobs():
                offset = _write(descriptor, function(*job), offset)
        finally:
            os.close(descriptor)
        return offset

    def _write_there(
        self, path: Path, offset: int, function: Callable[..., Pieces], jobs: Iterable[tuple[Any, ...]]
    ) -> int:
        waiting: deque[Future[None]] = deque()
        with Workers._writing:  # one file at a time
            self._started()
            Workers._turn.start(offset)
            try:
                for number, job in enumerate(jobs):
                    waiting.append(self.submit(_write_there, number, path, function, job))
                    if len(waiting) > 2 * self.count:
                        waiting.popleft().result()
                while waiting:
                    waiting.popleft().result()
            finally:
                # From the last on: a job must not start whose turn never comes because an earlier one is cancelled.
                for future in reversed(waiting):
                    future.cancel()
                for future in waiting:
                    if not future.cancelled():
                        future.exception()  # nobody writes into the file any more
            return Workers._turn.position

    def _started(self) -> ProcessPoolExecutor:
        with Workers._lock:
            if Workers._executor is None:
                keep_freed_memory()
                context = multiprocessing.get_context("spawn")
                Workers._turn = _Turn(context)
                Workers._executor = ProcessPoolExecutor(
                    self.count, mp_context=context, initializer=_begin, initargs=(Workers._turn,)
                )
            return Workers._executor


class _Turn:
    """Whose turn it is to write, and where."""

    def __init__(self, context: Any) -> None:
        self._changed = context.Condition()
        self._state = context.Array("q", 2, lock=False)  # number of the job, position in the file

    def start(self, offset: int) -> None:
        with self._changed:
            self._state[:] = [0, offset]

    @property
    def position(self) -> int:
        """Where the next job's bytes go."""
        position: int = self._state[1]
        return position

    def write(self, number: int, path: Path, pieces: Pieces) -> None:
        """Wait until all jobs before `number` have had their turns; then write.

        One at a time: the system lets only one write into a file, and a processor that waits for that is lost.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._state[0] == number)
            offset: int = self._state[1]
            try:
                if pieces:
                    descriptor = os.open(path, os.O_WRONLY)
                    try:
                        offset = _write(descriptor, pieces, offset)
                    finally:
                        os.close(descriptor)
            finally:  # even where the disk is full: the others must not wait for ever
                self._state[:] = [number + 1, offset]
                self._changed.notify_all()


def _begin(turn: _Turn) -> None:
    """An interrupt is the parent's to handle, and nothing outlives the parent."""
    Workers._turn = turn
    keep_freed_memory()
    gc.disable()  # millions of records, none of which refers to another
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def keep_freed_memory() -> None:
    """Have the C library keep freed memory, up to 62 MB, for the next who asks.

    It gives blocks of a megabyte back to the system, and to get them again costs as much as decoding them. Once it has
    seen a larger block freed it keeps what is smaller (glibc's mallopt(3), dynamic threshold; no effect elsewhere).
    """
    bytes(31 << 20)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _write_there(number: int, path: Path, function: Callable[..., Pieces], job: tuple[Any, ...]) -> None:
    pieces: Pieces = ()
    try:
        pieces = function(*job)
    finally:
        Workers._turn.write(number, path, pieces)


def _write(descriptor: int, pieces: Pieces, offset: int) -> int:
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            written = os.pwrite(descriptor, rest, offset)
            rest = rest[written:]
            offset += written
    return offset
