"""A rounded box in the place of a mask, for annotations that have boxes only. It is coarse: what is in its corners and
around the object within it moves along, and counts as the object."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from ovforge.annotation_io.record_edit import decode_record

CORNER = 0.3
"""The corners' radius, as a share of the shorter side."""
_STEPS = 6
NOTE = (
    "--boxes-as-masks: objects without a segmentation are moved as rounded boxes, which is coarse: background inside a "
    "box moves along and counts as the object"
)


def with_box_mask(record: bytes | memoryview) -> bytes | memoryview:
    """The annotation with a rounded box as its mask, if it has none and its box is a pixel wide and high."""
    fields = decode_record(record)
    polygons = _polygons(fields)
    return record if polygons is None else msgspec.json.encode({**fields, "segmentation": polygons})


def box_mask(record: bytes | memoryview) -> bytes | None:
    """The rounded box that stands for the annotation's mask, as JSON; None if it has a mask or no box."""
    polygons = _polygons(decode_record(record))
    return None if polygons is None else msgspec.json.encode(polygons)


def _polygons(fields: dict[str, Any]) -> list[list[float]] | None:
    box = fields.get("bbox")
    if fields.get("segmentation") or fields.get("iscrowd") or not box or min(box[2:]) < 1:
        return None
    return [rounded_box(*box)]


def rounded_box(x: float, y: float, width: float, height: float) -> list[float]:
    """A box with rounded corners as one polygon.

    >>> points = rounded_box(10, 20, 100, 50)
    >>> min(points[::2]), max(points[::2]), min(points[1::2]), max(points[1::2])
    (10.0, 110.0, 20.0, 70.0)
    """
    radius = CORNER * min(width, height)
    centres = (
        (x + width - radius, y + radius),
        (x + width - radius, y + height - radius),
        (x + radius, y + height - radius),
        (x + radius, y + radius),
    )
    points: list[float] = []
    for corner, (across, down) in enumerate(centres):
        for step in range(_STEPS + 1):
            angle = math.pi / 2 * (corner - 1 + step / _STEPS)
            points += [round(across + radius * math.cos(angle), 2), round(down + radius * math.sin(angle), 2)]
    return points
