"""OVTR's `clear`: which objects may be blotted out without hiding others.

OVTR paints over some boxes in training and takes their labels away; it draws them among the annotations whose `clear`
is true. The rule is the one of its preparation notebook: an object is clear if its box covers less than 30 % of every
other box of the image. Equal boxes do not count as others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COVERED_SHARE = 0.3
_MOST_PAIRS = 1 << 17  # compared at once: what that takes fits into the cache

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def clear_objects(boxes: NDArray[np.float64], image: Ints) -> Bools:
    """For each box whether it covers less than COVERED_SHARE of every other box of its image.

    Args:
        boxes: (n, 4) x, y, width, height.
        image: (n,) a number per image; the boxes of an image stand together.
    """
    clear = np.ones(len(boxes), np.bool_)
    starts = np.flatnonzero(np.append(True, image[1:] != image[:-1])) if len(image) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(starts, len(image)))
    done = np.cumsum(sizes**2)
    first = 0
    while first < len(starts):
        before = done[first - 1] if first else 0
        after = max(int(np.searchsorted(done, before + _MOST_PAIRS, "right")), first + 1)
        part = slice(int(starts[first]), int(starts[after - 1] + sizes[after - 1]))
        clear[part] = _clear(boxes[part], starts[first:after] - starts[first], sizes[first:after])
        first = after
    return clear


def _clear(boxes: NDArray[np.float64], starts: Ints, sizes: Ints) -> Bools:
    """The same for a few images: every box against every box of its image."""
    size, start = np.repeat(sizes, sizes), np.repeat(starts, sizes)
    one = np.repeat(np.arange(len(boxes)), size)
    other = np.arange(len(one)) - np.repeat(np.cumsum(size) - size, size) + start[one]
    left_top = np.maximum(boxes[one, :2], boxes[other, :2])
    right_bottom = np.minimum(boxes[one, :2] + boxes[one, 2:], boxes[other, :2] + boxes[other, 2:])
    shared = np.clip(right_bottom - left_top, 0, None).prod(axis=1)
    covers = (shared > 0) & (shared >= COVERED_SHARE * boxes[other, 2:].prod(axis=1))
    covers &= (boxes[one] != boxes[other]).any(axis=1)
    clear = np.ones(len(boxes), np.bool_)
    clear[one[covers]] = False
    return clear
