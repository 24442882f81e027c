"""Options of `lvis pack-images`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovforge.options import layout
from ovforge.options.base import Options, option

DEFAULT_FOLDER = layout.TRACKING_IMAGES
DEFAULT_OUT = layout.TRACKING_PACKED
DEFAULT_ANNOTATIONS = layout.TRACKING_BASE


@dataclass(frozen=True)
class PackAll(Options):
    """Whether the command packs a whole folder; in Python, `annotations=None` does."""

    all: bool = option(False, "Pack the whole folder, whatever the annotations say.")


@dataclass(frozen=True)
class PackOptions(Options):
    """Options of `lvis pack-images`."""

    images: Path = option(DEFAULT_FOLDER, "Folder or HDF5 file of the images.")
    out: Path = option(DEFAULT_OUT, "The HDF5 file to write.")
    annotations: Path | None = option(
        None,
        "Pack only this file's images, and write a copy of it in which each has a file_name.",
        "--ann",
        shown=f"{DEFAULT_ANNOTATIONS} if it is there",
    )
    annotations_out: Path | None = option(
        None, "The annotation file with file names to write.", "--ann-out", shown="*_named.json beside --ann"
    )
    overwrite: bool = option(False, "Replace outputs that are there.")

    @property
    def named(self) -> Path | None:
        """Where the annotation file with file names goes."""
        if self.annotations is None or self.annotations_out is not None:
            return self.annotations_out
        return self.annotations.with_name(f"{self.annotations.stem}_named{self.annotations.suffix}")
