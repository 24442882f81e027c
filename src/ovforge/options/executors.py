"""Options that every long job shares: where its shards are worked on, by how many, and which of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ovforge.options.base import Options, option


class ExecutorName(str, Enum):
    """Where shards are worked on."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True)
class ExecutorOptions(Options):
    """Where a run's shards are worked on; nothing of it has an influence on the result."""

    executor: ExecutorName = option(
        ExecutorName.LOCAL, "local: processes on this machine; ray: a Ray cluster (extra 'ray').", panel="Run"
    )
    address: str | None = option(
        None, "Ray cluster: auto, or host:port.", panel="Run", shown="one is started on this machine"
    )
    workers: int = option(
        0,
        "Workers at once.",
        at_least=0,
        panel="Run",
        shown="one per GPU, or per core for work without GPUs",
    )
    shards: str | None = option(
        None, "Only one part of the work, as 3/16, beside other calls that do other parts.", panel="Run"
    )
