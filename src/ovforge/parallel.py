"""The worker processes of the steps on large files, and writing one file with several of them.

Starting a process takes as long as reading 100 MB, so whatever a step does shares the same few: a step opens
`Workers` around all its work, and what it calls opens them again at no cost.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

R = TypeVar("R")
W = TypeVar("W", bound="Workers")
Pieces = Sequence[bytes]

SMALL_BYTES = 32 << 20
"""Below this, starting workers takes longer than the work."""
_MOST_WORKERS = 4


class Workers:
    """A few worker processes, started when first needed and ended with the outermost `with` block.

    Where no process can be started (no room, or a script without `if __name__ == "__main__"`) or one dies, the work is
    done in this process.
    """

    _lock = threading.RLock()
    _writing = threading.RLock()
    _users = 0
    _executor: ProcessPoolExecutor | None = None
    _turn: _Turn
    _broken = False

    def __init__(self) -> None:
        self.count = min(_MOST_WORKERS, _processors())

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
        return self.count > 1 and not Workers._broken

    def submit(self, function: Callable[..., R], *arguments: Any, **named: Any) -> Future[R]:
        """Have a worker call a function of a module.

        Raises:
            BrokenProcessPool: workers cannot be started, or one died; here or when the result is asked for.
        """
        return self._started().submit(function, *arguments, **named)

    def give_up(self) -> None:
        """Use no workers until the outermost block is left."""
        Workers._broken = True

    def ordered(self, function: Callable[..., R], jobs: Iterable[tuple[Any, ...]]) -> Iterator[R]:
        """`function(*job)` for each job, the results in the order of the jobs."""
        waiting: deque[tuple[tuple[Any, ...], Future[R]]] = deque()
        try:
            for job in jobs:
                if self.usable:
                    with contextlib.suppress(BrokenProcessPool):
                        waiting.append((job, self.submit(function, *job)))
                        if len(waiting) > 2 * self.count:
                            yield self._result(function, *waiting.popleft())
                        continue
                    self.give_up()
                while waiting:
                    yield self._result(function, *waiting.popleft())
                yield function(*job)
            while waiting:
                yield self._result(function, *waiting.popleft())
        finally:
            for _, future in waiting:
                future.cancel()

    def _result(self, function: Callable[..., R], job: tuple[Any, ...], future: Future[R]) -> R:
        try:
            return future.result()
        except BrokenProcessPool:
            self.give_up()
            return function(*job)

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


def _processors() -> int:
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
