"""Masks of objects: from polygons or RLE to label maps that are warped all at once.

A label map is one uint8 image that holds many masks: 0 is outside the image, 1 is inside and no object,
2 to 255 are objects. Objects that overlap go to different maps, so each keeps its whole mask. Warping a map warps
all its masks, and what is still 0 afterwards tells which pixels the warp did not reach.

Which masks segmentations are is `annotation_io.segmentation`'s to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ovforge.annotation_io.segmentation import Rle, UnusableMaskError, degenerate_polygons, rasterise

__all__ = [
    "LabelMaps",
    "Rle",
    "UnusableMaskError",
    "UsableObject",
    "as_json_rle",
    "box_and_area",
    "degenerate_polygons",
    "rasterise",
    "stack",
    "usable_objects",
]

OUTSIDE, BACKGROUND, FIRST_LABEL, LAST_LABEL = 0, 1, 2, 255


@dataclass(frozen=True)
class LabelMaps:
    """The masks of one image's objects.

    Attributes:
        maps: uint8 (height, width) each, see the module; at least one.
        places: for every object its map and its label in it.
    """

    maps: tuple[NDArray[np.uint8], ...]
    places: tuple[tuple[int, int], ...]

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Mask of object `index`, uint8 (height, width), 255 where it is."""
        number, label = self.places[index]
        return np.asarray(cv2.compare(self.maps[number], float(label), cv2.CMP_EQ), np.uint8)

    def union(self) -> NDArray[np.uint8]:
        """Where any object is, uint8 (height, width), 255 or 0."""
        return _any_above(self.maps, BACKGROUND)

    def inside(self) -> NDArray[np.uint8]:
        """Where the image is, uint8 (height, width), 255 or 0. Every map knows it; the first is asked."""
        return _any_above(self.maps[:1], OUTSIDE)


def _any_above(maps: Sequence[NDArray[np.uint8]], label: int) -> NDArray[np.uint8]:
    found: Any = cv2.compare(maps[0], float(label), cv2.CMP_GT)
    for more in maps[1:]:
        found |= cv2.compare(more, float(label), cv2.CMP_GT)
    return np.asarray(found, np.uint8)


def stack(rles: Sequence[Rle], width: int, height: int) -> LabelMaps:
    """Put masks into as few label maps as their overlaps allow, in order: each goes to the first map that is free."""
    maps: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    places: list[tuple[int, int]] = []
    for rle in rles:
        # Run lengths go down the columns: on transposed maps an object's box is a compact piece of memory.
        x, y, box_width, box_height = (int(v) for v in coco_mask.toBbox(rle))
        here = np.s_[x : x + box_width, y : y + box_height]
        shape: NDArray[np.bool_] = coco_mask.decode(rle).T[here].view(np.bool_)
        for number, map_ in enumerate(maps):
            if labels[number] < LAST_LABEL and not np.any(shape & (map_[here] != BACKGROUND)):
                break
        else:
            number = len(maps)
            maps.append(np.full((width, height), BACKGROUND, np.uint8))
            labels.append(FIRST_LABEL - 1)
        labels[number] += 1
        np.copyto(maps[number][here], labels[number], where=shape)
        places.append((number, labels[number]))
    if not maps:
        maps.append(np.full((width, height), BACKGROUND, np.uint8))
    return LabelMaps(tuple(np.asarray(cv2.transpose(m), np.uint8) for m in maps), tuple(places))


def box_and_area(mask: NDArray[np.uint8]) -> tuple[list[int], int]:
    """[x, y, width, height] of the pixels that are not 0, and their number; [0, 0, 0, 0] and 0 for an empty mask."""
    area = cv2.countNonZero(mask)
    return ([int(v) for v in cv2.boundingRect(mask)] if area else [0, 0, 0, 0]), area


def as_json_rle(mask: NDArray[np.uint8] | NDArray[np.bool_]) -> dict[str, Any]:
    """Compressed RLE of a mask (height, width), with `counts` as text, fit for JSON."""
    rle = coco_mask.encode(np.asfortranarray(mask != 0).view(np.uint8))
    return {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")}


@dataclass(frozen=True)
class UsableObject:
    """An annotation whose object is kept in the second view, and its mask in the image."""

    annotation: dict[str, Any]
    rle: Rle


def usable_objects(
    records: Sequence[bytes | memoryview], width: int, height: int, min_area: float
) -> tuple[list[UsableObject], list[tuple[str, str]]]:
    """The objects of an image that are large enough to be followed: area above `min_area`, no crowd.

    Args:
        records: the image's annotations as raw JSON, in file order.
        width, height: the image's size in pixels.
        min_area: square pixels; the annotation's own `area` has to be above it.

    Returns:
        The objects in their order, and for every annotation skipped (reason, name).
    """
    objects: list[UsableObject] = []
    dropped: list[tuple[str, str]] = []
    for record in records:
        annotation = msgspec.json.decode(record)
        name = f"annotation {annotation.get('id')}"
        if annotation.get("iscrowd"):
            dropped.append(("a crowd region", name))
            continue
        area = annotation.get("area")
        if isinstance(area, int | float) and not area > min_area:
            dropped.append((f"area not above {min_area:g} square pixels", name))
            continue
        segmentation = annotation.get("segmentation")
        try:
            rle = rasterise(segmentation, width, height)
        except UnusableMaskError as error:
            dropped.append((str(error), name))
            continue
        if not isinstance(area, int | float) and not coco_mask.area(rle) > min_area:
            dropped.append((f"area not above {min_area:g} square pixels", name))
            continue
        if degenerate_polygons(segmentation):
            dropped.append(("part of a mask: polygon of fewer than three points", name))
        objects.append(UsableObject(annotation, rle))
    return objects, dropped
