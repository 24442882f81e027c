"""Shards in the calling process, and handed on to another executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ovforge.errors import WorkError
from ovforge.runs.executors.base import Finished, Outcome
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.runs.plan import Plan
from ovforge.runs.run import run_plan
from ovforge.runs.task import Shard
from ovforge.runs.worker import Job
from tests.faults.tasks import TextTask

PLAN = Plan(task="text", items=10, shard_size=2)


class Noted:
    """Another executor, as far as can be told from here."""

    workers = 3

    def __init__(self) -> None:
        self.given: list[int] = []

    def execute(self, job: Job, shards: Sequence[Shard], report: Callable[[Outcome], None]) -> None:
        self.given = [shard.index for shard in shards]
        InProcessExecutor().execute(job, shards, report)


def test_everything_is_done_here_in_order(tmp_path: Path):
    told: list[int] = []
    result = run_plan(
        tmp_path / "run",
        PLAN,
        TextTask(tmp_path / "notes"),
        InProcessExecutor(seconds=0.0),  # nobody is there to hand anything to
        progress=lambda _stage, done, _total: told.append(done),
    )
    assert result.complete
    assert told == [0, 2, 4, 6, 8, 10]
    assert [path.name for path in (tmp_path / "run" / "running").iterdir()] == []


def test_a_failing_shard_is_tried_again_after_the_others_and_given_up(tmp_path: Path):
    assert run_plan(
        tmp_path / "a", PLAN, TextTask(tmp_path / "n1", {1: ("exception", 2)}), InProcessExecutor()
    ).complete
    with pytest.raises(WorkError, match="shard 1 failed 3 times"):
        run_plan(tmp_path / "b", PLAN, TextTask(tmp_path / "n2", {1: ("exception", 3)}), InProcessExecutor())
    assert len(list((tmp_path / "b" / "shards").iterdir())) == 4
    assert (tmp_path / "b" / "failed" / "000001.json").exists()


@pytest.mark.parametrize(("seconds", "handed_on"), [(0.0, [0, 1, 2, 3, 4]), (60.0, [])])
def test_what_is_left_after_a_while_is_handed_on(tmp_path: Path, seconds: float, handed_on: list[int]):
    other = Noted()
    executor = InProcessExecutor(other, seconds)
    assert executor.workers == 3
    result = run_plan(tmp_path / "run", PLAN, TextTask(tmp_path / "notes"), executor)
    assert result.complete
    assert other.given == handed_on


def test_an_error_of_whoever_listens_is_no_failed_shard(tmp_path: Path):
    def listen(outcome: Outcome) -> None:
        assert isinstance(outcome, Finished)
        raise ValueError("from outside")

    class Listening:
        workers = 1

        def execute(self, job: Job, shards: Sequence[Shard], report: Callable[[Outcome], None]) -> None:
            del report
            InProcessExecutor().execute(job, shards, listen)

    with pytest.raises(ValueError, match="from outside"):
        run_plan(tmp_path / "run", PLAN, TextTask(tmp_path / "notes"), Listening())
