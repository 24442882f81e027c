"""A pool of processes for work that comes as a stream and that no run can plan: results in order, few in flight."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from ovforge.errors import WorkError
from ovforge.parallel import map_ordered, may_start_processes

Job = TypeVar("Job")
Result = TypeVar("Result")
State = TypeVar("State")

_state: Any = None


def run_ordered(
    open_state: Callable[[], State],
    work: Callable[[State, Job], Result],
    jobs: Iterable[Job],
    *,
    workers: int,
) -> Generator[Result, None, None]:
    """Do `work(state, job)` for every job; results in the order of the jobs.

    `open_state` is called once in every process. Jobs are drawn from their iterable only as fast as they are done,
    so that it may be a stream. Both functions have to be importable by name, since processes are spawned.

    Raises:
        WorkError: a process died; what `work` and `jobs` raise passes through.
    """
    if workers == 1 or not may_start_processes():
        state = open_state()
        for job in jobs:
            yield work(state, job)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_open, initargs=(open_state,))
    try:
        yield from map_ordered(pool, _run, ((work, job) for job in jobs), ahead=2 * workers)
    except BrokenProcessPool as error:
        raise WorkError(
            "a worker process died, most likely killed for want of memory",
            hint="run the same command again with fewer --workers=N; what is done stays done",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _open(open_state: Callable[[], Any]) -> None:
    # Ctrl-C reaches the whole process group: the parent ends the workers, each after the job in hand.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    global _state  # noqa: PLW0603  (one per process, set once)
    _state = open_state()


def _end_with_parent() -> None:
    # A parent that is killed cannot end its workers, and they would wait for jobs for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(work: Callable[[Any, Job], Result], job: Job) -> Result:
    return work(_state, job)
