"""Which annotated objects a second view keeps, which it labels, and which must not be seen in it.

The rule: no annotated object that can be seen goes without a label. Where an engine leaves the moved image as it is,
every object is moved and labelled. Where it repaints, an object that is not kept is removed before, or, if it lies on
a kept object, becomes an ignore region (`iscrowd` 1). Crowd regions are ignore regions always, and so is the box of an
object whose mask cannot be made. OVTrack's own rule keeps large objects and says nothing of the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ovforge.annotation_io.record_edit import decode_record
from ovforge.options.labels import Labels
from ovforge.synthesis.masks import TOO_SMALL, Rle, UnusableMaskError, degenerate_polygons, rasterise, usable_objects

SHOWN_ON_KEPT = 0.1
"""An object that is not kept is seen on kept ones if they cover more than this share of it."""


@dataclass(frozen=True)
class LabelledObject:
    """An annotation that the second view carries, and where it is in the image."""

    annotation: dict[str, Any]
    rle: Rle
    is_region: bool = False
    """An ignore region: it is moved, but nobody says which objects are in it."""


@dataclass(frozen=True)
class Labelling:
    """What becomes of an image's annotations.

    Attributes:
        objects: those that second views carry, in file order.
        removed: masks that must not be seen where the moved image is: they are completed before the engine repaints.
        annotated: masks of all annotated objects: nothing of them may be seen where the moved image is not.
        skipped: (reason, name) of every annotation that second views do not carry.
        warnings: (reason, name) of those that they carry otherwise than as an object with its whole mask.
    """

    objects: tuple[LabelledObject, ...]
    removed: tuple[Rle, ...]
    annotated: tuple[Rle, ...]
    skipped: tuple[tuple[str, str], ...]
    warnings: tuple[tuple[str, str], ...] = ()

    @property
    def kept(self) -> tuple[int, ...]:
        """Positions in `objects` of those that are not ignore regions."""
        return tuple(index for index, one in enumerate(self.objects) if not one.is_region)


@dataclass(frozen=True)
class _Annotated:
    """One annotation, decoded."""

    annotation: dict[str, Any]
    name: str
    rle: Rle | None
    """Its mask, else its box filled; None: it is not known where it is."""
    is_region: bool
    problem: str = ""
    """Why it has no mask."""

    def is_above(self, min_area: float) -> bool:
        area = self.annotation.get("area")
        return bool((area if isinstance(area, int | float) else coco_mask.area(self.rle)) > min_area)


def label_objects(
    records: Sequence[bytes | memoryview], width: int, height: int, labels: Labels, min_area: float
) -> Labelling:
    """Decide what becomes of an image's annotations.

    Args:
        records: the image's annotations as raw JSON, in file order.
        width, height: the image's size in pixels.
        labels: the rule.
        min_area: square pixels; the area that a kept object has to be above. Without meaning for `Labels.ALL`.
    """
    if labels is Labels.OVTRACK:
        usable, skipped = usable_objects(records, width, height, min_area)
        kept = tuple(LabelledObject(one.annotation, one.rle) for one in usable)
        return Labelling(kept, (), (), tuple(skipped))
    skipped = list[tuple[str, str]]()
    warnings = list[tuple[str, str]]()
    found = [_decoded(record, width, height, skipped, warnings) for record in records]
    located = [(one, one.rle) for one in found if one.rle is not None]
    small = set[int]()
    if labels is Labels.KEPT:
        small = {i for i, (one, _) in enumerate(located) if not one.is_region and not one.is_above(min_area)}
    large = [rle for i, (one, rle) in enumerate(located) if not one.is_region and i not in small]
    together = coco_mask.merge(large) if large else None
    objects: list[LabelledObject] = []
    removed: list[Rle] = []
    for index, (one, rle) in enumerate(located):
        if index not in small:
            objects.append(LabelledObject(one.annotation, rle, one.is_region))
            continue
        reason = f"{TOO_SMALL} {min_area:g} square pixels"
        if together is not None and _share_on(rle, together) > SHOWN_ON_KEPT:
            warnings.append((f"{reason}, on a kept object: an ignore region", one.name))
            objects.append(LabelledObject(one.annotation, rle, is_region=True))
        else:
            skipped.append((f"{reason}: removed", one.name))
            removed.append(rle)
    return Labelling(tuple(objects), tuple(removed), tuple(rle for _, rle in located), tuple(skipped), tuple(warnings))


def _decoded(
    record: bytes | memoryview, width: int, height: int, skipped: list[tuple[str, str]], warnings: list[tuple[str, str]]
) -> _Annotated:
    annotation = decode_record(record)
    name = f"annotation {annotation.get('id')}"
    is_crowd = bool(annotation.get("iscrowd"))
    segmentation = annotation.get("segmentation")
    try:
        rle = rasterise(segmentation, width, height)
    except UnusableMaskError as error:
        box = _box(annotation.get("bbox"), width, height)
        if box is None:
            skipped.append((str(error), name))
        else:
            warnings.append((f"{error}: its box is an ignore region", name))
        return _Annotated(annotation, name, box, True, str(error))
    if degenerate_polygons(segmentation):
        warnings.append(("part of a mask: polygon of fewer than three points", name))
    return _Annotated(annotation, name, rle, is_crowd)


def _box(box: Any, width: int, height: int) -> Rle | None:
    """A filled box [x, y, width, height] as a mask; None if it is none or not in the image."""
    if not isinstance(box, Sequence) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
        return None
    if not all(math.isfinite(v) for v in box):
        return None
    left, top = max(math.floor(box[0]), 0), max(math.floor(box[1]), 0)
    right, bottom = min(math.ceil(box[0] + box[2]), width), min(math.ceil(box[1] + box[3]), height)
    if right <= left or bottom <= top:
        return None
    mask = np.zeros((height, width), np.uint8, order="F")
    mask[top:bottom, left:right] = 1
    rle: Rle = coco_mask.encode(mask)
    return rle


def _share_on(rle: Rle, other: Rle) -> float:
    """The share of a mask that another one covers."""
    return float(coco_mask.area(coco_mask.merge([rle, other], intersect=True)) / coco_mask.area(rle))
