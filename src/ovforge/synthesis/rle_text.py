"""Segmentations as annotation files hold them, converted to COCO's compressed RLE, one JSON value at a time.

Kept apart from what reads images, since the worker processes load this.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ovforge.annotation_io.record_edit import decode_record
from ovforge.synthesis.masks import UnusableMaskError, rasterise


def compressed(value: bytes, size: tuple[int, ...]) -> bytes | None:
    """The compressed RLE of a segmentation: of polygons, or of RLE with its counts as a list.

    Args:
        value: the segmentation as JSON.
        size: (height, width) of the image in pixels.

    Returns:
        JSON, or None for a value that stays: it is compressed already, or no mask can be made of it.
    """
    segmentation: Any = decode_record(value)
    if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), str):
        return None
    height, width = size
    try:
        counts = rasterise(segmentation, width, height)["counts"]
    except UnusableMaskError:
        return None
    return b'{"size": [%d, %d], "counts": %b}' % (height, width, msgspec.json.encode(counts.decode("ascii")))
