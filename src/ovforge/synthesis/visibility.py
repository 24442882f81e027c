"""What is seen of each object in a second view: computed from its mask and the motion.

`visibility` is the share of the moved mask that is inside the second view; what leaves it is counted by the area that
the motion gives it beyond the border. `old_copy` is the share of the object that is seen once more, at its old place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.synthesis.masks import LabelMaps
from ovforge.synthesis.motion import Motion


@dataclass(frozen=True)
class Shown:
    """One object in a second view.

    Attributes:
        box: [x, y, width, height] in whole pixels of what is seen of it; zeros if nothing is.
        area: its pixels.
        visibility: 0 to 1.
        old_copy: 0 to 1.
    """

    box: list[int]
    area: int
    visibility: float
    old_copy: float


def show_objects(before: LabelMaps, after: LabelMaps, motion: Motion, *, original_outside: bool) -> list[Shown]:
    """What is seen of every object.

    Args:
        before: the masks in the image, with their boxes.
        after: the same masks, moved.
        original_outside: whether the original is seen where the moved image is not.
    """
    height, width = before.maps[0].shape
    matrix = motion.array()
    uncovered = cv2.bitwise_not(after.inside()) if original_outside else None
    if uncovered is not None and not cv2.countNonZero(uncovered):
        uncovered = None
    found = []
    for index, box in enumerate(before.boxes):
        place = np.s_[box[1] : box[1] + box[3], box[0] : box[0] + box[2]]
        mask = before.mask(index, place)
        pixels = cv2.countNonZero(mask)
        window, is_inside = _window(matrix, box, width, height)
        moved = after.mask(index, window) if window is not None else None
        area = cv2.countNonZero(moved) if moved is not None else 0
        if moved is None or window is None or not area:
            seen, visibility = [0, 0, 0, 0], 0.0
        else:
            x, y, box_width, box_height = cv2.boundingRect(moved)
            seen = [x + window[1].start, y + window[0].start, box_width, box_height]
            visibility = 1.0 if is_inside else min(area / (pixels * _stretch(matrix, box, mask)), 1.0)
        old = 0
        if uncovered is not None:
            old = cv2.countNonZero(cv2.bitwise_and(uncovered[place], mask))
        found.append(Shown([int(v) for v in seen], area, round(float(visibility), 4), round(old / pixels, 4)))
    return found


def _stretch(matrix: NDArray[np.float64], box: tuple[int, int, int, int], mask: NDArray[np.uint8]) -> float:
    """By how much a projective map enlarges an object: the mean of its determinant over the cube of the divisor."""
    # It changes slowly, so a thousand or two of the object's pixels are enough.
    step = max(1, math.isqrt(mask.size // 2000))
    x, y = box[0] + np.arange(0, box[2], step), box[1] + np.arange(0, box[3], step)
    divisor = matrix[2, 0] * x + matrix[2, 1] * y[:, None] + matrix[2, 2]
    here = mask[::step, ::step] > 0
    divisors = divisor[here] if here.any() else divisor
    return float(abs(np.linalg.det(matrix)) * np.mean(np.abs(divisors) ** -3.0))


def _window(
    matrix: NDArray[np.float64], box: tuple[int, int, int, int], width: int, height: int
) -> tuple[tuple[slice, slice] | None, bool]:
    """Where a box goes, as a window of the second view or None if it leaves it, and whether it stays inside whole."""
    x, y, box_width, box_height = box
    # A pixel more at each side: masks go to the nearest pixel.
    left, top, right, bottom = x - 1, y - 1, x + box_width, y + box_height
    corners = matrix @ np.array([[left, right, right, left], [top, top, bottom, bottom], [1, 1, 1, 1]], np.float64)
    if not (corners[2] > 0).all():
        return (slice(0, height), slice(0, width)), False
    corners = corners[:2] / corners[2]
    low, high = np.floor(corners.min(axis=1)).astype(int), np.ceil(corners.max(axis=1)).astype(int) + 1
    is_inside = bool((low >= 0).all() and high[0] <= width and high[1] <= height)
    columns, rows = slice(max(low[0], 0), min(high[0], width)), slice(max(low[1], 0), min(high[1], height))
    if columns.start >= columns.stop or rows.start >= rows.stop:
        return None, False
    return (rows, columns), is_inside
