"""What goes into the exemplar dictionary: the sources that are there, and each class's share of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ovforge.exemplars.imagenet_images import ImageNetImages
from ovforge.exemplars.lvis_boxes import LvisBoxes
from ovforge.exemplars.visual_genome_boxes import VisualGenomeBoxes


class ClassFacts(Protocol):
    """A class as the data set or the packaged table has it."""

    @property
    def id(self) -> int:
        """Category id."""

    @property
    def name(self) -> str:
        """Class name."""

    @property
    def synset(self) -> str:
        """WordNet name."""

    @property
    def frequency(self) -> str:
        """`r`, `c`, `f`, or empty."""


@dataclass(frozen=True)
class Sources:
    """The sources that are there; the others are None."""

    lvis: LvisBoxes | None
    imagenet: ImageNetImages | None
    visual_genome: VisualGenomeBoxes | None

    def close(self) -> None:
        """Close what is open."""
        for source in (self.lvis, self.imagenet):
            if source is not None:
                source.close()


@dataclass
class ClassPlan:
    """What goes into one class's list, in this order: LVIS, ImageNet, Visual Genome, then the substitutes'."""

    facts: ClassFacts
    lvis: int
    imagenet: int
    visual_genome: int = 0
    substitutes: tuple[str, ...] = ()
    substituted: dict[str, int] = field(default_factory=dict)
    """Substitute -> how many exemplars come by it."""

    @property
    def own(self) -> int:
        """Exemplars of the class's own synset."""
        return self.lvis + self.imagenet + self.visual_genome

    @property
    def total(self) -> int:
        """All exemplars."""
        return self.own + sum(self.substituted.values())
