"""Options of the sample data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SampleDataOptions:
    """Where the sample data set is written.

    Attributes:
        folder: the root of the data set; gets `datasets/`, `data/` and `SOURCES.md`.
        overwrite: replace a sample data set that is there, with everything in its folder.
    """

    folder: Path
    overwrite: bool = False
