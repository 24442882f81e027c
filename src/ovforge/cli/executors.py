"""Options that every long job shares: where its shards are worked on, by how many, and which of them."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from ovforge.errors import InputError

if TYPE_CHECKING:
    from ovforge.runs.executors.base import Executor


class ExecutorName(str, Enum):
    """Where shards are worked on."""

    LOCAL = "local"
    RAY = "ray"


ExecutorOption = Annotated[
    ExecutorName,
    typer.Option("--executor", help="local: processes on this machine; ray: a Ray cluster (extra 'ray')."),
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", help="Ray cluster: auto, or host:port. Default: one is started on this machine."),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers",
        min=0,
        help="Workers at once; no influence on the result. 0: one per GPU, or per core for work without GPUs.",
    ),
]
ShardsOption = Annotated[
    str | None,
    typer.Option("--shards", help="Only one part of the work, as 3/16, beside other calls that do other parts."),
]


def make_executor(
    name: ExecutorName, *, workers: int = 0, address: str | None = None, use_gpus: bool = False
) -> Executor:
    """The executor that the options describe. With `use_gpus` every worker gets a GPU of its own, if there are any.

    Raises:
        InputError: an address without Ray.
    """
    if name is ExecutorName.RAY:
        from ovforge.runs.executors.ray import RayExecutor

        return RayExecutor(address, workers or None, gpus_per_worker=1.0 if use_gpus else 0.0)
    if address is not None:
        raise InputError(f"--address {address}: only for --executor ray", hint="add --executor ray")
    from ovforge.runs.executors.local import LocalExecutor, available_cores, visible_gpus

    if not use_gpus:
        return LocalExecutor(workers or available_cores())
    gpus = visible_gpus()
    return LocalExecutor(workers or len(gpus) or 1, devices=gpus or ("cpu",))
