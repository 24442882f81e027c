"""What a vision model and a detector say of the objects of a second view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.records.scores import ExtraObject
from ovforge.vision.detector import Detector, box_iou

GREY = 128
"""What stands around an object for a model: the background was repainted and is not to count."""
CONTEXT = 0.1
"""How much wider than its box an object's crop is."""
FOUND_SCORE = 0.1
"""Detections below this are not looked at."""
EXTRA_SCORE = 0.4
"""Detections of an annotated class from here on are objects, annotated or not."""
ANNOTATED_IOU = 0.3
"""A detection that overlaps an annotated object of its class by this is that object."""


class Embedder(Protocol):
    """What is asked of a vision model; `vision.features.FeatureModel` is one."""

    def embed_images(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Features of uint8 RGB images, float32 (n, dimension)."""


def object_crop(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """An object on grey, cut out of its image; None where nothing of it is there."""
    if not cv2.countNonZero(mask):
        return None
    x, y, width, height = cv2.boundingRect(mask)
    right, below = (round(side * CONTEXT / 2) for side in (width, height))
    left, top = max(x - right, 0), max(y - below, 0)
    here = np.s_[top : y + height + below, left : x + width + right]
    crop = np.full_like(image[here], GREY)
    return np.asarray(cv2.copyTo(np.ascontiguousarray(image[here]), np.ascontiguousarray(mask[here]), crop), np.uint8)


def same_objects(
    model: Embedder, reference: NDArray[np.uint8], second: NDArray[np.uint8], masks: Sequence[NDArray[np.uint8]]
) -> list[tuple[float | None, float | None]]:
    """(same, margin) of every object, see `records.scores.ObjectScores`."""
    crops = [(object_crop(reference, mask), object_crop(second, mask)) for mask in masks]
    there = [row for row, pair in enumerate(crops) if pair[0] is not None and pair[1] is not None]
    if not there:
        return [(None, None)] * len(masks)
    images = [crop for row in there for crop in crops[row] if crop is not None]
    features = np.asarray(model.embed_images(images), np.float64)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    similarity = features[1::2] @ features[0::2].T  # second views by first views
    result: list[tuple[float | None, float | None]] = [(None, None)] * len(masks)
    for place, row in enumerate(there):
        own = float(similarity[place, place])
        others = np.delete(similarity[place], place)
        margin = round(own - float(others.max()), 4) if len(others) else None
        result[row] = (round(own, 4), margin)
    return result


def found_objects(
    detector: Detector,
    second: NDArray[np.uint8],
    boxes: NDArray[np.float64],
    categories: Sequence[int],
    names: dict[int, str],
) -> tuple[list[float | None], tuple[ExtraObject, ...]]:
    """`found` of every object, and the objects of the annotated classes that nobody annotated.

    Args:
        boxes: (n, 4): x, y, width, height of the annotated objects in the second view.
        categories: their category ids.
        names: category id -> class name.
    """
    asked = sorted({category for category in categories if category in names})
    detections = detector.detect(second, [names[category] for category in asked], threshold=FOUND_SCORE)
    labels = np.array([asked[label] for label in detections.labels.tolist()], np.int64)
    corners = np.asarray(boxes, np.float64).reshape(-1, 4).copy()
    corners[:, 2:] += corners[:, :2]
    overlap = box_iou(corners, detections.boxes)
    of_class = np.asarray(categories, np.int64).reshape(-1, 1) == labels.reshape(1, -1)
    overlap = np.where(of_class, overlap, 0.0)
    found: list[float | None] = []
    for row, category in enumerate(categories):
        if category not in names or corners[row, 2] <= corners[row, 0]:
            found.append(None)
        else:
            found.append(round(float(overlap[row].max(initial=0.0)), 4))
    extra = []
    for place in np.flatnonzero(detections.scores >= EXTRA_SCORE).tolist():
        if len(overlap) and overlap[:, place].max() >= ANNOTATED_IOU:
            continue
        x1, y1, x2, y2 = (float(number) for number in detections.boxes[place])
        box = (round(x1, 1), round(y1, 1), round(x2 - x1, 1), round(y2 - y1, 1))
        extra.append(ExtraObject(int(labels[place]), box, round(float(detections.scores[place]), 4)))
    return found, tuple(extra)
