"""Records of LVIS v1 files: the fields that ovforge reads; all others pass through as they are.

The format is that of https://www.lvisdataset.org/dataset. Boxes are (x, y, width, height) in pixels, areas in square
pixels. A field with a default may be missing from a record.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Category(msgspec.Struct, frozen=True):
    """One class."""

    id: int
    name: str
    synset: str = ""
    """The WordNet 3.0 name, as `zebra.n.01`."""
    frequency: str = ""
    """`r` rare (1 to 10 training images), `c` common (11 to 100), `f` frequent; empty where the file has none."""
    image_count: int = 0
    instance_count: int = 0


class Image(msgspec.Struct, frozen=True):
    """One image."""

    id: int
    width: int
    height: int
    file_name: str = ""
    coco_url: str = ""
    neg_category_ids: list[int] = []
    """Classes that somebody looked for and that are not in the image."""
    not_exhaustive_category_ids: list[int] = []
    """Classes of which not every object is annotated."""

    @property
    def name(self) -> str:
        """The bare file name; LVIS v1 has no `file_name`, there it is the last part of `coco_url`."""
        return (self.file_name or self.coco_url).rpartition("/")[2]


class AnnotationKey(msgspec.Struct, frozen=True, gc=False):
    """What an annotation belongs to: enough for most steps, and quick to read."""

    id: int
    image_id: int
    category_id: int


class BoxedAnnotation(msgspec.Struct, frozen=True, gc=False):
    """An annotation without its mask."""

    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]


class Annotation(msgspec.Struct, frozen=True):
    """One object."""

    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    segmentation: list[Any] | dict[str, Any] = []
    """Polygons (lists of x, y, x, y, ...), or an RLE (`size`, `counts`)."""
    iscrowd: int = 0
