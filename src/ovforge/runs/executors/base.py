"""What a run asks of an executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ovforge.runs.task import Shard
from ovforge.runs.worker import Attempt, Job

ATTEMPTS = 3
"""A shard that fails this often is given up until the next call."""


@dataclass(frozen=True)
class Finished:
    """A shard is done."""

    shard: Shard
    items: int


@dataclass(frozen=True)
class ShardFailed:
    """A shard has failed ATTEMPTS times."""

    shard: Shard
    attempts: tuple[Attempt, ...]
    """What is known of them; Ray tells of the last only."""
    tries: int = ATTEMPTS


Outcome = Finished | ShardFailed


class Executor(Protocol):
    """Does shards, in any order, on any number of workers."""

    @property
    def workers(self) -> int | None:
        """How many at most at once; None: as many as there is room for."""

    def execute(self, job: Job, shards: Sequence[Shard], report: Callable[[Outcome], None]) -> None:
        """Do `shards`; call `report` once for each, in this thread.

        On any exception, KeyboardInterrupt among them, no worker is left at work.

        Raises:
            OvforgeError: something that stops all shards: the task cannot be opened, the disk is full.
        """
