"""Options of `pairs replay`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovforge.options import layout
from ovforge.options.base import Options, option


@dataclass(frozen=True)
class ReplayOptions(Options):
    """Options of `replay_pair`."""

    name: str = option(help="The run's name.", argument=True)
    image: str = option(help="An image id, or the file name of an image or of a view of it.", argument=True)
    folder: Path = option(layout.PAIRS_DIR, "The folder that holds the run's folder.")
    out: Path | None = option(None, "The folder to write.", shown="replay in the run's folder")
    model: Path | None = option(None, "Where the model is now, if it has moved.")
    device: str | None = option(None, "Another device than the run's.")
    anyway: bool = option(False, "Go on although an input, the model or a library has changed.")
    overwrite: bool = option(False, "Replace what an earlier replay wrote.")
    annotations: Path | None = option(
        None, "Where the annotation file is now, if it has moved.", "--annotations", "--ann"
    )
    captions: Path | None = option(None, "Where the captions are now, if they have moved.")
    images: Path | None = option(None, "Where the images are now, if they have moved.")
