"""Options of the sample data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovforge.options.base import Options, option


@dataclass(frozen=True)
class SampleDataOptions(Options):
    """Where the sample data set is written: its root, which gets `datasets/`, `data/` and `SOURCES.md`."""

    folder: Path = option(help="The folder to write; it is made where it is missing.", argument=True, metavar="DIR")
    overwrite: bool = option(False, "Replace a sample data set in DIR, with everything in it.")
