"""Options of `ovforge tools`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovforge.options.base import Options, option


@dataclass(frozen=True)
class ToolsOptions(Options):
    """Where the scripts with the originals' command lines are written."""

    folder: Path = option(
        Path(), "The root of your data; the scripts go to DIR/tools.", argument=True, metavar="DIR", shown="here"
    )
    overwrite: bool = option(False, "Replace scripts that are there.")
