"""The pool of the streamed archive."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ovforge.errors import ImageError, WorkError
from ovforge.imagenet.workers import run_ordered


def ten() -> int:
    return 10


def add(state: int, job: int) -> int:
    if job == 13:
        raise ImageError("thirteen.JPEG", "is broken")
    if job == 99:
        os._exit(1)
    return state + job


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    assert list(run_ordered(ten, add, range(12), workers=workers)) == list(range(10, 22))


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_pass_through(workers: int) -> None:
    with pytest.raises(ImageError, match="thirteen"):
        list(run_ordered(ten, add, range(20), workers=workers))


def test_a_worker_that_dies_is_a_clear_error() -> None:
    with pytest.raises(WorkError, match="worker process died"):
        list(run_ordered(ten, add, [1, 99, 2], workers=2))


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_are_drawn_only_as_fast_as_they_are_done(workers: int) -> None:
    drawn = 0

    def jobs() -> Iterator[int]:
        nonlocal drawn
        while drawn < 12:
            drawn += 1
            yield drawn

    results = run_ordered(ten, add, jobs(), workers=workers)
    next(results)
    assert drawn <= 2 * workers + 1
    results.close()
