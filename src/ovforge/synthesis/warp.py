"""The engines that leave the moved image as it is, at its full resolution: no model, milliseconds an image.

`fill` is given the completed background around the moved image: its pairs are fit to train on. `warp` is a preview of
what OVTrack's engine is given: the original is seen around the moved image, so objects may be seen twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ovforge.options.labels import Outside
from ovforge.synthesis.repaint import EngineTraits, Repainted, Repainter, RepaintJob, WorkingSize

PREVIEW = (
    "a preview, not to train on: around the moved image the original is seen, so that an object may be seen twice, "
    "the second time without a label"
)


@dataclass(frozen=True)
class FillEngine:
    """A picklable description, as `synthesis.repaint.Engine` asks for; it has no options."""

    name: str = "fill"
    traits: EngineTraits = EngineTraits(repaints=False, outside=(Outside.COMPLETED,))  # noqa: RUF009 - frozen

    def describe(self) -> dict[str, Any]:
        """What the manifest says of the engine."""
        return {"engine": self.name}

    def open(self, device: str | None) -> Repainter:
        """There is nothing to load."""
        del device
        return Unchanged({"engine": self.name})


@dataclass(frozen=True)
class WarpEngine:
    """A picklable description, as `synthesis.repaint.Engine` asks for; it has no options."""

    name: str = "warp"
    traits: EngineTraits = EngineTraits(  # noqa: RUF009 - frozen
        repaints=False, outside=(Outside.ORIGINAL,), notes=(f"the engine warp makes {PREVIEW}",)
    )

    def describe(self) -> dict[str, Any]:
        """What the manifest says of the engine."""
        return {"engine": self.name, "note": PREVIEW}

    def open(self, device: str | None) -> Repainter:
        """There is nothing to load."""
        del device
        return Unchanged(self.describe())


class Unchanged:
    """Hands back the images of its jobs."""

    working_size: WorkingSize | None = None
    batch_size: int = 1

    def __init__(self, record: dict[str, Any]) -> None:
        self._record = record

    def repaint(self, jobs: Sequence[RepaintJob]) -> list[Repainted]:
        """The jobs' own images, in order."""
        return [Repainted(job.image, dict(self._record)) for job in jobs]

    def close(self) -> None:
        """There is nothing to give back."""
