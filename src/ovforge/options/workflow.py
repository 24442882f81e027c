"""Options of the whole procedures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.options import layout
from ovforge.options.base import Options, check_plain_name, option

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
class WorkflowOptions(Options):
    """Options of `doctor` and `prepare`: the steps' own, where a whole procedure leaves a choice."""

    root: Path = option(Path(), "The folder with datasets/ and data/.")
    reader: Reader | None = option(
        None, "Whose training reads the files.", "--for", shown="what the originals' documents name"
    )
    k: int = option(layout.DEFAULT_K, "Exemplars a class.", "-k", "-K", at_least=1)
    seed: int = option(42, "Seed of the exemplars' draws.")
    name: str | None = option(None, "The run of pairs.", shown="as in the reader's configuration, or my_pairs")
    engine: PairsEngine = option(PairsEngine.FILL, "Who makes the background of the pairs.")
    workers: int | None = option(None, "Processes.", shown="one per core", at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name is not None:
            check_plain_name(self.name, hint="give a plain name without folders")
