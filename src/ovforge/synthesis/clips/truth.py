"""The truth of a frame: of every object its visible mask, its box, the box of the whole object, and its visibility.

Masks are moved as the pixels are, by one warp of a label map for each layer and frame (nearest pixel). What lies in
front is taken away from what lies behind; objects of the same group, and objects that stay with the background, do
not cover one another: in the photograph their masks are what one sees of each.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.synthesis.clips.layers import Box, Mask, Scene, SceneObject
from ovforge.synthesis.masks import BACKGROUND, LAST_LABEL, LabelMaps

OCCLUDED_FROM = 0.1
"""An object counts as occluded where at least this share of what is inside the image is covered."""

Matrix = NDArray[np.float64]

_PAD = 3
"""Pixels around a layer's label maps: a window of the frame is a little larger than what it is for."""


@dataclass(frozen=True)
class ObjectTruth:
    """One object in one frame.

    Attributes:
        box: [x, y, width, height] of the visible mask, whole pixels; zeros where nothing is visible.
        area: pixels of the visible mask.
        visibility: 0 to 1: what is visible of the object as it is in the image, the parts outside the frame included.
        amodal_box: [x, y, width, height] of the whole object, covered and outside parts included; may lie outside
            the frame.
        occluded: other objects cover at least `OCCLUDED_FROM` of what is inside the frame.
        outside: no part of the object, covered or not, is inside the frame.
        window: x, y, width, height of the part of the frame that `mask` is for.
        mask: uint8, 255 where the object is visible.
    """

    box: list[int]
    area: int
    visibility: float
    amodal_box: list[float]
    occluded: bool
    outside: bool
    window: Box
    mask: Mask

    def full_mask(self, width: int, height: int) -> Mask:
        """The visible mask at the frame's size."""
        full = np.zeros((height, width), np.uint8)
        x, y, w, h = self.window
        full[y : y + h, x : x + w] = self.mask
        return full


@dataclass(frozen=True)
class Layer:
    """Label maps that move together: of one group, or of all objects that stay with the background.

    Attributes:
        members: positions in the scene's objects, in the order of `maps.places`.
        maps: cut to `corner` and their size.
        corner: x, y of their upper left pixel in the image's plane.
        hulls, starts: the members' hulls, one after the other, and where each begins.
    """

    members: tuple[int, ...]
    maps: LabelMaps
    corner: tuple[int, int]
    hulls: NDArray[np.float64]
    starts: NDArray[np.int64]

    @functools.cached_property
    def place_of(self) -> dict[int, int]:
        """Where each member is in `maps.places`."""
        return {index: place for place, index in enumerate(self.members)}


class Truth:
    """What is needed to tell the truth of any frame of one scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        still = [index for group in scene.groups if not group.moves for index in group.members]
        self._still = _layer(scene, still) if still else None
        self._moving = {position: _moving_layer(scene, position) for position in scene.moving()}
        # From front to back.
        self._order = sorted(range(len(scene.groups)), key=lambda p: (-scene.groups[p].nearness, p))

    def frame(self, camera: Matrix, groups: Sequence[Matrix]) -> list[ObjectTruth]:
        """The truth of the frame in which the camera and each group have the given matrices, in the objects' order."""
        scene = self.scene
        covered_by_moving = covered_by_still = None
        if self._moving:
            covered_by_moving = np.zeros((scene.height, scene.width), np.uint8)
            covered_by_still = np.zeros_like(covered_by_moving)
        found: dict[int, ObjectTruth] = {}
        still = _Moved(self._still, camera, scene) if self._still is not None else None
        for position in self._order:
            group = scene.groups[position]
            if not group.moves and still is not None:
                for index in group.members:
                    window = still.window_of(index)
                    whole = still.mask(index, window)
                    covers = covered_by_moving[_slice(window)] if covered_by_moving is not None else None
                    found[index] = still.truth(index, whole, window, covers)
                    if covered_by_still is not None:
                        covered_by_still[_slice(window)] |= whole
            elif covered_by_moving is not None and covered_by_still is not None:
                moved = _Moved(self._moving[position], groups[position], scene)
                here = _slice(moved.window)
                covers = covered_by_moving[here] | covered_by_still[here]
                for index in group.members:
                    found[index] = moved.truth(index, moved.mask(index, moved.window), moved.window, covers)
                covered_by_moving[here] |= _any(moved.maps)
        return [found[index] for index in range(len(scene.objects))]


class _Moved:
    """A layer after its motion.

    Attributes:
        window: the part of the frame that it can reach.
        maps: the label maps in that window.
        boxes: float64 (members, 4): the boxes of the whole members, as x1, y1, x2, y2.
    """

    def __init__(self, layer: Layer, matrix: Matrix, scene: Scene) -> None:
        self.layer, self.matrix, self.scene = layer, matrix, scene
        points = cv2.perspectiveTransform(layer.hulls[None], matrix)[0]
        low = np.minimum.reduceat(points, layer.starts, axis=0)
        high = np.maximum.reduceat(points, layer.starts, axis=0)
        self.boxes = np.concatenate([low, high], axis=1) + 0.5
        size = np.array([scene.width, scene.height] * 2)
        self._windows = np.clip(
            np.concatenate([np.floor(low) - 1, np.ceil(high) + 2], axis=1).astype(np.int64), 0, size
        ).tolist()
        left, top = (min(box[side] for box in self._windows) for side in (0, 1))
        right, bottom = (max(box[side] for box in self._windows) for side in (2, 3))
        self.window: Box = (left, top, right - left, bottom - top)
        self.maps = _warped(layer, matrix, self.window)
        self._determinant = abs(float(np.linalg.det(matrix)))

    def window_of(self, index: int) -> Box:
        """The part of the frame that one member can reach."""
        left, top, right, bottom = self._windows[self.layer.place_of[index]]
        return left, top, right - left, bottom - top

    def mask(self, index: int, window: Box) -> Mask:
        """A member's whole mask in a part of the frame."""
        x, y = window[0] - self.window[0], window[1] - self.window[1]
        number, label = self.maps.places[self.layer.place_of[index]]
        return _equal(self.maps.maps[number][y : y + window[3], x : x + window[2]], label)

    def truth(self, index: int, whole: Mask, window: Box, covers: Mask | None) -> ObjectTruth:
        """The truth of a member from its whole mask and what is in front of it, both in a window of the frame."""
        visible = whole if covers is None else whole & ~covers
        inside = int(cv2.countNonZero(whole))
        area = inside if covers is None else int(cv2.countNonZero(visible))
        box = [int(v) for v in cv2.boundingRect(visible)] if area else [0, 0, 0, 0]
        if area:
            box[0] += window[0]
            box[1] += window[1]
        x1, y1, x2, y2 = self.boxes[self.layer.place_of[index]].tolist()
        full = moved_area(self.scene.objects[index], self.matrix, self._determinant)
        return ObjectTruth(
            box=box,
            area=area,
            visibility=round(min(area / max(full, 1e-9), 1.0), 4),
            amodal_box=[round(v, 1) for v in (x1, y1, x2 - x1, y2 - y1)],
            occluded=bool(inside and inside - area >= OCCLUDED_FROM * inside),
            outside=not inside,
            window=window,
            mask=visible,
        )


def _layer(scene: Scene, members: Sequence[int]) -> Layer:
    """The label maps of some objects: each goes to the first map that is free where it is."""
    boxes = np.array([scene.objects[index].box for index in members])
    left, top = (int(v) - _PAD for v in boxes[:, :2].min(axis=0))
    right, bottom = (int(v) + _PAD for v in (boxes[:, :2] + boxes[:, 2:]).max(axis=0))
    maps: list[Mask] = []
    labels: list[int] = []
    places: list[tuple[int, int]] = []
    for index in members:
        x, y, width, height = scene.objects[index].box
        here, mask = np.s_[y - top : y - top + height, x - left : x - left + width], scene.objects[index].mask > 0
        for number, one in enumerate(maps):
            # The last label is kept for what belongs to no object.
            if labels[number] < LAST_LABEL - 1 and not np.any(mask & (one[here] != BACKGROUND)):
                break
        else:
            number = len(maps)
            maps.append(np.full((bottom - top, right - left), BACKGROUND, np.uint8))
            labels.append(BACKGROUND)
        labels[number] += 1
        maps[number][here][mask] = labels[number]
        places.append((number, labels[number]))
    hulls = [scene.objects[index].hull for index in members]
    starts = np.cumsum([0, *(len(hull) for hull in hulls[:-1])])
    return Layer(
        tuple(members), LabelMaps(tuple(maps), tuple(places)), (left, top), np.concatenate(hulls), np.asarray(starts)
    )


def _moving_layer(scene: Scene, position: int) -> Layer:
    """A group's label maps. The gaps between its members move with it: they cover what is behind, too."""
    group = scene.groups[position]
    layer = _layer(scene, group.members)
    if len(group.members) > 1:
        first = layer.maps.maps[0]
        shape = np.pad(scene.group_mask(position)[_slice(group.box)], _PAD)
        gaps = (shape > 0) & (_any(layer.maps) == 0)
        first[gaps] = LAST_LABEL
    return layer


def moved_area(item: SceneObject, matrix: Matrix, determinant: float) -> float:
    """Square pixels of a whole object after its motion."""
    area, box, mask = item.area, item.box, item.mask
    if not matrix[2, 0] and not matrix[2, 1]:
        return float(area * determinant / abs(float(matrix[2, 2])) ** 3)
    y, x = np.nonzero(mask)
    depth = matrix[2, 0] * (x + box[0]) + matrix[2, 1] * (y + box[1]) + matrix[2, 2]
    return float(np.sum(determinant / np.abs(depth) ** 3))


def hull_window(scene: Scene, members: Sequence[int], matrix: Matrix, margin: int = 1) -> Box:
    """The part of the frame that some objects can reach after their motion; width or height 0 if they are outside."""
    hulls = np.concatenate([scene.objects[index].hull for index in members])
    points = cv2.perspectiveTransform(hulls[None], matrix)[0]
    low = np.floor(points.min(axis=0)).astype(int) - margin
    high = np.ceil(points.max(axis=0)).astype(int) + 1 + margin
    left, top = min(max(int(low[0]), 0), scene.width), min(max(int(low[1]), 0), scene.height)
    right, bottom = min(max(int(high[0]), 0), scene.width), min(max(int(high[1]), 0), scene.height)
    return left, top, max(right - left, 0), max(bottom - top, 0)


def _warped(layer: Layer, matrix: Matrix, window: Box) -> LabelMaps:
    """A layer's label maps after its motion, in a window of the frame."""
    x, y, width, height = window
    if not width or not height:
        empty = np.zeros((height, width), np.uint8)
        return LabelMaps(tuple(empty for _ in layer.maps.maps), layer.maps.places)
    if np.array_equal(matrix, np.eye(3)):
        here = np.s_[y - layer.corner[1] :, x - layer.corner[0] :]
        return LabelMaps(tuple(one[here][:height, :width] for one in layer.maps.maps), layer.maps.places)
    placed = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]], np.float64) @ matrix
    placed = placed @ np.array([[1, 0, layer.corner[0]], [0, 1, layer.corner[1]], [0, 0, 1]], np.float64)
    warped = tuple(
        np.asarray(
            cv2.warpPerspective(
                one, placed, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0
            ),
            np.uint8,
        )
        for one in layer.maps.maps
    )
    return LabelMaps(warped, layer.maps.places)


def _any(maps: LabelMaps) -> Mask:
    """Where any object is, uint8, 255 or 0."""
    found = np.zeros(maps.maps[0].shape, np.bool_)
    for one in maps.maps:
        found |= one > BACKGROUND
    return np.asarray(found.view(np.uint8) * np.uint8(255))


def _equal(labels: NDArray[np.uint8], label: int) -> Mask:
    # Not by OpenCV: it takes a window of four pixels for a scalar.
    return np.asarray((labels == label).view(np.uint8) * np.uint8(255))


def _slice(window: Box) -> tuple[slice, slice]:
    x, y, width, height = window
    return np.s_[y : y + height, x : x + width]
