"""How well an object came through repainting: structural similarity inside its mask.

SSIM as in Wang et al. 2004, on luma with a 7 x 7 box window and the usual constants (0.01 and 0.03 of 255),
averaged over the object's pixels. As its authors advise, images are first shrunk to the scale they are seen at, a
side of about 256 pixels. 1 is unchanged, about 0 has nothing in common.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.synthesis.masks import LabelMaps

VIEWING_SIDE = 256
_WINDOW = (7, 7)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def fidelity(
    before: NDArray[np.uint8], after: NDArray[np.uint8], masks: LabelMaps, areas: Sequence[int] | None = None
) -> list[float]:
    """Similarity of every object between two images, uint8 RGB (height, width, 3), rounded to 4 digits.

    An object that has left the image has 0.0: nothing of it came through.

    Args:
        areas: each mask's pixels, where they are known.
    """
    areas = areas if areas is not None else [cv2.countNonZero(masks.mask(i)) for i in range(len(masks.places))]
    union = masks.union()
    if not cv2.countNonZero(union):
        return [0.0] * len(masks.places)
    x, y, width, height = cv2.boundingRect(union)
    here = np.s_[y : y + height, x : x + width]
    similarity = None if np.array_equal(before[here], after[here]) else _ssim_map(before, after)
    values: list[float] = []
    for index, area in enumerate(areas):
        if not area:
            values.append(0.0)
        elif similarity is None:
            values.append(1.0)
        else:
            mask = masks.mask(index)
            # By area and not by nearest: a pixel that holds any of the object counts, so none vanishes.
            small = cv2.resize(mask, similarity.shape[::-1], interpolation=cv2.INTER_AREA)
            any_of_it = cv2.compare(small, 0, cv2.CMP_GT)
            values.append(round(min(max(float(cv2.mean(similarity, any_of_it)[0]), 0.0), 1.0), 4))
    return values


def _ssim_map(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
    """SSIM at every pixel, float32, of the images' luma, shrunk by a whole factor to a side of about 256 first."""
    factor = max(1, round(min(before.shape[:2]) / VIEWING_SIDE))
    a, b = (_luma(image, factor) for image in (before, after))
    mean_a, mean_b = cv2.blur(a, _WINDOW), cv2.blur(b, _WINDOW)
    product, squares = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    variances = cv2.blur(a * a + b * b, _WINDOW) - squares
    covariance = cv2.blur(a * b, _WINDOW) - product
    similarity = ((2 * product + _C1) * (2 * covariance + _C2)) / ((squares + _C1) * (variances + _C2))
    return np.asarray(similarity, np.float32)


def _luma(image: NDArray[np.uint8], factor: int) -> NDArray[np.float32]:
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    if factor > 1:
        size = (max(grey.shape[1] // factor, 1), max(grey.shape[0] // factor, 1))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.float32)
