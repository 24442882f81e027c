"""Repainting only what the motion uncovered: holes, crops around them at the engine's resolution, and the way back.

The image outside the holes stays as it is, byte for byte. An engine sees a hole with its surroundings, at the image's
own scale wherever that fits the engine's working size: a small hole costs a small crop, and an image without one costs
nothing. Holes so thin that an engine could not paint into them stay as they were completed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.synthesis.compose import resized, to_image_size
from ovforge.synthesis.repaint import Repainted, RepaintJob, WorkingSize

LEAST_DEPTH = 8
"""Pixels: a hole that is nowhere so far from the pixels around it stays as it was completed. It is the side of a latent
cell, and cells that hold any kept pixel are kept."""
FEATHER = 8
"""Pixels inside a hole's edge over which its completion passes into what was painted."""
LEAST_CONTEXT = 64
"""Pixels of its surroundings that a crop shows at each side of a hole, at least."""
MOST_CROPS = 8

Box = tuple[int, int, int, int]
"""x, y, width, height in whole pixels."""
Size = tuple[int, int]
"""(width, height)."""


@dataclass(frozen=True)
class Crop:
    """A part of an image that an engine gets.

    Attributes:
        box: the part, in the image's pixels.
        content: the size at which the engine gets it, and `padded` the same with padding at the right and below.
        holes: labels of the holes that are taken from it.
    """

    box: Box
    content: Size
    padded: Size
    holes: tuple[int, ...]


@dataclass(frozen=True)
class Holes:
    """An image's holes and what an engine is to paint for them.

    Attributes:
        whole: the image at its own size; what its keep mask leaves out are the holes that are painted.
        jobs: one for each of `crops`; none where there is no hole.
        labels: int32 (height, width): which hole a pixel is in.
        weights: float32 (height, width): how much of what is painted is seen, 0 outside the holes.
    """

    whole: RepaintJob
    crops: tuple[Crop, ...]
    jobs: tuple[RepaintJob, ...]
    labels: NDArray[np.int32]
    weights: NDArray[np.float32]

    def finished(self, results: Sequence[Repainted]) -> Repainted:
        """The whole image with its holes painted, from the results of `jobs` in their order."""
        if not self.crops:
            return Repainted(self.whole.image, prompt="")
        image = self.whole.image.copy()
        for crop, result in zip(self.crops, results, strict=True):
            x, y, width, height = crop.box
            here = np.s_[y : y + height, x : x + width]
            painted = to_image_size(result.image, crop.content, (width, height))
            weight = np.where(np.isin(self.labels[here], crop.holes), self.weights[here], np.float32(0))[..., None]
            image[here] = np.rint(weight * painted + (1 - weight) * image[here]).astype(np.uint8)
        drops = tuple(dict.fromkeys(drop for result in results for drop in result.drops))
        return Repainted(image, self._record(results), drops, results[0].prompt)

    def _record(self, results: Sequence[Repainted]) -> dict[str, Any]:
        """What all crops have in common, and of each its box and the rest."""
        first = results[0].record
        common = {
            key: value for key, value in first.items() if all(result.record.get(key) == value for result in results)
        }
        crops = [
            {"box": list(crop.box)} | {key: value for key, value in result.record.items() if key not in common}
            for crop, result in zip(self.crops, results, strict=True)
        ]
        return {**common, "repaint": "holes", "crops": crops}


def plan_holes(whole: RepaintJob, working: WorkingSize | None) -> Holes:
    """Find an image's holes and cut crops around them.

    Args:
        whole: the composed image at its own size; its holes are what the keep mask leaves out, completed.
        working: the engine's, taken the way up that the image has; None: it takes any size, and gets crops at the
            image's scale.
    """
    missing = np.ascontiguousarray(~whole.keep_mask).view(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(missing, connectivity=8, ltype=cv2.CV_32S)
    distance = cv2.distanceTransform(missing, cv2.DIST_C, 3)
    found = [int(label) for label in np.unique(labels[distance >= LEAST_DEPTH]) if label]
    painted = np.isin(labels, found) if found else np.zeros(missing.shape, np.bool_)
    whole = replace(whole, keep_mask=~painted)
    weights = np.minimum(distance / np.float32(FEATHER + 1), np.float32(1)).astype(np.float32)
    height, width = missing.shape
    boxes = {label: _box(stats[label, : cv2.CC_STAT_AREA]) for label in found}
    crops = _crops(boxes, (width, height), _turned(working or WorkingSize(width, height, 1), width, height))
    jobs = tuple(_job(whole, painted, crop, number) for number, crop in enumerate(crops))
    return Holes(whole, crops, jobs, np.asarray(labels, np.int32), weights)


def _turned(working: WorkingSize, width: int, height: int) -> WorkingSize:
    """The working size as wide and high as the other way round, if the image is: it costs an engine the same."""
    if (working.width - working.height) * (width - height) >= 0:
        return working
    return replace(working, width=working.height, height=working.width)


def _box(values: NDArray[np.int32]) -> Box:
    x, y, width, height = (int(value) for value in values)
    return x, y, width, height


def _crops(boxes: dict[int, Box], size: Size, working: WorkingSize) -> tuple[Crop, ...]:
    """Crops around holes, joined wherever one costs no more than two."""
    groups: list[tuple[Box, tuple[int, ...]]] = [(box, (label,)) for label, box in boxes.items()]
    if len(groups) > 2 * MOST_CROPS:
        groups = [(_around([box for box, _ in groups]), tuple(boxes))]
    while len(groups) > 1:
        costs = [_cost(_crop(*group, size, working)) for group in groups]
        savings = [
            (costs[a] + costs[b] - _cost(_crop(*_joined(groups[a], groups[b]), size, working)), -a, -b)
            for a, b in combinations(range(len(groups)), 2)
        ]
        saved, a, b = max(savings)
        if saved < 0 and len(groups) <= MOST_CROPS:
            break
        groups[-a] = _joined(groups[-a], groups[-b])
        del groups[-b]
    return tuple(_crop(box, labels, size, working) for box, labels in groups)


def _joined(one: tuple[Box, tuple[int, ...]], other: tuple[Box, tuple[int, ...]]) -> tuple[Box, tuple[int, ...]]:
    return _around([one[0], other[0]]), one[1] + other[1]


def _around(boxes: Sequence[Box]) -> Box:
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    return left, top, max(box[0] + box[2] for box in boxes) - left, max(box[1] + box[3] for box in boxes) - top


def _cost(crop: Crop) -> int:
    return crop.padded[0] * crop.padded[1]


def _crop(box: Box, holes: tuple[int, ...], size: Size, working: WorkingSize) -> Crop:
    """The crop for a hole: at the image's scale if that fits, its sides in few steps, so that batches fill up.

    A step is half of the working size's shorter side. Where the image ends, the crop ends and is padded.
    """
    most = (_down(working.width, working.multiple), _down(working.height, working.multiple))
    step = min(_up(-(-min(working.width, working.height) // 2), working.multiple), *most)
    context = min(max(LEAST_CONTEXT, min(box[2:])), max(step, LEAST_CONTEXT))
    starts = [max(box[axis] - context, 0) for axis in (0, 1)]
    needed = [min(box[axis] + box[axis + 2] + context, size[axis]) - starts[axis] for axis in (0, 1)]
    # Only images smaller than a step are enlarged.
    scale = min(*(most[axis] / needed[axis] for axis in (0, 1)), max(1.0, step / min(size)))
    lengths, content = [0, 0], [0, 0]
    for axis in (0, 1):
        target = min(_up(math.ceil(needed[axis] * scale - 1e-6), step), most[axis])
        lengths[axis] = max(needed[axis], min(int(target / scale), size[axis]))
        content[axis] = min(max(round(lengths[axis] * scale), 1), target)
        start = starts[axis] - (lengths[axis] - needed[axis]) // 2
        starts[axis] = min(max(start, 0), size[axis] - lengths[axis])
    width, height = content
    padded = (_up(width, working.multiple), _up(height, working.multiple))
    return Crop((starts[0], starts[1], lengths[0], lengths[1]), (width, height), padded, holes)


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _down(length: int, multiple: int) -> int:
    return max(length // multiple, 1) * multiple


def _job(whole: RepaintJob, painted: NDArray[np.bool_], crop: Crop, number: int) -> RepaintJob:
    x, y, width, height = crop.box
    here = np.s_[y : y + height, x : x + width]
    image = resized(whole.image[here], crop.content)
    hole = painted[here].astype(np.uint8) * np.uint8(255)
    if crop.content != (width, height):  # what is a hole in part is painted
        hole = np.asarray(cv2.resize(hole, crop.content, interpolation=cv2.INTER_AREA), np.uint8)
    right, below = (crop.padded[axis] - crop.content[axis] for axis in (0, 1))
    image = np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    keep = np.pad(hole == 0, ((0, below), (0, right)))
    return replace(whole, image=image, keep_mask=keep, content=crop.content, part=number)
