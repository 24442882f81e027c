"""Options that every long job shares: where its shards are worked on, by how many, and which of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovforge.errors import InputError
from ovforge.options.executors import ExecutorName, ExecutorOptions

if TYPE_CHECKING:
    from ovforge.runs.executors.base import Executor
    from ovforge.runs.run import ShardSelection


def make_executor(
    name: ExecutorName, *, workers: int = 0, address: str | None = None, device: str | None = None
) -> Executor:
    """The executor that the options describe.

    Args:
        workers: 0: one per GPU for work that wants GPUs, if there are any; else one per core, and a single one for work
            that names a device but gets no GPU.
        device: None for work on cores alone; else as in `--device`: `auto`, `cuda`, `cuda:1`, `cpu`, `mps`.

    Raises:
        InputError: an address without Ray.
    """
    kind, _, number = (device or "").partition(":")
    if name is ExecutorName.RAY:
        from ovforge.runs.executors.ray import RayExecutor

        return RayExecutor(address, workers or None, gpus_per_worker=1.0 if kind in ("auto", "cuda") else 0.0)
    if address is not None:
        raise InputError(f"--address={address}: only for --executor=ray", hint="add --executor=ray")
    from ovforge.runs.executors.local import LocalExecutor, available_cores, visible_gpus

    if device is None:
        return LocalExecutor(workers or available_cores())
    gpus = visible_gpus() if kind in ("auto", "cuda") else ()
    if number.isdecimal():
        gpus = gpus[int(number) : int(number) + 1]
    if gpus:
        return LocalExecutor(workers or len(gpus), gpus)
    # Without a GPU, or on another kind of device: the task says so if it cannot use what it is told to.
    return LocalExecutor(workers or 1, ("cpu",) if kind in ("auto", "cpu") else None)


def resolve_auto(name: ExecutorName, address: str | None, device: str) -> str:
    """What `--device auto` is where the work will be done: `cuda` or `cpu`; another device stays as it is.

    A cluster is asked, not this machine. On this machine a GPU counts that torch can use.

    Raises:
        InputError: there is no such cluster.
    """
    if device != "auto":
        return device
    if name is ExecutorName.RAY and address is not None:
        from ovforge.runs.executors.ray import cluster_has_gpu

        return "cuda" if cluster_has_gpu(address) else "cpu"
    from ovforge.runs.executors.local import visible_gpus

    if not visible_gpus():
        return "cpu"
    try:
        import torch
    except ImportError:  # which the engine says better
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "cpu"


def select_shards(text: str | None) -> ShardSelection | None:
    """The part of the work that `--shards` names.

    Raises:
        InputError: not of the form 3/16.
    """
    if text is None:
        return None
    from ovforge.runs.run import ShardSelection

    return ShardSelection.parse(text)


def executor_of(options: ExecutorOptions, *, device: str | None = None) -> Executor:
    """`make_executor` of the options; on Ray, the device `auto` is a GPU only where the cluster has one."""
    if device is not None and options.executor is ExecutorName.RAY:
        device = resolve_auto(options.executor, options.address, device)
    return make_executor(options.executor, workers=options.workers, address=options.address, device=device)
