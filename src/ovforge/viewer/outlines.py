"""The outlines of masks, as polygons that a page draws, and whether anything of an image was repainted."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ovforge.annotation_io.segmentation import UnusableMaskError, rasterise

MOST_POINTS = 4000
"""Of one object's outline; more would only be slow to draw."""


def outline(segmentation: Any, width: int, height: int) -> list[list[float]]:
    """The borders of a mask as lists x1, y1, x2, y2, ...; empty where there is no mask that can be drawn."""
    try:
        mask = coco_mask.decode(rasterise(segmentation, width, height))
    except (UnusableMaskError, ValueError, TypeError, KeyError):
        return []
    found, _ = cv2.findContours(np.ascontiguousarray(mask, np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    polygons: list[list[float]] = []
    points = 0
    for contour in sorted(found, key=len, reverse=True):
        smooth = cv2.approxPolyDP(contour, 0.7, closed=True).reshape(-1, 2)
        points += len(smooth)
        if points > MOST_POINTS:
            break
        if len(smooth) >= 3:
            # A contour runs through the middles of pixels.
            polygons.append((smooth + 0.5).ravel().tolist())
    return polygons


def is_repainted(keep_mask: Any) -> bool:
    """Whether a mask of what was kept leaves anything out."""
    try:
        height, width = (int(side) for side in keep_mask["size"])
        counts = keep_mask["counts"]
        if isinstance(counts, list):  # run lengths, of what is left out first
            return any(count > 0 for count in counts[::2])
        return int(coco_mask.area(keep_mask)) < height * width
    except (KeyError, TypeError, ValueError):
        return True  # a damaged mask is told of where it is drawn
