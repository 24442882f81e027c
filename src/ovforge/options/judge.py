"""Options of `pairs score`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovforge.options.base import Options, option
from ovforge.options.tracks import PAIRS_FOLDER
from ovforge.options.vision import PANEL, Dtype, VisionOptions

_FOLDER = "a folder of transformers with safetensors; nothing is downloaded"


@dataclass(frozen=True)
class ScoreOptions(Options):
    """Which run is scored, and by which models."""

    name: str = option(help="The run's name; it has to be merged.", argument=True)
    folder: Path = option(PAIRS_FOLDER, "Where runs and merged files are.")
    annotations: Path | None = option(
        None, "The annotation file that the pairs were made from.", shown="as the run's manifest says"
    )
    vision: Path | None = option(
        None, f"CLIP, SigLIP or DINO, for the scores same and margin: {_FOLDER}.", panel=PANEL, metavar="FOLDER"
    )
    detector: Path | None = option(
        None, f"OWLv2 or Grounding DINO, for found and extra: {_FOLDER}.", panel=PANEL, metavar="FOLDER"
    )
    threads: int = option(2, "Threads per worker that read and measure beside the models.", at_least=1)
    device: str = option("auto", "cpu, cuda, cuda:1; auto: a GPU if there is one.", panel=PANEL)
    dtype: Dtype = option(Dtype.FLOAT32, "Numbers that the models compute in.", panel=PANEL)
    batch: int = option(64, "Images at once.", at_least=1, panel=PANEL)
    overwrite: bool = option(False, "Replace scores that are there.")

    @property
    def vision_model(self) -> VisionOptions | None:
        """The model that gives `same` and `margin`; None: these are not measured."""
        return None if self.vision is None else VisionOptions(self.vision, self.device, self.dtype, self.batch)

    @property
    def detector_model(self) -> VisionOptions | None:
        """The model that gives `found` and `extra`; None: these are not measured."""
        return None if self.detector is None else VisionOptions(self.detector, self.device, self.dtype, self.batch)
