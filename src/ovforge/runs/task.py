"""What runs ask of a task, and nothing more: runs know no data set.

A task is a picklable description of work over a list of items, cut into shards. A worker is a task opened in
one process, with whatever is costly to open (a model, an HDF5 file). Running a shard writes one file; the
executor gives the temporary path and publishes it, so a worker never sees a final name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ovforge.records.reporting import Drop


def _ignore(items: int) -> None:
    """Nobody asks how far a shard is."""


@dataclass(frozen=True)
class Shard:
    """The items [start, stop) of a plan's item list."""

    index: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The shard's file name without its suffix."""
        return f"{self.index:06d}"


@dataclass(frozen=True)
class Slot:
    """The place a worker runs in: its number among the run's workers, and the device it may use."""

    index: int
    device: str | None = None
    """`cuda:0`, `cpu`, or None where the task does not care."""
    report: Callable[[int], None] = field(default=_ignore, compare=False)
    """To be called now and then with the number of the shard's items that are done."""


class ShardReport(msgspec.Struct, frozen=True):
    """What a worker says of a finished shard; kept in the ledger."""

    items: int
    counts: dict[str, Any] = {}
    drops: tuple[Drop, ...] = ()


class Worker(Protocol):
    """A task opened in one process."""

    def run(self, shard: Shard, out: Path) -> ShardReport:
        """Do the items of `shard` and write them to `out`, one file. The same shard gives the same bytes, always."""

    def close(self) -> None:
        """Give back what was opened."""


class Task(Protocol):
    """A picklable description of the work."""

    @property
    def shard_suffix(self) -> str:
        """The suffix of a shard file: `.h5`, `.json`."""

    def open(self, slot: Slot) -> Worker:
        """Open the task in this process."""
