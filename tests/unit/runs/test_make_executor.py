from __future__ import annotations

import pytest

from ovforge.cli.executors import ExecutorName, executor_of, make_executor
from ovforge.errors import InputError
from ovforge.options.executors import ExecutorOptions
from ovforge.runs.executors import local, ray
from ovforge.runs.executors.local import LocalExecutor
from ovforge.runs.executors.ray import RayExecutor


def test_one_worker_per_core_where_no_gpu_is_wanted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(local, "available_cores", lambda: 6)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert make_executor(ExecutorName.LOCAL) == LocalExecutor(6)
    assert make_executor(ExecutorName.LOCAL, workers=2) == LocalExecutor(2)


def test_one_worker_per_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert make_executor(ExecutorName.LOCAL, device="auto") == LocalExecutor(2, ("3", "1"))
    assert make_executor(ExecutorName.LOCAL, workers=4, device="cuda") == LocalExecutor(4, ("3", "1"))
    assert make_executor(ExecutorName.LOCAL, device="cuda:1") == LocalExecutor(1, ("1",))
    assert make_executor(ExecutorName.LOCAL, device="cpu") == LocalExecutor(1, ("cpu",))
    assert make_executor(ExecutorName.LOCAL, device="mps") == LocalExecutor(1, None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert make_executor(ExecutorName.LOCAL, device="auto") == LocalExecutor(1, ("cpu",))


def test_ray():
    assert make_executor(ExecutorName.RAY, address="auto") == RayExecutor("auto")
    assert make_executor(ExecutorName.RAY, workers=3, device="auto") == RayExecutor(None, 3, gpus_per_worker=1.0)
    assert make_executor(ExecutorName.RAY, device="cpu") == RayExecutor()


def test_auto_on_ray_is_what_the_cluster_has(monkeypatch: pytest.MonkeyPatch):
    """A model on a cluster without GPUs works on its cores; nobody waits for a GPU that will never come."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    options = ExecutorOptions(executor=ExecutorName.RAY, workers=1)
    assert executor_of(options, device="auto") == RayExecutor(None, 1)
    assert executor_of(options, device="cuda") == RayExecutor(None, 1, gpus_per_worker=1.0)
    for gpus in (True, False):
        monkeypatch.setattr(ray, "cluster_has_gpu", lambda address, gpus=gpus: gpus)
        far = executor_of(ExecutorOptions(executor=ExecutorName.RAY, address="head:6379"), device="auto")
        assert far == RayExecutor("head:6379", gpus_per_worker=1.0 if gpus else 0.0)


def test_an_address_is_for_ray():
    with pytest.raises(InputError, match="only for executor='ray'"):
        make_executor(ExecutorName.LOCAL, address="auto")
