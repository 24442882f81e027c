"""Unusual places to work: a cluster without room, a daemonic process, a script without a main guard."""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ovforge.cli.executors import ExecutorName, resolve_auto
from ovforge.errors import InputError, WorkError
from ovforge.runs.executors import local, ray
from ovforge.runs.executors.local import LocalExecutor
from ovforge.runs.executors.ray import RayExecutor, start_problem
from ovforge.runs.plan import Plan
from ovforge.runs.run import run_plan
from tests.faults.tasks import TextTask

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("said", "told", "helps"),
    [
        (
            "AF_UNIX path length cannot exceed 107 bytes: /a/b",
            "too long",
            "RAY_TMPDIR",
        ),
        ("Authentication failed: token is missing", "asks for a token", "RAY_AUTH_TOKEN"),
        ("Version mismatch: The cluster was started with Ray: 2.9", "another Ray or Python", "same versions"),
        ("Could not find any running Ray instance.\nPlease specify", "no Ray cluster at '1.2.3.4:6379'", "ray start"),
        ("", "no Ray cluster at", "ray start"),
    ],
)
def test_why_ray_cannot_be_joined(said: str, told: str, helps: str):
    error = start_problem(RuntimeError(said), "1.2.3.4:6379")
    assert told in error.message
    assert helps in error.hint


class FullCluster:
    """A cluster in which nothing ever gets room."""

    def __init__(self, **resources: float) -> None:
        self.resources = resources

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def available_resources(self) -> dict[str, float]:
        return {}

    def wait(self, references: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return [], references


def test_waiting_for_room_is_said_and_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(ray, "_SAY_AFTER_SECONDS", 0.0)
    waiting = ray._Waiting(FullCluster(CPU=4, GPU=2), RayExecutor("auto", 2, 1.0, patience=0.05), tmp_path)
    with caplog.at_level(logging.WARNING), pytest.raises(WorkError, match="had no room for a worker") as caught:
        waiting.first(["call"])
    assert "0 of 2 GPUs are free; a worker needs 1 CPUs and 1 GPUs" in caught.value.message
    assert "--device cpu" in caught.value.hint
    assert caplog.text.count("waiting for the Ray cluster to have room") == 1


def test_a_head_without_cores_and_a_cluster_without_gpus_are_named():
    with pytest.raises(InputError, match="offers 0 cores, a worker needs 1: a head started with"):
        RayExecutor("auto")._require_cores(FullCluster(CPU=0))
    RayExecutor("auto", 2)._require_cores(FullCluster(CPU=0))  # waits for nodes that will join
    with pytest.raises(InputError, match="has 0 GPUs, a worker needs 1") as caught:
        RayExecutor("auto", None, 1.0)._shares_of_gpus(FullCluster(CPU=8))
    assert "--device cpu" in caught.value.hint


def test_auto_is_what_the_place_of_work_has(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray, "cluster_has_gpu", lambda address: address == "gpus")
    assert resolve_auto(ExecutorName.RAY, "gpus", "auto") == "cuda"
    assert resolve_auto(ExecutorName.RAY, "none", "auto") == "cpu"
    assert resolve_auto(ExecutorName.RAY, "none", "cuda") == "cuda"
    monkeypatch.setattr(local, "visible_gpus", lambda: ())
    assert resolve_auto(ExecutorName.LOCAL, None, "auto") == "cpu"
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(local, "visible_gpus", lambda: ("0",))
    for usable in (True, False):  # a GPU that this torch cannot use is none
        monkeypatch.setattr(torch.cuda, "is_available", lambda usable=usable: usable)
        assert resolve_auto(ExecutorName.LOCAL, None, "auto") == ("cuda" if usable else "cpu")


def _in_a_daemon(folder: Path) -> None:
    run_plan(folder / "run", Plan(task="text", items=4, shard_size=2), TextTask(folder / "notes"), LocalExecutor(2))


def test_a_daemonic_process_does_the_work_itself(tmp_path: Path):
    process = multiprocessing.get_context("spawn").Process(target=_in_a_daemon, args=(tmp_path,), daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert len(list((tmp_path / "run/shards").iterdir())) == 2


def test_a_script_without_a_main_guard_is_told(tmp_path: Path):
    script = tmp_path / "start.py"
    script.write_text(
        "from pathlib import Path\n"
        "from ovforge.runs.executors.local import LocalExecutor\n"
        "from ovforge.runs.plan import Plan\n"
        "from ovforge.runs.run import run_plan\n"
        "from tests.faults.tasks import TextTask\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "plan = Plan(task='text', items=4, shard_size=2)\n"
        "run_plan(folder / 'run', plan, TextTask(folder / 'notes'), LocalExecutor(1))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert 'if __name__ == "__main__":' in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_without_a_home(tmp_path: Path):
    code = f"""
from pathlib import Path
from ovforge.runs.executors.local import LocalExecutor
from ovforge.runs.plan import Plan
from ovforge.runs.run import run_plan
from tests.faults.tasks import TextTask
if __name__ == "__main__":
    folder = Path({str(tmp_path)!r})
    run_plan(folder / "run", Plan(task="text", items=4, shard_size=2), TextTask(folder / "notes"), LocalExecutor(1))
"""
    (tmp_path / "start.py").write_text(code)
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "USER", "LOGNAME")}
    environment["PYTHONPATH"] = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    done = subprocess.run(
        [sys.executable, str(tmp_path / "start.py")], env=environment, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
