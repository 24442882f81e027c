"""Records of COCO instance and caption files: the fields that ovforge reads.

The format is that of https://cocodataset.org/#format-data. What COCO and LVIS have in common is defined once, in
`records.lvis`.
"""

from __future__ import annotations

import msgspec

from ovforge.records.lvis import Annotation, AnnotationKey, BoxedAnnotation, Image

__all__ = ["Annotation", "AnnotationKey", "BoxedAnnotation", "Caption", "Category", "Image"]


class Category(msgspec.Struct, frozen=True):
    """One class."""

    id: int
    name: str
    supercategory: str = ""


class Caption(msgspec.Struct, frozen=True):
    """One sentence about an image."""

    id: int
    image_id: int
    caption: str
