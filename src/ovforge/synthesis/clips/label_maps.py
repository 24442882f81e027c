"""Objects' masks as label maps, moved many at once: one warp for all masks of a map (nearest pixel).

Objects that move together and do not overlap share a map; each map is no larger than its members need.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.synthesis.clips.layers import Box, Mask, Scene, around, shared
from ovforge.synthesis.clips.looks import is_identity, warp

Matrix = NDArray[np.float64]

GAP = 255
"""The label of what moves with objects without being one of them."""
_WARP_COST = 30_000
"""Pixels: so many may be warped for nothing before a map of its own is cheaper."""
_PAD = 3
"""Pixels around a map's members: a window of the frame is a little larger than what it is for."""


@dataclass(frozen=True)
class Hulls:
    """The convex hulls of some objects.

    Attributes:
        members: positions in the scene's objects.
        points: float64 (n, 2), one hull after the other.
        starts: int64 (members,), where each begins.
    """

    members: tuple[int, ...]
    points: NDArray[np.float64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, scene: Scene, members: Sequence[int]) -> Hulls:
        """The hulls of some of a scene's objects."""
        hulls = [scene.objects[index].hull for index in members]
        starts = np.cumsum([0, *(len(hull) for hull in hulls[:-1])])
        return cls(tuple(members), np.concatenate(hulls), np.asarray(starts, np.int64))

    def bounds(self, matrix: Matrix) -> list[list[float]]:
        """How far each reaches after a motion: x1, y1, x2, y2."""
        points = cv2.perspectiveTransform(self.points[None], matrix)[0]
        low = np.minimum.reduceat(points, self.starts, axis=0)
        high = np.maximum.reduceat(points, self.starts, axis=0)
        bounds: list[list[float]] = np.concatenate([low, high], axis=1).tolist()
        return bounds

    def window(self, matrix: Matrix, size: tuple[int, int], margin: int) -> Box:
        """The part of a frame of a size that all together can reach after a motion."""
        points = cv2.perspectiveTransform(self.points[None], matrix)[0]
        return window_around([*points.min(axis=0).tolist(), *points.max(axis=0).tolist()], size, margin)


def window_around(bounds: Sequence[float], size: tuple[int, int], margin: int) -> Box:
    """The part of a frame of a size around x1, y1, x2, y2; of no width or height if it is outside."""
    width, height = size
    left, right = math.floor(bounds[0]) - margin, math.ceil(bounds[2]) + 1 + margin
    top, bottom = math.floor(bounds[1]) - margin, math.ceil(bounds[3]) + 1 + margin
    left, right = min(max(left, 0), width), min(max(right, 0), width)
    top, bottom = min(max(top, 0), height), min(max(bottom, 0), height)
    return left, top, right - left, bottom - top


@dataclass(frozen=True)
class LabelMap:
    """The masks of objects that move together and do not overlap.

    Attributes:
        labels: uint8; 0 is none of them.
        corner: x, y of its upper left pixel in the image's plane.
        label_of: for each member its label.
        hulls: of the members.
        reach: the hulls of all that it may have pixels of.
    """

    labels: NDArray[np.uint8]
    corner: tuple[int, int]
    label_of: dict[int, int]
    hulls: Hulls
    reach: Hulls


def label_maps(scene: Scene, members: Sequence[int], gaps: Mask | None = None) -> list[LabelMap]:
    """Put some objects into maps: together where they do not overlap and lie near enough to one another.

    Args:
        gaps: uint8 (height, width) of the image: what else moves with them, in the first map.
    """
    sheets: list[tuple[list[int], Box]] = []
    if gaps is not None:
        sheets.append(([], around([scene.objects[index].box for index in members])))
    # The largest first: most others lie within its box or overlap it.
    for index in sorted(members, key=lambda index: (-scene.objects[index].area, index)):
        box = scene.objects[index].box
        costs = []
        for number, (others, place) in enumerate(sheets):
            grown = around([place, box])
            cost = _pixels(grown) - _pixels(place) - _pixels(box)
            if cost < _WARP_COST and len(others) < GAP - 1 and not _overlaps(scene, index, others):
                costs.append((cost, number, grown))
        if costs:
            _, number, grown = min(costs)
            sheets[number] = ([*sheets[number][0], index], grown)
        else:
            sheets.append(([index], box))
    return [
        _label_map(scene, some, box, *((gaps, members) if gaps is not None and not number else (None, some)))
        for number, (some, box) in enumerate(sheets)
    ]


def _pixels(box: Box) -> int:
    return box[2] * box[3]


def _overlaps(scene: Scene, index: int, others: Sequence[int]) -> bool:
    item = scene.objects[index]
    for other in others:
        common = shared(item.box, scene.objects[other].box)
        if common is not None:
            both = (
                item.mask[inside(common, item.box)]
                & scene.objects[other].mask[inside(common, scene.objects[other].box)]
            )
            if both.any():
                return True
    return False


def _label_map(scene: Scene, members: Sequence[int], box: Box, gaps: Mask | None, reach: Sequence[int]) -> LabelMap:
    x, y, width, height = box
    left, top = x - _PAD, y - _PAD
    labels = np.zeros((height + 2 * _PAD, width + 2 * _PAD), np.uint8)
    if gaps is not None:
        labels[_PAD:-_PAD, _PAD:-_PAD][gaps[slices(box)] > 0] = GAP
    label_of = {index: place + 1 for place, index in enumerate(members)}
    for index, label in label_of.items():
        item = scene.objects[index]
        labels[inside(item.box, (left, top, 0, 0))][item.mask > 0] = label
    return LabelMap(labels, (left, top), label_of, Hulls.of(scene, members), Hulls.of(scene, reach))


class MovedMap:
    """A label map after its motion.

    Attributes:
        window: the part of the frame that it can reach.
        bounds: x1, y1, x2, y2 of each whole member.
    """

    def __init__(self, source: LabelMap, matrix: Matrix, size: tuple[int, int]) -> None:
        self.source, self.matrix = source, matrix
        members = source.hulls.members
        self.bounds = dict(zip(members, source.hulls.bounds(matrix), strict=True))
        self._windows = {index: window_around(self.bounds[index], size, 1) for index in members}
        self.window: Box = (
            around(list(self._windows.values()))
            if len(source.reach.members) == len(members)
            else source.reach.window(matrix, size, 1)
        )
        self._labels = _moved(source, matrix, self.window)
        self._masks: dict[int, Mask] = {}

    def window_of(self, index: int) -> Box:
        """The part of the frame that one member can reach."""
        return self._windows[index]

    def mask(self, index: int) -> Mask:
        """A member's whole mask in its window, uint8, 255 or 0."""
        mask = self._masks.get(index)
        if mask is None:
            labels = self._labels[inside(self._windows[index], self.window)]
            label = self.source.label_of[index]
            if labels.size > 4:
                mask = np.asarray(cv2.compare(labels, float(label), cv2.CMP_EQ), np.uint8)
            else:  # OpenCV would take so small an array for a scalar itself
                mask = np.asarray((labels == label) * 255, np.uint8)
            self._masks[index] = mask
        return mask

    def covered(self) -> tuple[Box, Mask]:
        """What it covers of the frame, members and gaps: a window, and uint8, 255 or 0."""
        return self.window, np.asarray((self._labels > 0).view(np.uint8) * np.uint8(255))


def _moved(source: LabelMap, matrix: Matrix, window: Box) -> NDArray[np.uint8]:
    x, y, width, height = window
    if not width or not height:
        return np.zeros((height, width), np.uint8)
    left, top = source.corner
    if is_identity(matrix):
        return source.labels[slices((x - left, y - top, width, height))]
    placed = matrix.copy()
    placed[:, 2] += left * matrix[:, 0] + top * matrix[:, 1]
    placed[0] -= x * placed[2]
    placed[1] -= y * placed[2]
    return warp(source.labels, placed, (width, height), cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)


def inside(window: Box, other: Box) -> tuple[slice, slice]:
    """Where a window lies in the arrays of another one that it is a part of."""
    return slices((window[0] - other[0], window[1] - other[1], window[2], window[3]))


def slices(window: Box) -> tuple[slice, slice]:
    """A window as rows and columns."""
    x, y, width, height = window
    return np.s_[y : y + height, x : x + width]
