"""Options of the whole procedures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovforge.options import layout


@dataclass(frozen=True)
class WorkflowOptions:
    """Options of `doctor` and `prepare`: the steps' own, where a whole procedure leaves a choice."""

    root: Path = Path()
    """The folder with `datasets/` and `data/`."""
    k: int = layout.DEFAULT_K
    """Exemplars a class."""
    seed: int = 42
    """Seed of the exemplars' draws."""
    workers: int | None = None
    """Processes of the steps that run on all cores; None is one per core."""
