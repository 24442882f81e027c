"""What a reader of another format hands to the step that writes it: sections, drawn one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from pycocotools import mask as coco_mask

from ovforge.annotation_io.segmentation import UnusableMaskError, checked_rle
from ovforge.records.reporting import Drops


class NotAMaskError(Exception):
    """What stands in the place of a mask is none; the reader names the record."""


@dataclass
class Imported:
    """An annotation file to be written. `counts`, `drops` and `notes` fill while the sections are drawn, in order.

    Attributes:
        sections: top-level key -> a whole JSON value, or its records one by one.
    """

    sections: dict[str, bytes | Iterable[bytes]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    drops: Drops = field(default_factory=Drops)
    notes: list[str] = field(default_factory=list)


def compressed_rle(segmentation: Any, height: int, width: int) -> dict[str, Any] | None:
    """Polygons or an RLE of either form as a compressed RLE with text counts; None for an empty mask.

    Raises:
        NotAMaskError: neither polygons nor an RLE, or one of another size than (height, width).
    """
    if isinstance(segmentation, dict):
        if segmentation.get("size") != [height, width]:
            raise NotAMaskError(f"its size {segmentation.get('size')} is not the image's [{height}, {width}]")
    elif isinstance(segmentation, list):
        # A polygon of fewer than three points has no pixel.
        segmentation = [points for points in segmentation if not isinstance(points, list) or len(points) >= 6]
        if not segmentation:
            return None
    else:
        raise NotAMaskError(f"it is {type(segmentation).__name__}, not polygons or an RLE")
    try:
        rle = checked_rle(segmentation, width, height)
    except UnusableMaskError as error:
        raise NotAMaskError(str(error)) from None
    if not int(coco_mask.area(rle)):
        return None
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def box_and_area(rle: dict[str, Any]) -> tuple[list[float], int]:
    """The box [x, y, width, height] and the area in pixels of a compressed RLE."""
    encoded = {"size": rle["size"], "counts": rle["counts"].encode("ascii")}
    return [float(value) for value in coco_mask.toBbox(encoded)], int(coco_mask.area(encoded))


def encode(record: dict[str, Any]) -> bytes:
    """One record as JSON."""
    return msgspec.json.encode(record)
