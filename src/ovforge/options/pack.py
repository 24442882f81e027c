"""Options of `lvis pack-images`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovforge.options import layout

DEFAULT_FOLDER = layout.TRACKING_IMAGES
DEFAULT_OUT = layout.TRACKING_PACKED
DEFAULT_ANNOTATIONS = layout.TRACKING_BASE


@dataclass(frozen=True)
class PackOptions:
    """Options of `lvis pack-images`.

    Attributes:
        images: folder of images (or an HDF5 file of them).
        out: the HDF5 file to write.
        annotations: pack only this file's images; None: all that are in the folder.
        annotations_out: the annotation file with `file_name` filled in; None: beside it, `*_named.json`.
        overwrite: replace outputs that are there.
    """

    images: Path = DEFAULT_FOLDER
    out: Path = DEFAULT_OUT
    annotations: Path | None = None
    annotations_out: Path | None = None
    overwrite: bool = False

    @property
    def named(self) -> Path | None:
        """Where the annotation file with file names goes."""
        if self.annotations is None or self.annotations_out is not None:
            return self.annotations_out
        return self.annotations.with_name(f"{self.annotations.stem}_named{self.annotations.suffix}")
