"""Worker processes that die, hang, fail; parents that are killed. Real processes, no mocks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ovforge.errors import InputError, PlanMismatchError, WorkError
from ovforge.files.machine import process_is_alive
from ovforge.runs.executors import local
from ovforge.runs.executors.local import LocalExecutor, visible_gpus
from ovforge.runs.ledger import Ledger
from ovforge.runs.plan import Plan
from ovforge.runs.run import RunResult, ShardSelection, run_plan
from tests.faults.harness import children
from tests.faults.tasks import TextTask

ROOT = Path(__file__).resolve().parents[3]
PLAN = Plan(task="text", items=45, shard_size=10, groups=(25, 20))  # shards of 10, 10, 5, 10, 10


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").iterdir())}


def expected(plan: Plan = PLAN) -> dict[str, bytes]:
    return {f"{s.name}.txt": "".join(f"item {i}\n" for i in range(s.start, s.stop)).encode() for s in plan.shards()}


def workers_of(task: TextTask) -> list[int]:
    return [int(path.name.rpartition("-")[2]) for path in task.notes.glob("open-*")]


def attempts_at(task: TextTask, shard: int) -> int:
    return len(list(task.notes.glob(f"run-{shard}-*")))


def check_clean(folder: Path, task: TextTask) -> None:
    """Nothing but the run's files is left, and no worker lives."""
    names = {path.relative_to(folder).parts[0] for path in folder.rglob("*") if path.is_file()}
    assert names <= {"manifest.json", "shards", "ledger", "failed"}
    assert not list(folder.rglob(".*"))
    assert not [pid for pid in workers_of(task) if process_is_alive(pid)]


def test_every_shard_is_done_once_and_counted(tmp_path: Path):
    task, seen = TextTask(tmp_path / "notes"), []
    result = run_plan(tmp_path / "run", PLAN, task, LocalExecutor(2), progress=lambda *told: seen.append(told))
    assert contents(tmp_path / "run") == expected()
    assert result.complete
    assert result.shard_files == tuple(tmp_path / "run/shards" / name for name in expected())
    assert result.counts == {"items": 45, "by": {"kind": 5}}
    assert [(drop.count, drop.examples) for drop in result.drops] == [(2, ("item 10", "item 25"))]
    assert seen[0] == ("text", 0, 45)
    assert seen[-1] == ("text", 45, 45)
    assert all(attempts_at(task, shard) == 1 for shard in range(5))
    assert len(workers_of(task)) <= 2
    assert len(list(task.notes.glob("close-*"))) == len(workers_of(task)) or len(workers_of(task)) == 2
    check_clean(tmp_path / "run", task)


def test_one_worker_is_a_process_of_its_own_opened_once(tmp_path: Path):
    task = TextTask(tmp_path / "notes")
    run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1))
    assert len(workers_of(task)) == 1
    assert os.getpid() not in workers_of(task)
    assert len(list(task.notes.glob("close-*"))) == 1


def test_a_second_run_does_nothing(tmp_path: Path):
    task = TextTask(tmp_path / "notes")
    run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1))
    result = run_plan(tmp_path / "run", PLAN, task, LocalExecutor(3))
    assert result.complete
    assert result.done_before == 5
    assert len(workers_of(task)) == 1


@pytest.mark.parametrize("trouble", ["exception", "exit", "segfault", "kill"])
def test_a_shard_that_fails_twice_is_done_at_the_third_try(tmp_path: Path, trouble: str):
    task = TextTask(tmp_path / "notes", {1: (trouble, 2)})
    result = run_plan(tmp_path / "run", PLAN, task, LocalExecutor(2))
    assert result.complete
    assert contents(tmp_path / "run") == expected()
    assert attempts_at(task, 1) == 3
    check_clean(tmp_path / "run", task)


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("exception", "ValueError: a bad item"),
        ("exit", "ended by itself with exit code 7"),
        ("segfault", "killed by SIGSEGV"),
        ("kill", "killed by SIGKILL (from outside, or the system ran out of memory)"),
    ],
)
def test_a_shard_that_fails_three_times_is_given_up_and_retried_by_the_next_run(
    tmp_path: Path, trouble: str, told: str
):
    task = TextTask(tmp_path / "notes", {1: (trouble, 3)})
    with pytest.raises(WorkError) as caught:
        run_plan(tmp_path / "run", PLAN, task, LocalExecutor(2))
    assert caught.value.exit_code == 1
    assert "shard 1 failed 3 times" in caught.value.message
    assert told in caught.value.message
    assert "run the same command again" in caught.value.hint
    whole = expected()
    del whole["000001.txt"]
    assert contents(tmp_path / "run") == whole
    record = json.loads((tmp_path / "run/failed/000001.json").read_text())
    assert [told in attempt["problem"] for attempt in record["attempts"]] == [True] * 3
    if trouble in ("exception", "segfault"):
        assert all("tasks.py" in attempt["traceback"] for attempt in record["attempts"])
    assert (record["first_item"], record["items"]) == (10, 10)
    check_clean(tmp_path / "run", task)

    result = run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1))
    assert result.complete
    assert contents(tmp_path / "run") == expected()
    assert not (tmp_path / "run/failed/000001.json").exists()


def test_failed_shards_can_be_taken_from_the_result(tmp_path: Path):
    task = TextTask(tmp_path / "notes", {1: ("exception", 9), 3: ("exit", 9)})
    result = run_plan(tmp_path / "run", PLAN, task, LocalExecutor(2), raise_failed=False)
    assert [failed.shard for failed in result.failed] == [1, 3]
    assert not result.complete
    with pytest.raises(WorkError, match="1 more"):
        result.check()


@pytest.mark.parametrize(
    ("trouble", "kind", "told"),
    [
        ("input", InputError, "model: not found"),
        ("exception", WorkError, "no such device"),
        ("exit", WorkError, "no worker process starts: the worker process ended by itself with exit code 3"),
    ],
)
def test_a_task_that_cannot_be_opened_stops_the_run(tmp_path: Path, trouble: str, kind: type, told: str):
    task = TextTask(tmp_path / "notes", open_trouble=trouble)
    with pytest.raises(kind, match=told):
        run_plan(tmp_path / "run", PLAN, task, LocalExecutor(2))
    check_clean(tmp_path / "run", task)


def test_a_task_that_cannot_be_pickled_is_named(tmp_path: Path):
    task = TextTask(tmp_path / "notes", {1: (lambda: None, 1)})  # type: ignore[dict-item]
    with pytest.raises(WorkError, match="cannot be sent to a worker process"):
        run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1))


def test_a_full_disk_stops_the_run_at_once(tmp_path: Path):
    task = TextTask(tmp_path / "notes", {1: ("full", 99)})
    with pytest.raises(WorkError, match="no room left") as caught:
        run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1))
    assert "make room" in caught.value.hint
    assert attempts_at(task, 1) == 1
    assert attempts_at(task, 4) == 0
    check_clean(tmp_path / "run", task)


def test_a_slow_shard_does_not_hold_up_the_others(tmp_path: Path):
    task = TextTask(tmp_path / "notes", {0: ("slow", 1)})
    run_plan(tmp_path / "run", PLAN, task, LocalExecutor(2))
    ledger = Ledger(tmp_path / "run", json.loads((tmp_path / "run/ledger/000000.json").read_text())["plan"])
    entries = ledger.done(PLAN.shards())
    assert entries[0].seconds > 1.0
    assert len({entries[i].worker for i in range(1, 5)}) == 1  # all done by the other worker, meanwhile


def test_resume_with_other_numbers_of_workers_gives_the_same(tmp_path: Path):
    task = TextTask(tmp_path / "notes", dict.fromkeys((0, 2, 4), ("exception", 3)))
    for workers in (3, 1):
        run_plan(tmp_path / "run", PLAN, task, LocalExecutor(workers), raise_failed=False)
    assert contents(tmp_path / "run") == expected()


def test_resume_with_other_options_is_refused_before_any_work(tmp_path: Path):
    task = TextTask(tmp_path / "notes")
    run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1))
    other = Plan(task="text", items=45, shard_size=10, groups=(25, 20), seed=1)
    with pytest.raises(PlanMismatchError, match="option seed: 0 in the run, 1 now"):
        run_plan(tmp_path / "run", other, task, LocalExecutor(1))
    result = run_plan(tmp_path / "run", other, task, LocalExecutor(1), overwrite=True)
    assert result.complete
    assert result.done_before == 0


def test_entries_of_another_plan_do_not_count(tmp_path: Path):
    task = TextTask(tmp_path / "notes")
    run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1))
    (tmp_path / "run/manifest.json").unlink()  # by hand
    other = Plan(task="text", items=45, shard_size=10, groups=(25, 20), seed=1)
    assert run_plan(tmp_path / "run", other, task, LocalExecutor(1)).done_before == 0


@pytest.mark.parametrize("damage", ["delete shard", "cut shard", "cut entry", "delete entry"])
def test_what_is_damaged_is_done_again(tmp_path: Path, damage: str):
    task = TextTask(tmp_path / "notes")
    run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1))
    what, where = damage.split()
    path = tmp_path / "run" / ("shards/000003.txt" if where == "shard" else "ledger/000003.json")
    path.unlink() if what == "delete" else path.write_bytes(path.read_bytes()[:-1])
    run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1))
    assert contents(tmp_path / "run") == expected()
    assert [attempts_at(task, shard) for shard in range(5)] == [1, 1, 1, 2, 1]


def test_consumed_shards_count_as_done_while_their_output_is_there(tmp_path: Path):
    task = TextTask(tmp_path / "notes")
    result = run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1))
    group = PLAN.shards_by_group()[0]
    partition = tmp_path / "run" / "split_0.txt"
    partition.write_bytes(b"".join(path.read_bytes() for path in result.shard_files[:3]))
    result.ledger.mark_consumed(group, partition)
    for path in result.shard_files[:3]:
        path.unlink()
    again = run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1))
    assert again.complete
    assert again.done_before == 5
    assert len(again.shard_files) == 2
    assert again.counts == result.counts

    partition.unlink()
    again = run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1))
    assert again.done_before == 2
    assert contents(tmp_path / "run") == expected()


def test_only_finished_shards_can_be_consumed(tmp_path: Path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match="shard 0 is not done"):
        Ledger(tmp_path, "x").mark_consumed(PLAN.shards(), tmp_path / "out")


def test_parts_of_a_plan(tmp_path: Path):
    task = TextTask(tmp_path / "notes")
    results: list[RunResult] = []
    for part in ("2/3", "3/3", "1/3"):
        results.append(run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1), shards=ShardSelection.parse(part)))
    assert [sorted(result.entries) for result in results] == [[1, 4], [1, 2, 4], [0, 1, 2, 3, 4]]
    assert [result.complete for result in results] == [False, False, True]


@pytest.mark.parametrize("text", ["", "3", "3/", "/16", "a/b", "0/16", "17/16", "1/0", "-1/4", "1.5/2"])
def test_parts_that_are_none(text: str):
    with pytest.raises(InputError, match="shards="):
        ShardSelection.parse(text)


def test_parts_and_overwrite_exclude_each_other(tmp_path: Path):
    with pytest.raises(InputError, match="exclude each other"):
        run_plan(
            tmp_path, PLAN, TextTask(tmp_path), LocalExecutor(1), overwrite=True, shards=ShardSelection.parse("1/2")
        )


def test_no_workers_are_refused():
    with pytest.raises(InputError, match="workers=0"):
        LocalExecutor(0)


# Devices and threads


def test_each_worker_sees_its_own_gpu_and_its_share_of_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OPENCV_FOR_THREADS_NUM", raising=False)
    monkeypatch.setattr(local, "available_cores", lambda: 8)
    task = TextTask(tmp_path / "notes", seconds=0.3)
    run_plan(tmp_path / "run", PLAN, task, LocalExecutor(3, devices=("4", "GPU-abc")))
    for slot, gpu in enumerate(("4", "GPU-abc", "4")):
        lines = (task.notes / f"environment-{slot}").read_text().splitlines()
        assert lines == [f"CUDA_VISIBLE_DEVICES={gpu}", "OMP_NUM_THREADS=2", "OPENCV_FOR_THREADS_NUM=2"]
        (opened,) = task.notes.glob(f"open-{slot}-*")
        assert opened.read_text() == "cuda:0"
    assert "OMP_NUM_THREADS" not in os.environ


def test_workers_on_the_cpu_see_no_gpu(tmp_path: Path):
    task = TextTask(tmp_path / "notes")
    run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1, devices=("cpu",)))
    assert "CUDA_VISIBLE_DEVICES=\n" in (task.notes / "environment-0").read_text()
    (opened,) = task.notes.glob("open-0-*")
    assert opened.read_text() == "cpu"


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("", ()),
        ("0", ("0",)),
        ("2,0, 1", ("2", "0", "1")),
        ("-1", ()),
        ("0,-1,1", ("0",)),
        ("GPU-1,MIG-2", ("GPU-1", "MIG-2")),
    ],
)
def test_cuda_visible_devices_is_respected(monkeypatch: pytest.MonkeyPatch, given: str, seen: tuple[str, ...]):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == seen


def test_gpus_as_the_driver_lists_them():
    listing = (
        "GPU 0: NVIDIA H200 (UUID: GPU-aaa)\n"
        "GPU 1: NVIDIA H200 (UUID: GPU-bbb)\n"
        "  MIG 3g.71gb     Device  0: (UUID: MIG-b0)\n"
        "  MIG 3g.71gb     Device  1: (UUID: MIG-b1)\n"
    )
    assert local._gpu_names(listing) == ("GPU-aaa", "MIG-b0", "MIG-b1")


def test_opencv_in_a_worker_takes_its_share_of_the_cores(tmp_path: Path):
    environment = {**os.environ, "OPENCV_FOR_THREADS_NUM": "1"}
    code = "import cv2; print(cv2.getNumThreads())"
    assert subprocess.check_output([sys.executable, "-c", code], env=environment).strip() == b"1"


# Parents that go away, and several parents

_SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from ovforge.cli.common import run_app
from ovforge.runs.executors.local import LocalExecutor
from ovforge.runs.plan import Plan
from ovforge.runs.run import run_plan
from tests.faults.harness import children
from tests.faults.tasks import TextTask

def app(args, standalone_mode):
    task = TextTask(Path({notes!r}), {troubles!r}, seconds={seconds!r})
    plan = Plan(task="text", items=45, shard_size=10, groups=(25, 20))
    run_plan(Path({folder!r}), plan, task, LocalExecutor({workers}))

if __name__ == "__main__":
    sys.exit(run_app(app))
"""


def start_script(
    tmp_path: Path, *, seconds: float = 0.0, workers: int = 2, troubles: object = None
) -> subprocess.Popen:
    values = {"notes": str(tmp_path / "notes"), "folder": str(tmp_path / "run"), "root": str(ROOT)}
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT.format(**values, seconds=seconds, workers=workers, troubles=troubles or {}))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        [sys.executable, str(script)], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_until(condition, seconds: float = 30.0) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_parent(tmp_path: Path, how: signal.Signals):
    task = TextTask(tmp_path / "notes")
    process = start_script(tmp_path, troubles={0: ("hang", 1), 1: ("hang", 1)})
    wait_until(lambda: attempts_at(task, 0) and attempts_at(task, 1))
    workers = workers_of(task)
    assert len(workers) == 2
    process.send_signal(how)
    _, errors = process.communicate(timeout=30)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted" in errors
        check_clean(tmp_path / "run", task)
    wait_until(lambda: not any(process_is_alive(pid) for pid in workers), seconds=10)
    run_plan(tmp_path / "run", PLAN, task, LocalExecutor(2))
    assert contents(tmp_path / "run") == expected()
    check_clean(tmp_path / "run", task)


def test_ctrl_c_in_a_terminal_reaches_the_whole_group_and_ends_quietly(tmp_path: Path):
    task = TextTask(tmp_path / "notes")
    process = start_script(tmp_path, troubles={0: ("hang", 1)})
    wait_until(lambda: attempts_at(task, 0))
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    check_clean(tmp_path / "run", task)


def test_ctrl_c_while_workers_are_being_born_ends_quietly_too(tmp_path: Path):
    process = start_script(tmp_path)
    wait_until(lambda: [child for child in children(process.pid) if is_worker(child)])
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors


def is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_processes_that_start_together_from_nothing_share_the_work(tmp_path: Path):
    task = TextTask(tmp_path / "notes")
    processes = [start_script(tmp_path, seconds=0.1) for _ in range(4)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert contents(tmp_path / "run") == expected()
    check_clean(tmp_path / "run", task)


def test_a_living_process_keeps_its_temporary_files_and_its_run(tmp_path: Path):
    task = TextTask(tmp_path / "notes")
    process = start_script(tmp_path, workers=1, troubles={0: ("hang", 1)})
    try:
        wait_until(lambda: list((tmp_path / "run/shards").glob(".000000.txt.part-*")))
        (temporary,) = (tmp_path / "run/shards").glob(".000000.txt.part-*")
        with pytest.raises(InputError, match="is at work there"):
            run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1), overwrite=True)
        run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1), shards=ShardSelection(2, 5))
        assert temporary.exists()
    finally:
        process.kill()
        process.communicate()
    wait_until(lambda: not any(process_is_alive(pid) for pid in workers_of(task)), seconds=10)
    run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1))
    assert not temporary.exists()
    assert contents(tmp_path / "run") == expected()
