"""An exemplar as a browser is shown it: its box with what is around it, or its whole image, the box marked."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.errors import ImageError
from ovforge.image_io.codec import apply_orientation
from ovforge.image_io.header import read_header
from ovforge.records.exemplar import Box, Exemplar
from ovforge.viewer.images import as_jpeg, decode_reduced, reduction_for

CONTEXT = 1.4
"""Boxes are shown with as much around them as crops have (OVMR)."""
_DIMMED = 0.6
"""The brightness of what is around a marked box."""


def crop(content: bytes, exemplar: Exemplar, side: int, *, whole: bool = False, mark: bool = True) -> bytes:
    """A JPEG of an exemplar, its longer side at most `side` pixels; smaller ones are enlarged for a box to be drawn.

    Boxes are in the pixels as stored; what is cut out is turned upright, as `exemplars crop` does.

    Args:
        whole: the whole image, not the box's surroundings alone.
        mark: draw the box, and dim what is around it.

    Raises:
        ImageError: no image, a damaged one, or a box outside it.
    """
    name = exemplar.file_name
    header = read_header(content, name)
    width, height = header.size
    left, top, right, bottom = 0.0, 0.0, float(width), float(height)
    if (box := exemplar.box) is not None:
        around = _surroundings(box, width, height)
        if around is None:
            raise ImageError(name, "has the box outside the image")
        if not whole:
            left, top, right, bottom = around
    reduction = reduction_for(max(right - left, bottom - top), side)
    pixels = decode_reduced(content, name, reduction)
    rows = slice(int(top / reduction), max(int(top / reduction) + 1, round(bottom / reduction)))
    columns = slice(int(left / reduction), max(int(left / reduction) + 1, round(right / reduction)))
    shown = np.ascontiguousarray(pixels[rows, columns])
    if not shown.size:
        raise ImageError(name, "has the box outside the image")
    mark = mark and box is not None
    scale = side / max(shown.shape[:2])
    scale = scale if mark else min(1.0, scale)  # lines of one width, however small the crop
    if scale != 1:
        size = (max(1, round(shown.shape[1] * scale)), max(1, round(shown.shape[0] * scale)))
        kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        shown = np.asarray(cv2.resize(shown, size, interpolation=kind), np.uint8)
    if box is not None and mark:
        x, y, w, h = (number / reduction for number in box)
        x, y = x - columns.start, y - rows.start
        _mark(shown, (x * scale, y * scale, w * scale, h * scale))
    return as_jpeg(apply_orientation(shown, header.orientation), name, 88)


def _surroundings(box: Box, width: int, height: int) -> tuple[float, float, float, float] | None:
    """Left, top, right, bottom of the square around a box, inside the image; None for a box that is not in it."""
    x, y, w, h = box
    side = max(w, h) * CONTEXT
    left, top = max(0.0, x + w / 2 - side / 2), max(0.0, y + h / 2 - side / 2)
    right, bottom = min(float(width), x + w / 2 + side / 2), min(float(height), y + h / 2 + side / 2)
    return (left, top, right, bottom) if right - left >= 1 and bottom - top >= 1 and w > 0 and h > 0 else None


def _mark(pixels: NDArray[np.uint8], box: Box) -> None:
    """Draw a box into pixels: white between dark lines, so that it is seen on anything."""
    height, width = pixels.shape[:2]
    left, top = max(0, round(box[0])), max(0, round(box[1]))
    right, bottom = min(width, round(box[0] + box[2])), min(height, round(box[1] + box[3]))
    if right - left < 2 or bottom - top < 2 or (left, top, right, bottom) == (0, 0, width, height):
        return
    inside = pixels[top:bottom, left:right].copy()
    np.multiply(pixels, _DIMMED, out=pixels, casting="unsafe")
    pixels[top:bottom, left:right] = inside
    thick = 1 if max(width, height) < 500 else 2
    for margin, colour in ((thick, (20, 20, 20)), (0, (255, 255, 255))):
        corners = (left - margin, top - margin), (right - 1 + margin, bottom - 1 + margin)
        cv2.rectangle(pixels, *corners, colour, thick)
