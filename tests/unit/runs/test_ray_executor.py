"""Ray as it is: started here, or several nodes on this machine of which one is killed. Bounded in time by the tasks."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ovforge.errors import InputError, MissingExtraError, WorkError
from ovforge.files.atomic import is_temporary
from ovforge.imagenet import index
from ovforge.options.imagenet import IndexOptions
from ovforge.options.pairs import GenerateOptions
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.runs.executors.local import LocalExecutor
from ovforge.runs.executors.ray import RayExecutor
from ovforge.runs.plan import Plan
from ovforge.runs.run import run_plan
from ovforge.synthesis.generate import generate_pairs
from ovforge.synthesis.warp import FillEngine
from tests.faults.tasks import TextTask

PLAN = Plan(task="text", items=45, shard_size=5)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").iterdir())}


def expected() -> dict[str, bytes]:
    return {f"{s.name}.txt": "".join(f"item {i}\n" for i in range(s.start, s.stop)).encode() for s in PLAN.shards()}


@pytest.fixture(scope="module")
def one_node() -> Iterator[Any]:
    """Ray on this machine, started once for the tests that do not kill nodes; two cores and two GPUs on paper."""
    ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=2,
        object_store_memory=100 << 20,
        include_dashboard=False,
        log_to_driver=False,
    )
    yield ray
    ray.shutdown()


@pytest.fixture(params=["tasks", "actors"])
def executor(request: pytest.FixtureRequest, one_node: Any) -> RayExecutor:
    return RayExecutor(gpus_per_worker=1 if request.param == "actors" else 0)


def test_the_same_files_as_with_processes(tmp_path: Path, executor: RayExecutor):
    result = run_plan(tmp_path / "run", PLAN, TextTask(tmp_path / "notes"), executor)
    assert result.complete
    assert result.counts["items"] == 45
    assert contents(tmp_path / "run") == expected()
    device = "cuda:0" if executor.gpus_per_worker else "cpu"
    assert {path.read_text() for path in (tmp_path / "notes").glob("open-*")} == {device}


@pytest.mark.usefixtures("one_node")
def test_a_step_of_the_package_on_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`imagenet index`, all of it through Ray."""
    monkeypatch.setattr(importlib.import_module("ovforge.imagenet.index"), "HEAD_START_SECONDS", 0.0)
    photograph = cv2.imencode(".jpg", np.zeros((4, 5, 3), np.uint8))[1].tobytes()
    for wnid, count in (("n02084071", 3), ("n02121620", 2)):
        folder = tmp_path / "tree" / wnid
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{wnid}_{number}.JPEG").write_bytes(photograph)
    categories = [{"id": i, "name": s, "synset": s, "frequency": "f"} for i, s in ((7, "dog.n.01"), (3, "cat.n.01"))]
    (tmp_path / "lvis.json").write_text(json.dumps({"categories": categories, "images": [], "annotations": []}))
    made = {}
    for name, executor in (("ray", RayExecutor()), ("here", InProcessExecutor())):
        out = tmp_path / f"{name}.json"
        index(IndexOptions(imagenet=tmp_path / "tree", lvis=tmp_path / "lvis.json", out=out), executor)
        made[name] = out.read_bytes()
        assert not out.with_name(f"{name}.json.run").exists()
    assert len(json.loads(made["ray"])["images"]) == 5
    assert made["ray"] == made["here"]


def test_clips_on_ray_are_those_of_this_process(tmp_path: Path, one_node: Any, mini: Path):
    made = {}
    for name, executor in (("here", InProcessExecutor()), ("ray", RayExecutor())):
        options = GenerateOptions(
            "clips",
            tmp_path / name,
            images=mini / "coco/train2017",
            annotations=mini / "lvis/lvis_v1_train.json",
            frames=3,
            limit=4,
            shard_size=2,
        )
        generate_pairs(options, FillEngine(), executor)
        made[name] = {path.name: path.read_bytes() for path in (tmp_path / name / "clips").glob("*_split_*")}
    assert len(made["here"]) == 3
    assert made["ray"] == made["here"]


@pytest.mark.parametrize("trouble", ["exception", "exit"])
def test_a_shard_that_fails_twice_is_done_at_the_third_try(tmp_path: Path, executor: RayExecutor, trouble: str):
    task = TextTask(tmp_path / "notes", {1: (trouble, 2)})
    assert run_plan(tmp_path / "run", PLAN, task, executor).complete
    assert contents(tmp_path / "run") == expected()


@pytest.mark.parametrize(("trouble", "told"), [("exception", "a bad item"), ("kill", "")])
def test_a_shard_that_fails_three_times_is_given_up_and_retried_by_another_executor(
    tmp_path: Path, executor: RayExecutor, trouble: str, told: str
):
    task = TextTask(tmp_path / "notes", {1: (trouble, 3)})
    with pytest.raises(WorkError, match="shard 1 failed 3 times") as caught:
        run_plan(tmp_path / "run", PLAN, task, executor)
    assert told in caught.value.message
    assert len(list(task.notes.glob("run-1-*"))) == 3
    # What a killed process was writing may lie there until the next start; nothing of it is under a final name.
    published = {name: data for name, data in contents(tmp_path / "run").items() if not is_temporary(Path(name))}
    assert published == {name: data for name, data in expected().items() if name != "000001.txt"}
    assert run_plan(tmp_path / "run", PLAN, task, LocalExecutor(1)).complete
    assert contents(tmp_path / "run") == expected()


def test_a_task_that_cannot_be_opened_stops_the_run(tmp_path: Path, executor: RayExecutor):
    with pytest.raises(InputError, match="model: not found"):
        run_plan(tmp_path / "run", PLAN, TextTask(tmp_path / "notes", open_trouble="input"), executor)


def test_a_full_disk_stops_the_run(tmp_path: Path, executor: RayExecutor):
    with pytest.raises(WorkError, match="no room left"):
        run_plan(tmp_path / "run", PLAN, TextTask(tmp_path / "notes", {1: ("full", 99)}), executor)


def test_paths_relative_to_where_the_run_was_started(
    tmp_path: Path, executor: RayExecutor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    result = run_plan(Path("run"), PLAN, TextTask(Path("notes")), executor)
    assert result.shard_files[0] == Path("run/shards/000000.txt")
    assert contents(tmp_path / "run") == expected()


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match="executor='ray' needs the extra 'ray'"):
        run_plan(tmp_path / "run", PLAN, TextTask(tmp_path / "notes"), RayExecutor())


def test_no_workers_are_refused():
    with pytest.raises(InputError, match="workers=0"):
        RayExecutor(workers=0)


# The tests below start and end clusters of their own, so they come after those that share one.


@pytest.fixture
def no_ray() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    ray.shutdown()
    yield
    ray.shutdown()


def test_no_cluster_at_that_address(tmp_path: Path, no_ray: None, monkeypatch: pytest.MonkeyPatch):
    import ray

    def init(**options: object) -> None:  # "auto" would find the cluster of a test that runs beside this one
        raise ConnectionError("Could not find any running Ray instance.\nPlease specify the one to connect to")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(InputError, match="no Ray cluster at 'auto'") as caught:
        run_plan(tmp_path / "run", PLAN, TextTask(tmp_path / "notes"), RayExecutor(address="auto"))
    assert caught.value.message.endswith("'auto': Could not find any running Ray instance.")
    assert "ray start --head" in caught.value.hint


def test_a_cluster_started_on_the_spot_ends_with_the_run(tmp_path: Path, no_ray: None):
    import ray

    assert run_plan(tmp_path / "run", PLAN, TextTask(tmp_path / "notes"), RayExecutor(workers=2)).complete
    assert not ray.is_initialized()


def test_a_node_lost_in_the_middle_loses_nothing(tmp_path: Path, no_ray: None):
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": 100 << 20,
            "include_dashboard": False,
            "_system_config": {"health_check_period_ms": 500, "health_check_failure_threshold": 3},  # to notice sooner
        },
    )
    try:
        nodes = [cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=100 << 20) for _ in range(2)]
        cluster.wait_for_nodes()
        task = TextTask(tmp_path / "notes", seconds=0.5)
        killer = threading.Thread(target=_kill_in_the_middle, args=(task, lambda: _kill_node(cluster, nodes[1])))
        killer.start()
        result = run_plan(tmp_path / "run", PLAN, task, RayExecutor(address=cluster.address, gpus_per_worker=1))
        killer.join()
    finally:
        import ray

        ray.shutdown()
        cluster.shutdown()
    assert result.complete
    assert contents(tmp_path / "run") == expected()
    runs = [path.name.split("-") for path in task.notes.glob("run-*")]
    assert len({pid for *_, pid in runs}) >= 2  # both nodes were at work
    assert len(runs) > len(PLAN.shards())  # and the lost node's shard was begun again


def _kill_in_the_middle(task: TextTask, kill: Callable[[], None]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pids = {path.name.rpartition("-")[2] for path in task.notes.glob("run-*")}
        if len(pids) == 2:  # both nodes have a shard in hand
            kill()
            return
        time.sleep(0.02)


def _kill_node(cluster: Any, node: Any) -> None:
    """End a node as a power cut does: workers first, or they would finish their shard while Ray's own part dies."""
    (raylet,) = node.all_processes["raylet"]
    pid = raylet.process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)
