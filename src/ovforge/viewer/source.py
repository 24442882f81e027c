"""What the pages are made from: a merged run, or one that is still going on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from ovforge.records.reporting import Drop
from ovforge.sources.pair_arrays import PairArrays

Rle = dict[str, Any]


@dataclass(frozen=True)
class PairDetails:
    """What is known of one second view beside its objects."""

    caption: str = ""
    seed: int | None = None
    motion: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)
    keep_mask: Rle | None = None
    """Run lengths of what was kept from repainting, where it was noted."""


@dataclass(frozen=True)
class Snapshot:
    """The pairs as they are known at one moment.

    Attributes:
        generation: another word for every list of pairs in which positions mean something else.
        done, planned: images; equal unless the run is going on.
    """

    arrays: PairArrays
    generation: str
    done: int
    planned: int

    @property
    def unfinished(self) -> bool:
        """Whether more pairs are to come."""
        return self.done < self.planned


class PairSource(Protocol):
    """Pairs to look at. Positions are those of the latest snapshot; errors are `OvforgeError`s that name the file."""

    name: str

    def snapshot(self) -> Snapshot:
        """The pairs, as fresh as is cheap."""

    def image(self, row: int) -> bytes:
        """The encoded image of an image row."""

    def details(self, pair: int) -> PairDetails:
        """What is known of a pair beside its objects."""

    def masks(self, row: int) -> list[Any]:
        """The segmentations of an image row's objects, as they were written; empty where none are known."""

    def drops(self) -> tuple[Drop, ...] | None:
        """What the run skipped, by reason; None where nobody noted it."""

    def close(self) -> None:
        """Close what is open."""
