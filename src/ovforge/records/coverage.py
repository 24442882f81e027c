"""The coverage report: how many exemplars each class has, from where, and why some have few."""

from __future__ import annotations

import msgspec


class ClassCoverage(msgspec.Struct, frozen=True):
    """One class's exemplars by source."""

    category_id: int
    name: str
    synset: str
    frequency: str
    lvis: int
    imagenet21k: int
    visual_genome: int
    substitutes: int
    """From ImageNet and Visual Genome, by the synsets in `substitute_synsets`."""
    total: int
    substitute_synsets: tuple[str, ...] = ()
    """Those whose images were added."""
    why: tuple[str, ...] = ()
    """For a class with fewer than `enough`: what each source has to say."""
    leave_one_out: float | None = None
    """The share of its exemplars that look most like the class's others, as `exemplars check` found; None: not checked,
    or fewer than two."""


class SourceState(msgspec.Struct, frozen=True):
    """What became of one source."""

    path: str | None
    found: bool
    exemplars: int
    cost: str = ""
    """What its absence costs."""


class Coverage(msgspec.Struct, frozen=True):
    """The coverage report, as it stands in its file."""

    exemplars: int
    enough: int
    """Classes with fewer exemplars are lacking."""
    lacking: tuple[str, ...]
    """Their synsets, in the order of the categories."""
    sources: dict[str, SourceState]
    classes: tuple[ClassCoverage, ...]
