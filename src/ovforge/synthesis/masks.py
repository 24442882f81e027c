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
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ovforge.annotation_io.record_edit import decode_record
from ovforge.annotation_io.segmentation import Rle, UnusableMaskError, degenerate_polygons, rasterise

__all__ = [
    "TOO_SMALL",
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

TOO_SMALL = "area not above"
"""Begins the reason why a small object is not kept; how many square pixels comes after it."""


@dataclass(frozen=True)
class LabelMaps:
    """The masks of one image's objects.

    Attributes:
        maps: uint8 (height, width) each, see the module; at least one.
        places: for every object its map and its label in it.
        boxes: for every object (x, y, width, height) of its mask, where they were asked for.
    """

    maps: tuple[NDArray[np.uint8], ...]
    places: tuple[tuple[int, int], ...]
    boxes: tuple[tuple[int, int, int, int], ...] = ()

    def mask(self, index: int, window: tuple[slice, slice] | None = None) -> NDArray[np.uint8]:
        """Mask of object `index`, uint8, 255 where it is: (height, width), or the `window` (rows, columns) of it."""
        number, label = self.places[index]
        map_ = self.maps[number] if window is None else self.maps[number][window]
        if map_.size <= 4:  # OpenCV would take so small an array for a scalar itself
            return np.asarray((map_ == label) * 255, np.uint8)
        return np.asarray(cv2.compare(map_, float(label), cv2.CMP_EQ), np.uint8)

    def union(self, which: Sequence[int] | None = None) -> NDArray[np.uint8]:
        """Where any object is, or any of the objects `which`; uint8 (height, width), 255 or 0."""
        if which is None or len(which) == len(self.places):
            return _any_above(self.maps, BACKGROUND)
        wanted = np.zeros((len(self.maps), 256), np.uint8)
        for index in which:
            wanted[self.places[index]] = 255
        found = np.asarray(cv2.LUT(self.maps[0], wanted[0]), np.uint8)
        for map_, levels in zip(self.maps[1:], wanted[1:], strict=True):
            found |= np.asarray(cv2.LUT(map_, levels), np.uint8)
        return found

    def inside(self) -> NDArray[np.uint8]:
        """Where the image is, uint8 (height, width), 255 or 0. Every map knows it; the first is asked."""
        return _any_above(self.maps[:1], OUTSIDE)


def _any_above(maps: Sequence[NDArray[np.uint8]], label: int) -> NDArray[np.uint8]:
    if maps[0].size <= 4:
        return np.asarray((np.max(maps, axis=0) > label) * 255, np.uint8)
    found: Any = cv2.compare(maps[0], float(label), cv2.CMP_GT)
    for more in maps[1:]:
        found |= cv2.compare(more, float(label), cv2.CMP_GT)
    return np.asarray(found, np.uint8)


def stack(rles: Sequence[Rle], width: int, height: int) -> LabelMaps:
    """Put masks into as few label maps as their overlaps allow, in order: each goes to the first map that is free."""
    maps: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    places: list[tuple[int, int]] = []
    boxes: list[tuple[int, int, int, int]] = []
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
        boxes.append((x, y, box_width, box_height))
    if not maps:
        maps.append(np.full((width, height), BACKGROUND, np.uint8))
    return LabelMaps(tuple(np.asarray(cv2.transpose(m), np.uint8) for m in maps), tuple(places), tuple(boxes))


def box_and_area(mask: NDArray[np.uint8]) -> tuple[list[int], int]:
    """[x, y, width, height] of the pixels that are not 0, and their number; [0, 0, 0, 0] and 0 for an empty mask."""
    area = cv2.countNonZero(mask)
    return ([int(v) for v in cv2.boundingRect(mask)] if area else [0, 0, 0, 0]), area


def as_json_rle(mask: NDArray[np.uint8] | NDArray[np.bool_]) -> dict[str, Any]:
    """Compressed RLE of a mask (height, width), with `counts` as text, fit for JSON."""
    rle = coco_mask.encode(np.asfortranarray(mask != 0).view(np.uint8))
    return {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")}


def window_as_json_rle(mask: NDArray[np.uint8], left: int, top: int, width: int, height: int) -> dict[str, Any]:
    """What `as_json_rle` says of a mask of `width` x `height` pixels that is empty but for this part of it.

    Only the part is looked at, so small objects cost little.
    """
    columns = np.ascontiguousarray(mask.T != 0)
    padded = np.zeros((columns.shape[0], columns.shape[1] + 2), np.int8)
    padded[:, 1:-1] = columns
    steps = np.diff(padded, axis=1)
    # RLE runs down the columns; a position is a pixel's number in that order.
    column, row = np.nonzero(steps > 0)
    starts = (column + left) * height + row + top
    column, row = np.nonzero(steps < 0)
    ends = (column + left) * height + row + top
    if len(starts) > 1:  # a run that reaches the bottom may go on at the top of the next column
        goes_on = starts[1:] == ends[:-1]
        starts, ends = starts[np.append(True, ~goes_on)], ends[np.append(~goes_on, True)]
    edges = np.concatenate([[0], np.column_stack([starts, ends]).ravel(), [width * height]])
    counts = np.diff(edges)
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


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
        annotation = decode_record(record)
        name = f"annotation {annotation.get('id')}"
        if annotation.get("iscrowd"):
            dropped.append(("a crowd region", name))
            continue
        area = annotation.get("area")
        if isinstance(area, int | float) and not area > min_area:
            dropped.append((f"{TOO_SMALL} {min_area:g} square pixels", name))
            continue
        segmentation = annotation.get("segmentation")
        try:
            rle = rasterise(segmentation, width, height)
        except UnusableMaskError as error:
            dropped.append((str(error), name))
            continue
        if not isinstance(area, int | float) and not coco_mask.area(rle) > min_area:
            dropped.append((f"{TOO_SMALL} {min_area:g} square pixels", name))
            continue
        if degenerate_polygons(segmentation):
            dropped.append(("part of a mask: polygon of fewer than three points", name))
        objects.append(UsableObject(annotation, rle))
    return objects, dropped
