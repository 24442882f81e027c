"""How well an object came through repainting: structural similarity inside its mask.

SSIM as in Wang et al. 2004, on luma with a 7 x 7 box window and the usual constants (0.01 and 0.03 of 255),
averaged over the object's pixels. 1 is unchanged, about 0 has nothing in common.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.synthesis.masks import LabelMaps

WINDOW = 7
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def fidelity(before: NDArray[np.uint8], after: NDArray[np.uint8], masks: LabelMaps) -> list[float]:
    """Similarity of every object between two pictures, uint8 RGB (height, width, 3), rounded to 4 digits.

    An object that has left the picture has 0.0: nothing of it came through.
    """
    union = masks.union()
    if not cv2.countNonZero(union):
        return [0.0] * len(masks.places)
    x, y, width, height = cv2.boundingRect(union)
    here = np.s_[y : y + height, x : x + width]
    same = np.array_equal(before[here], after[here])
    similarity = None if same else _ssim_map(before, after, (x, y, width, height))
    values: list[float] = []
    for index in range(len(masks.places)):
        mask = np.ascontiguousarray(masks.mask(index)[here])
        if not cv2.countNonZero(mask):
            values.append(0.0)
        elif similarity is None:
            values.append(1.0)
        else:
            values.append(round(min(max(float(cv2.mean(similarity, mask)[0]), 0.0), 1.0), 4))
    return values


def _ssim_map(
    before: NDArray[np.uint8], after: NDArray[np.uint8], box: tuple[int, int, int, int]
) -> NDArray[np.float32]:
    """SSIM at every pixel of a box [x, y, width, height]; windows at its rim look beyond it where the picture does."""
    x, y, width, height = box
    left, top = max(x - WINDOW, 0), max(y - WINDOW, 0)
    around = np.s_[top : y + height + WINDOW, left : x + width + WINDOW]
    a, b = (
        cv2.cvtColor(np.ascontiguousarray(image[around]), cv2.COLOR_RGB2GRAY).astype(np.float32)
        for image in (before, after)
    )

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(values, (WINDOW, WINDOW)), np.float32)

    mean_a, mean_b = mean(a), mean(b)
    product = mean_a * mean_b
    squares = mean_a * mean_a + mean_b * mean_b
    variances = mean(a * a + b * b) - squares
    covariance = mean(a * b) - product
    similarity = ((2 * product + _C1) * (2 * covariance + _C2)) / ((squares + _C1) * (variances + _C2))
    return np.ascontiguousarray(similarity[y - top : y - top + height, x - left : x - left + width], np.float32)
