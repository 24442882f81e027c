"""Options of `pairs replay`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovforge.options.pairs import DEFAULT_SAVE_DIR


@dataclass(frozen=True)
class ReplayOptions:
    """Options of `replay_pair`.

    Attributes:
        name: the run's name.
        image: an image id or a file name.
        save_dir: the folder that holds the run's folder.
        out: folder that the pair is written to; None: `save_dir`/`name`/replay.
        model, annotations, captions, images: where these are now, if not where the run last saw them.
        device: another device than the run's.
        anyway: go on although an input, the model or a library is not the run's own.
        overwrite: replace what an earlier replay wrote.
    """

    name: str
    image: str
    save_dir: Path = DEFAULT_SAVE_DIR
    out: Path | None = None
    model: Path | None = None
    device: str | None = None
    anyway: bool = False
    overwrite: bool = False
    annotations: Path | None = None
    captions: Path | None = None
    images: Path | None = None
