"""The engine that repaints nothing: the second view is the composed image itself, at full resolution.

It needs no model, runs in milliseconds, and shows what every other engine is given to work on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ovforge.synthesis.repaint import Repainted, Repainter, RepaintJob, WorkingSize


@dataclass(frozen=True)
class WarpEngine:
    """A picklable description, as `synthesis.repaint.Engine` asks for; it has no options."""

    name: str = "warp"

    def describe(self) -> dict[str, Any]:
        """What the manifest says of the engine."""
        return {"engine": self.name}

    def open(self, device: str | None) -> Repainter:
        """There is nothing to load."""
        del device
        return WarpRepainter()


class WarpRepainter:
    """Hands back the images of its jobs."""

    working_size: WorkingSize | None = None
    batch_size: int = 1

    def repaint(self, jobs: Sequence[RepaintJob]) -> list[Repainted]:
        """The jobs' own images, in order."""
        return [Repainted(job.image, {"engine": "warp"}) for job in jobs]

    def close(self) -> None:
        """There is nothing to give back."""
