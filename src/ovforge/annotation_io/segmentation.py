"""The masks of segmentations: polygons or RLE, checked first.

Rasterising is pycocotools', so masks equal the field's to the pixel. What it would crash on, or fill memory for,
is refused here first: it checks neither RLE nor coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pycocotools import mask as coco_mask

COORDINATE_REACH = 4.0
"""Polygon points further outside than this many image widths or heights are not those of an object in it."""
_LONGEST = 100_000
"""Pixels. A mask of a longer image would take gigabytes."""
_FORM = "a polygon is a list of numbers x1, y1, x2, y2, x3, y3, ..., and a segmentation a list of polygons"

Rle = dict[str, Any]
"""A compressed COCO run-length mask: {"size": [height, width], "counts": bytes}."""


class UnusableMaskError(ValueError):
    """A segmentation from which no mask can be made; the message is the reason, without names."""


def rasterise(segmentation: Any, width: int, height: int) -> Rle:
    """The mask of a COCO segmentation: a list of polygons, or RLE as a list or as a string.

    Raises:
        UnusableMaskError: with the reason.
    """
    rle = checked_rle(segmentation, width, height)
    if not coco_mask.area(rle):
        raise UnusableMaskError("mask without a pixel inside the image")
    return rle


def checked_rle(segmentation: Any, width: int, height: int) -> Rle:
    """The mask of a COCO segmentation, which may have no pixel.

    Raises:
        UnusableMaskError: with the reason.
    """
    if isinstance(segmentation, Mapping):
        return _from_rle(segmentation, width, height)
    if isinstance(segmentation, Sequence) and not isinstance(segmentation, str | bytes):
        return _from_polygons(segmentation, width, height)
    raise UnusableMaskError("no segmentation")


def degenerate_polygons(segmentation: Any) -> int:
    """How many of the polygons have fewer than three points and so take no part in the mask."""
    if not isinstance(segmentation, Sequence) or isinstance(segmentation, str | bytes):
        return 0
    return sum(1 for polygon in segmentation if isinstance(polygon, Sequence) and len(polygon) < 6)


def _from_polygons(polygons: Sequence[Any], width: int, height: int) -> Rle:
    if not polygons:
        raise UnusableMaskError("no segmentation")
    if _holds_points(polygons):
        raise UnusableMaskError(f"points as pairs: {_FORM}")
    usable = []
    for polygon in polygons:
        if not isinstance(polygon, Sequence) or isinstance(polygon, str) or len(polygon) % 2:
            raise UnusableMaskError(f"polygon that is not a list of x, y, x, y, ...: {_FORM}")
        if len(polygon) < 6:  # pycocotools would take four numbers for a box
            continue
        try:
            low_x, high_x = min(polygon[0::2]), max(polygon[0::2])
            low_y, high_y = min(polygon[1::2]), max(polygon[1::2])
            finite = math.isfinite(sum(polygon))
        except (TypeError, OverflowError):
            raise UnusableMaskError("polygon with a point that is not a number") from None
        if not finite:
            raise UnusableMaskError("polygon with a point that is not a number")
        reach_x, reach_y = COORDINATE_REACH * width, COORDINATE_REACH * height
        if low_x < -reach_x or high_x > width + reach_x or low_y < -reach_y or high_y > height + reach_y:
            raise UnusableMaskError("polygon far outside the image")
        usable.append(polygon)
    if not usable:
        raise UnusableMaskError("polygon of fewer than three points")
    rles = coco_mask.frPyObjects(usable, height, width)
    rle: Rle = rles[0] if len(rles) == 1 else coco_mask.merge(rles)
    return rle


def _holds_points(polygons: Sequence[Any]) -> bool:
    """Whether points stand in it as [x, y] each, in one polygon or in several."""
    first = polygons[0]
    if not isinstance(first, Sequence) or isinstance(first, str) or not first:
        return False
    if isinstance(first[0], Sequence) and not isinstance(first[0], str):  # [[[x, y], [x, y], ...], ...]
        return True
    return len(polygons) > 2 and all(isinstance(point, Sequence) and len(point) == 2 for point in polygons)


def _from_rle(segmentation: Mapping[str, Any], width: int, height: int) -> Rle:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, Sequence) or list(size) != [height, width]:
        raise UnusableMaskError("RLE of another image size")
    if isinstance(counts, str | bytes):
        text = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
        lengths = _decompressed(text)
        rle: Rle = {"size": [height, width], "counts": text}
    elif isinstance(counts, Sequence):
        lengths = [int(n) if isinstance(n, float) and n.is_integer() else n for n in counts]
        rle = {}
    else:
        raise UnusableMaskError("RLE without counts")
    if not all(isinstance(n, int) and n >= 0 for n in lengths) or sum(lengths) != width * height:
        raise UnusableMaskError("RLE that do not fill the image")
    return rle or coco_mask.frPyObjects({"size": [height, width], "counts": lengths}, height, width)


def _decompressed(text: bytes) -> list[int]:
    """The RLE of COCO's compressed string: 5 bits a character, each from the third on less its second last."""
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = character - 48
        if not 0 <= bits < 64 or shift > 30:
            raise UnusableMaskError("damaged RLE")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        if len(lengths) > 2:
            value += lengths[-2]
        lengths.append(value)
        value = shift = 0
    if shift:
        raise UnusableMaskError("damaged RLE")
    return lengths


class Extent(NamedTuple):
    """What a mask says of an object whose record does not."""

    area: float
    """Pixels."""
    box: tuple[float, float, float, float]
    """x, y, width, height in pixels."""


def mask_extent(segmentation: Any, width: int = 0, height: int = 0) -> Extent | None:
    """Area and box of a segmentation's mask; None if it has no mask that can be used.

    Args:
        width, height: the image's size in pixels; 0 where it is not known: then the mask is not cut off at its edges.
    """
    if isinstance(segmentation, Mapping):
        size = segmentation.get("size")
        if not (isinstance(size, Sequence) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)):
            return None
        height, width = size
    elif not (width and height):
        width, height = _reach(segmentation)
    if max(width, height) > _LONGEST:
        return None
    try:
        rle = rasterise(segmentation, width, height)
    except UnusableMaskError:
        return None
    x, y, box_width, box_height = (float(value) for value in coco_mask.toBbox(rle))
    return Extent(float(coco_mask.area(rle)), (x, y, box_width, box_height))


def _reach(polygons: Any) -> tuple[int, int]:
    """How far polygons reach to the right and down, in pixels; at least 1."""
    try:
        points = [polygon for polygon in polygons if len(polygon) >= 6]
        right, down = (max(max(polygon[start::2]) for polygon in points) for start in (0, 1))
        return max(math.ceil(right) + 1, 1), max(math.ceil(down) + 1, 1)
    except (TypeError, ValueError, OverflowError):
        return 1, 1
