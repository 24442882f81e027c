from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import typer

from ovforge.cli.common import run_app
from ovforge.cli.pairs_status import register
from ovforge.errors import MissingInputError
from ovforge.files.atomic import temporary_owner, temporary_path
from ovforge.files.machine import machine_name, process_is_alive, process_start
from ovforge.records.reporting import Drop
from ovforge.runs.executors.local import LocalExecutor
from ovforge.runs.heartbeat import LOST_AFTER_SECONDS, Heartbeat, RunningWorker, worker_statuses
from ovforge.runs.ledger import Ledger, LedgerEntry
from ovforge.runs.plan import Plan, freeze
from ovforge.runs.run import ShardSelection, run_plan
from ovforge.runs.stale_files import remove_stale_files
from ovforge.runs.status import read_status
from ovforge.runs.task import Shard, ShardReport
from tests.faults.tasks import TextTask

PLAN = Plan(task="text", items=45, shard_size=10, groups=(25, 20))


def enter(ledger: Ledger, shard: Shard, *, seconds: float, host: str) -> None:
    path = ledger.shard_path(shard, ".txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    report = ShardReport(shard.stop - shard.start, {}, (Drop("item", "odd", 1),))
    ledger.write(
        LedgerEntry(
            shard=shard.index,
            plan=ledger.plan_id,
            file=f"shards/{path.name}",
            size=1,
            sha256="",
            report=report,
            seconds=seconds,
            host=host,
            worker="1/0",
        )
    )


def put_worker(folder: Path, **values: object) -> Path:
    worker = {
        "machine": machine_name(),
        "host": "here",
        "pid": os.getpid(),
        "process_start": process_start(os.getpid()),
        "parent": 1,
        "slot": 0,
        **values,
    }
    path = folder / "running" / f"{worker['machine']}-{worker['pid']}-{worker['slot']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(RunningWorker(**worker)))  # type: ignore[arg-type]
    return path


def test_no_run(tmp_path: Path):
    with pytest.raises(MissingInputError):
        read_status(tmp_path)


def test_a_run_that_has_just_begun(tmp_path: Path):
    freeze(PLAN, tmp_path)
    state = read_status(tmp_path)
    assert (state.shards, state.done, state.waiting, state.items_done) == (5, 0, 5, 0)
    assert state.items_per_second is None
    assert state.seconds_left is None


def test_speed_time_left_and_the_slow_ones_come_from_monotonic_durations(tmp_path: Path):
    ledger = Ledger(tmp_path, freeze(PLAN, tmp_path))
    shards = PLAN.shards()
    enter(ledger, shards[0], seconds=2.0, host="fast")
    enter(ledger, shards[2], seconds=8.0, host="slow")  # five items
    for path in tmp_path.rglob("*.json"):
        os.utime(path, (0, 0))  # what the clocks said does not matter
    put_worker(tmp_path, shard=1, slot=0)
    put_worker(tmp_path, shard=3, slot=1)
    state = read_status(tmp_path)
    assert (state.done, state.running, state.waiting, state.failed) == (2, 2, 1, 0)
    assert state.items_per_second_of_worker == pytest.approx(15 / 10)
    assert state.items_per_second == pytest.approx(2 * 15 / 10)
    assert state.seconds_left == pytest.approx(30 / 3)
    assert [(one.shard, one.host) for one in state.slowest] == [(2, "slow"), (0, "fast")]
    assert [(host.host, host.shards, host.workers) for host in state.hosts] == [
        ("fast", 1, 0),
        ("here", 0, 2),
        ("slow", 1, 0),
    ]


def test_a_finished_run(tmp_path: Path):
    run_plan(tmp_path / "run", PLAN, TextTask(tmp_path / "notes"), LocalExecutor(2))
    state = read_status(tmp_path / "run")
    assert (state.done, state.running, state.failed, state.waiting) == (5, 0, 0, 0)
    assert state.items_done == state.items == 45
    assert state.seconds_left == 0.0
    assert state.at_work == state.lost == ()


def test_a_failed_shard_is_told_until_it_is_done(tmp_path: Path):
    task = TextTask(tmp_path / "notes", {1: ("exception", 3)})
    run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1), raise_failed=False)
    state = read_status(tmp_path / "run")
    assert (state.done, state.failed, state.waiting) == (4, 1, 0)
    assert state.problems == {1: "ValueError: a bad item"}
    run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1), shards=ShardSelection(2, 5))
    assert read_status(tmp_path / "run").failed == 0


def test_a_worker_of_this_machine_lives_while_its_process_does(tmp_path: Path):
    put_worker(tmp_path)
    assert [one.alive for one in worker_statuses(tmp_path)] == [True]
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    put_worker(tmp_path, pid=dead.pid)
    put_worker(tmp_path, slot=1, process_start="1")  # its number was given to another process since
    assert sorted((one.worker.slot, one.alive) for one in worker_statuses(tmp_path)) == [
        (0, False),
        (0, True),
        (1, False),
    ]


def test_a_worker_of_another_machine_lives_while_its_file_is_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = put_worker(tmp_path, machine="far-123456", pid=7)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # this machine's clock does not matter
    assert [one.alive for one in worker_statuses(tmp_path)] == [True]
    old = path.stat().st_mtime - LOST_AFTER_SECONDS - 5
    os.utime(path, (old, old))
    (one,) = worker_statuses(tmp_path)
    assert not one.alive
    assert one.age == pytest.approx(LOST_AFTER_SECONDS + 5, abs=3)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_heartbeat_tells_the_shard_and_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ovforge.runs.heartbeat.BEAT_SECONDS", 0.05)
    with Heartbeat(tmp_path, 3) as heartbeat:
        heartbeat.start(Shard(7, 70, 80))
        deadline = time.monotonic() + 30  # a busy machine may be late with a heartbeat
        while not (seen := [one for one in worker_statuses(tmp_path) if one.worker.shard_seconds > 0.1]):
            assert time.monotonic() < deadline, "no heartbeat told how long the shard takes"
            time.sleep(0.02)
        (one,) = seen
        assert one.alive
        assert (one.worker.shard, one.worker.slot) == (7, 3)
        assert one.worker.count > 1
    assert worker_statuses(tmp_path) == []


def test_stale_files_go_and_those_of_living_workers_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "shards").mkdir()
    own = temporary_path(tmp_path / "shards" / "000000.h5")
    assert temporary_owner(own) == (machine_name(), os.getpid())
    names = {
        "mine": own.name,
        "dead": own.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"),
        "far, fresh": own.name.replace(machine_name(), "far-123456"),
        "far, old": own.name.replace(machine_name(), "old-123456"),
        "far, old, heard of": own.name.replace(f"{machine_name()}-{os.getpid()}", "heard-123456-9"),
        "not ours": "000000.h5",
    }
    for what, name in names.items():
        path = tmp_path / "shards" / name
        path.write_text("")
        if "old" in what:
            os.utime(path, (0, 0))
    put_worker(tmp_path, machine="heard-123456", pid=9)
    gone = put_worker(tmp_path, pid=dead.pid)
    crash = tmp_path / "running" / f"{machine_name()}-{dead.pid}.crash"
    crash.write_text("")
    assert remove_stale_files(tmp_path) == 2
    left = {path.name for path in (tmp_path / "shards").iterdir()}
    assert left == {names[what] for what in names if what not in ("dead", "far, old")}
    assert not gone.exists()
    assert not crash.exists()
    assert [one.worker.machine for one in worker_statuses(tmp_path)] == ["heard-123456"]


def test_a_zombie_is_dead():
    process = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 20
    while process_is_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not process_is_alive(process.pid)  # not waited for yet
    process.wait()


# The command


def pairs_app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return app


def test_the_command_shows_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    task = TextTask(tmp_path / "notes", {1: ("bracket", 3)})
    run_plan(tmp_path / "my", PLAN, task, LocalExecutor(1), raise_failed=False)
    assert run_app(pairs_app(), ["status", "my", "--folder", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "4 of 5 done, 0 running, 0 waiting, 1 failed" in out
    assert "failed: shard 000001: ValueError: [/odd] name" in out
    assert "run the same command again" in out


def test_the_command_gives_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run_plan(tmp_path / "my", PLAN, TextTask(tmp_path / "notes"), LocalExecutor(1))
    assert run_app(pairs_app(), ["status", "my", "--folder", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 5
    assert run_app(pairs_app(), ["status", "my", "--folder", str(tmp_path), "--json", "--watch"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 5


@pytest.mark.parametrize("name", ["nothing", "../my", ""])
def test_the_command_without_such_a_run(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]):
    assert run_app(pairs_app(), ["status", name, "--folder", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
