"""What every format is given: the videos, their images, and the folder to fill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovforge.exports.videos import Frame, Video, VideoFile
from ovforge.image_io.codec import decode_rgb, encode_jpeg
from ovforge.image_io.store import ImageStore
from ovforge.options.exports import ExportOptions
from ovforge.records.reporting import Drops, Progress

IGNORE_REGION = "is not written: the format has no regions to be ignored"
CONVERTED = "was converted to JPEG: the format has one suffix per video"


@dataclass(frozen=True)
class ExportRun:
    """One export at work."""

    options: ExportOptions
    folder: Path
    """A temporary folder that is published when all is in it."""
    file: VideoFile
    numbers: NDArray[np.int64]
    """Which of the file's videos."""
    store: ImageStore | None
    """None: no images are written."""
    drops: Drops
    progress: Progress

    @property
    def name(self) -> str:
        """The run's name."""
        return self.options.name

    @property
    def categories(self) -> list[dict[str, Any]]:
        """All classes, as they stand in the JSON."""
        return self.file.categories

    def videos(self) -> Iterator[Video]:
        """All videos, one after the other."""
        total = len(self.numbers)
        for video in self.file.videos(self.numbers):
            self.progress("export", video.number, total)
            yield video
        self.progress("export", total, total)

    def folder_for(self, *parts: str) -> Path:
        """A folder in the new one, made if it is not there."""
        folder = self.folder.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def copy_image(self, frame: Frame, target: Path) -> None:
        """Write a frame's image as it is stored.

        Raises:
            ImageError: the store has no such image.
        """
        if self.store is not None:
            target.write_bytes(self.store.read(frame.file_name))

    def copy_as_jpeg(self, frame: Frame, target: Path) -> None:
        """Write a frame's image; one that is no JPEG is converted, and counted."""
        if self.store is None:
            return
        data = self.store.read(frame.file_name)
        if data[:2] != b"\xff\xd8":
            self.drops.warn("image", CONVERTED, frame.file_name)
            data = encode_jpeg(decode_rgb(data, frame.file_name))
        target.write_bytes(data)


def image_suffix(frame: Frame) -> str:
    """`.jpg`, or what the image's name ends with."""
    dot = frame.file_name.rfind(".")
    return frame.file_name[dot:].lower() if dot > 0 else ".jpg"
