"""Options of `pairs score`, and the rules by which scored objects are rejected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options.base import Options, option
from ovforge.options.tracks import PAIRS_FOLDER
from ovforge.options.vision import PANEL, Dtype, VisionOptions

RULE_SCORES = (
    "fidelity", "visibility", "sharpness", "boundary", "colour", "repeated", "same", "margin", "found",
)  # fmt: skip
"""The scores that a rule may name."""


_FOLDER = "a folder of transformers with safetensors; nothing is downloaded"


class RejectAs(str, Enum):
    """What becomes of a rejected object."""

    SKIP = "skip"
    """It is not in the file; what is seen of it is unlabelled."""
    IGNORE = "ignore"
    """It stays, with `iscrowd` 1: detectors neither learn it nor are punished for finding it."""


@dataclass(frozen=True)
class Rule:
    """An object whose `score` is below (or above) `limit` is rejected; one that was not measured is not."""

    score: str
    below: bool
    limit: float

    @property
    def reason(self) -> str:
        """What a summary says of the rejected."""
        return f"{self.score} {'below' if self.below else 'above'} {self.limit:g}"


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Read `same<0.6,boundary<0.3,repeated>0.9`.

    Raises:
        InputError: no rule of this form; names it.
    """
    rules = []
    for part in text.split(","):
        below = "<" in part
        name, _, number = part.partition("<" if below else ">")
        try:
            limit = float(number)
        except ValueError:
            limit = float("nan")
        if name.strip() not in RULE_SCORES or math.isnan(limit):
            raise InputError(
                f"--reject={part.strip() or text}: not of the form SCORE<NUMBER or SCORE>NUMBER",
                hint=f"scores are {', '.join(RULE_SCORES)}; several rules stand behind commas: same<0.6,boundary<0.3",
            )
        rules.append(Rule(name.strip(), below, limit))
    return tuple(rules)


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
