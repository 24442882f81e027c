"""What a run says while it works and when it is asked to end; and disks that fail for a moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from ovforge.errors import StorageError
from ovforge.runs import live_progress, worker
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.runs.executors.local import LocalExecutor
from ovforge.runs.plan import MANIFEST, Plan
from ovforge.runs.run import RunInterrupted, run_plan
from ovforge.runs.task import Shard, ShardReport, Slot
from tests.faults.tasks import TextTask

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class SlowTask:
    """Ten items a shard, a twentieth of a second each, and says so."""

    slot: Slot | None = None
    shard_suffix: str = ".txt"

    def open(self, slot: Slot) -> SlowTask:
        return SlowTask(slot)

    def run(self, shard: Shard, out: Path) -> ShardReport:
        assert self.slot is not None
        for item in range(shard.start, shard.stop):
            time.sleep(0.05)
            self.slot.report(item - shard.start + 1)
        out.write_text("done")
        return ShardReport(shard.stop - shard.start)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("executor", [LocalExecutor(1), InProcessExecutor()])
def test_progress_moves_while_the_first_shard_is_at_work(
    tmp_path: Path, executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(live_progress, "_EVERY_SECONDS", 0.05)
    monkeypatch.setattr("ovforge.runs.heartbeat.ADVANCE_SECONDS", 0.0)
    seen: list[int] = []
    plan = Plan(task="slow", items=40, shard_size=40)
    run_plan(tmp_path / "run", plan, SlowTask(), executor, progress=lambda stage, done, total: seen.append(done))
    assert seen[0] == 0
    assert seen[-1] == 40
    assert len(seen) > 2  # something between, although there is a single shard
    assert seen == sorted(seen)


class TestFailingDisks:
    @dataclass
    class Task:
        """A network disk is away for the first `failures` reads."""

        failures: int
        error: Exception
        shard_suffix: str = ".txt"

        def open(self, slot: Slot) -> TestFailingDisks.Task:
            return self

        def run(self, shard: Shard, out: Path) -> ShardReport:
            if self.failures:
                self.failures -= 1
                raise self.error
            out.write_text("whole")
            return ShardReport(1)

        def close(self) -> None:
            pass

    @pytest.mark.parametrize("error", [StorageError("/net/images", OSError(116, "Stale file handle")), OSError(5, "x")])
    def test_a_disk_that_is_away_for_a_moment_costs_a_pause(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
    ):
        pauses: list[float] = []
        monkeypatch.setattr(worker.time, "sleep", pauses.append)
        result = run_plan(tmp_path, Plan(task="t", items=1, shard_size=1), self.Task(2, error), InProcessExecutor())
        assert result.complete
        assert pauses == [worker.STORAGE_PAUSE_SECONDS] * 2


def interrupted_after(folder: Path, number: int, *, done: int) -> tuple[int, str]:
    """Start a run of four slow shards, wait until `done` are, send a signal; the exit code and what was said."""
    code = (
        "import signal, sys, typer; from pathlib import Path; from typing import Annotated;"
        "from ovforge.cli.common import command, run_app;"
        "from ovforge.runs.plan import Plan; from ovforge.runs.run import run_plan;"
        "from ovforge.runs.executors.local import LocalExecutor;"
        "from tests.unit.runs.test_progress_and_interrupts import SlowTask;\n"
        # Whoever started the tests may have had them ignore these signals (nohup, a background shell).
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "app = typer.Typer()\n"
        "@command(app, 'go', example='go')\n"
        "def go(console, folder: Annotated[Path, typer.Argument()]):\n"
        "    run_plan(folder, Plan(task='slow', items=40, shard_size=10), SlowTask(), LocalExecutor(1))\n"
        "if __name__ == '__main__':\n"
        "    sys.exit(run_app(app))\n"
    )
    script = folder / "start.py"
    folder.mkdir(exist_ok=True)
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder / "run")],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(list((folder / "run/ledger").glob("*.json"))) < done or not list((folder / "run/running").glob("*.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_run_that_is_asked_to_end_says_what_is_done_and_how_to_resume(tmp_path: Path, name: str):
    code, said = interrupted_after(tmp_path, getattr(signal, name), done=1)
    assert code == 130
    assert "of 40 items are done and stay done" in said
    assert f"the same command resumes: ovforge {tmp_path / 'run'}" in said
    assert "Traceback" not in said
    assert (tmp_path / "run" / MANIFEST).exists()
    assert not list((tmp_path / "run").rglob(".*"))


def test_a_run_that_ends_before_its_first_shard_leaves_nothing(tmp_path: Path):
    code, said = interrupted_after(tmp_path, signal.SIGTERM, done=0)
    assert code == 130
    assert "ended by SIGTERM: nothing is done yet" in said
    assert not (tmp_path / "run").exists()


def test_python_callers_get_an_interrupt_with_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    @dataclass
    class Interrupting:
        workers: int | None = 1

        def execute(self, job: object, shards: object, report: object) -> None:
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted, match="nothing is done yet"):
        run_plan(tmp_path / "run", Plan(task="t", items=1, shard_size=1), TextTask(tmp_path), Interrupting())
