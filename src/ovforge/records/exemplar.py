"""An exemplar: one image, or one box in an image, that shows what a class looks like.

The format is the one of MM-OVOD's exemplar dictionary: a JSON object from synset to a list of records. A record is the
annotation of its data set with `dataset`, `file_name`, `category_id` and `synset` added. `category_id` is the class's;
`synset` is the one by which the image was found, which for a substitute is not the class's own.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

LVIS: Final = "lvis"
IMAGENET: Final = "imagenet21k"
VISUAL_GENOME: Final = "visual_genome"
DATASETS: Final = (LVIS, IMAGENET, VISUAL_GENOME)
"""The values of `dataset`, in the order in which a class's exemplars are listed."""

WHOLE_IMAGE_AREA: Final = 100.0 * 100.0
"""What a whole ImageNet image counts as when exemplars are drawn by area (Kaul et al. 2023)."""

Box = tuple[float, float, float, float]


class Exemplar(msgspec.Struct, frozen=True):
    """The fields of a record that steps decide by; the record's other fields stay in its raw bytes."""

    dataset: str
    file_name: str
    category_id: int | None = None
    synset: str = ""
    bbox: tuple[float, float, float, float] | None = None
    """LVIS: x, y, width, height in pixels."""
    x: int | float | None = None
    y: int | float | None = None
    w: int | float | None = None
    h: int | float | None = None
    id: int | str | None = None
    """LVIS: the annotation."""
    object_id: int | str | None = None
    """Visual Genome: the object."""

    @property
    def box(self) -> Box | None:
        """x, y, width, height in pixels as the data set gives them; None for a whole image."""
        if self.dataset == LVIS:
            return self.bbox
        if self.dataset == VISUAL_GENOME and None not in (self.x, self.y, self.w, self.h):
            return (self.x, self.y, self.w, self.h)  # type: ignore[return-value]  # None is ruled out above
        return None

    @property
    def area(self) -> float:
        """What the exemplar weighs in a draw: the area of its box in square pixels."""
        if self.dataset == IMAGENET:
            return WHOLE_IMAGE_AREA
        box = self.box
        return math.nan if box is None else float(box[2] * box[3])

    @property
    def identity(self) -> str:
        """Names the exemplar wherever it stands in a file: data set, image and box."""
        number = self.id if self.dataset == LVIS else self.object_id
        return f"{self.dataset}:{self.file_name}:{'' if number is None else number}"

    @property
    def image_name(self) -> str:
        """The bare file name."""
        return self.file_name.rsplit("/", 1)[-1]

    def problem(self) -> str:
        """Why this is not an exemplar, or an empty string."""
        if self.dataset not in DATASETS:
            return f"dataset is {self.dataset!r}, not one of {', '.join(DATASETS)}"
        if not self.file_name or self.file_name.startswith("/") or ".." in self.file_name.split("/"):
            return f"file_name {self.file_name!r} is not a path inside the data set's folder"
        if self.dataset == LVIS and self.bbox is None:
            return "an LVIS record without bbox"
        if self.dataset == VISUAL_GENOME and self.box is None:
            return "a Visual Genome record without x, y, w and h"
        return ""
