"""Options of the whole procedures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.errors import InputError

DEFAULT_RUN = "my_pairs"


class Reader(str, Enum):
    """The training code that reads the files: each looks in places of its own."""

    MM_OVOD = "mmovod"
    """MM-OVOD (Kaul et al. 2023)."""
    OVMR = "ovmr"
    """OVMR (Ma et al. 2025), detection and classification."""
    DETIC = "detic"
    """Detic (Zhou et al. 2022)."""
    OVTRACK = "ovtrack"
    """OVTrack (Li et al. 2023)."""
    OVTR = "ovtr"
    """OVTR (Li et al. 2025)."""
    MASA = "masa"
    """MASA (Li et al. 2024), and other trackers on MMDetection 3."""


class PairsEngine(str, Enum):
    """Who makes the background of the pairs that `prepare` makes."""

    FILL = "fill"
    """Completed by a classical method: no model, minutes."""
    DIFFUSION = "diffusion"
    """Repainted by Stable Diffusion: a model and a GPU, days."""


@dataclass(frozen=True)
class WorkflowOptions:
    """Options of `doctor` and `prepare`: the steps' own, where a whole procedure leaves a choice."""

    root: Path = Path()
    """The folder with `datasets/` and `data/`."""
    reader: Reader | None = None
    """Whose files are wanted; None: those that the originals' documents name."""
    k: int = 5
    """Exemplars a class."""
    seed: int = 42
    """Seed of the exemplars' draws."""
    name: str | None = None
    """The run of pairs; None: the name that the reader's configuration has, or DEFAULT_RUN."""
    engine: PairsEngine = PairsEngine.FILL
    workers: int | None = None
    """Processes of the steps that run on all cores; None is one per core."""

    def __post_init__(self) -> None:
        if self.name is not None and (not self.name or Path(self.name).name != self.name):
            raise InputError(f"'{self.name}' is no name for a run", hint="give a plain name without folders")
