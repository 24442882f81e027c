"""What the pages are made from: a merged run, or one that is still going on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ovforge.records.reporting import Drop
from ovforge.records.scores import ExtraObject
from ovforge.sources.pair_arrays import PairArrays

Rle = dict[str, Any]
OUTSIDE, COVERED = "outside", "covered"
"""Why an object is not seen in a frame of a clip."""


class ObjectNotes(NamedTuple):
    """What is known of one object in one image beside what stands in the arrays."""

    segmentation: Any = None
    """As it was written; None where no mask is known."""
    occluded: bool = False


@dataclass(frozen=True)
class PairDetails:
    """What is known of one second view beside its objects."""

    caption: str = ""
    seed: int | None = None
    motion: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)
    keep_mask: Rle | None = None
    """Run lengths of what was kept from repainting, where it was noted."""
    extra: tuple[ExtraObject, ...] = ()
    """What a detector found where none is annotated."""


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
    run_folder: Path

    def snapshot(self) -> Snapshot:
        """The pairs, as fresh as is cheap."""

    def image(self, row: int) -> bytes:
        """The encoded image of an image row."""

    def details(self, pair: int) -> PairDetails:
        """What is known of a pair beside its objects."""

    def notes(self, row: int) -> list[ObjectNotes]:
        """What else is known of an image row's objects, in their order; empty where nothing is."""

    def unseen(self, pair: int) -> dict[int, str]:
        """Of the objects that are not seen in a clip's frame, as far as it is known, track -> OUTSIDE or COVERED."""

    def drops(self) -> tuple[Drop, ...] | None:
        """What the run skipped, by reason; None where nobody noted it."""

    def close(self) -> None:
        """Close what is open."""
