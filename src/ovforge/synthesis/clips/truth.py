"""The truth of a frame: of every object its visible mask, its box, the box of the whole object, and its visibility.

Masks are moved as the pixels are, by one warp of a label map for each layer and frame (nearest pixel). What lies in
front is taken away from what lies behind; objects of the same group, and objects that stay with the background, do
not cover one another: in the photograph their masks are what one sees of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.synthesis.clips.layers import Box, Mask, Scene, SceneObject
from ovforge.synthesis.masks import BACKGROUND, LAST_LABEL, LabelMaps, stack

OCCLUDED_FROM = 0.1
"""An object counts as occluded where at least this share of what is inside the image is covered."""

Matrix = NDArray[np.float64]


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
    """

    members: tuple[int, ...]
    maps: LabelMaps
    corner: tuple[int, int]


class Truth:
    """What is needed to tell the truth of any frame of one scene."""

    def __init__(self, scene: Scene, rles: Sequence[dict[str, object]]) -> None:
        self.scene = scene
        still = [index for group in scene.groups if not group.moves for index in group.members]
        self._still = self._layer(still, rles, (0, 0, scene.width, scene.height)) if still else None
        self._moving = {position: self._moving_layer(position, rles) for position in scene.moving()}
        self._group_of = {index: p for p, group in enumerate(scene.groups) for index in group.members}
        # From front to back.
        self._order = sorted(range(len(scene.groups)), key=lambda p: (-scene.groups[p].nearness, p))

    def frame(self, camera: Matrix, groups: Sequence[Matrix]) -> list[ObjectTruth]:
        """The truth of the frame in which the camera and each group have the given matrices, in the objects' order."""
        scene = self.scene
        by_moving = np.zeros((scene.height, scene.width), np.uint8)
        by_still = np.zeros_like(by_moving)
        still = _moved(self._still, camera, scene, None) if self._still is not None else None
        found: dict[int, ObjectTruth] = {}
        for position in self._order:
            group = scene.groups[position]
            if group.moves:
                window = hull_window(scene, group.members, groups[position])
                layer = self._moving[position]
                maps = _moved(layer, groups[position], scene, window)
                covers = by_moving[_slice(window)] | by_still[_slice(window)]
                for place, index in enumerate(layer.members):
                    found[index] = self._object(index, maps, place, window, window, groups[position], covers)
                if window[2] and window[3]:
                    by_moving[_slice(window)] |= maps.union()
            elif still is not None and self._still is not None:
                whole = (0, 0, scene.width, scene.height)
                for index in group.members:
                    place = self._still.members.index(index)
                    window = hull_window(scene, [index], camera)
                    covers = by_moving[_slice(window)]
                    found[index] = self._object(index, still, place, whole, window, camera, covers)
                    if self._moving and window[2] and window[3]:
                        by_still[_slice(window)] |= _label(still, place, window)
        return [found[index] for index in range(len(scene.objects))]

    def _object(
        self, index: int, maps: LabelMaps, place: int, maps_window: Box, window: Box, matrix: Matrix, covers: Mask
    ) -> ObjectTruth:
        item = self.scene.objects[index]
        number, label = maps.places[place]
        x, y = window[0] - maps_window[0], window[1] - maps_window[1]
        labels = maps.maps[number][y : y + window[3], x : x + window[2]]
        whole = _equal(labels, label)
        visible = whole & ~covers
        inside, area = int(cv2.countNonZero(whole)), int(cv2.countNonZero(visible))
        box = [int(v) for v in cv2.boundingRect(visible)] if area else [0, 0, 0, 0]
        if area:
            box[0] += window[0]
            box[1] += window[1]
        return ObjectTruth(
            box=box,
            area=area,
            visibility=round(min(area / max(moved_area(item, matrix), 1e-9), 1.0), 4),
            amodal_box=amodal_box(item.hull, matrix),
            occluded=bool(inside and inside - area >= OCCLUDED_FROM * inside),
            outside=not inside,
            window=window,
            mask=visible,
        )

    def _moving_layer(self, position: int, rles: Sequence[dict[str, object]]) -> Layer:
        """A group's label maps. The gaps between its members move with it: they cover what is behind, too."""
        group = self.scene.groups[position]
        layer = self._layer(list(group.members), rles, group.box)
        x, y, width, height = group.box
        gaps = self.scene.labelled(position)[y : y + height, x : x + width] & ~layer.maps.union()
        first = layer.maps.maps[0]
        first[(gaps > 0) & (first == BACKGROUND)] = LAST_LABEL
        return layer

    def _layer(self, members: list[int], rles: Sequence[dict[str, object]], box: Box) -> Layer:
        maps = stack([rles[index] for index in members], self.scene.width, self.scene.height)
        x, y, width, height = box
        cut = tuple(np.ascontiguousarray(one[y : y + height, x : x + width]) for one in maps.maps)
        return Layer(tuple(members), LabelMaps(cut, maps.places), (x, y))


def amodal_box(hull: NDArray[np.float64], matrix: Matrix) -> list[float]:
    """[x, y, width, height] of a whole object after its motion, to a tenth of a pixel."""
    points = cv2.perspectiveTransform(hull[None], matrix)[0]
    low, high = points.min(axis=0) + 0.5, points.max(axis=0) + 0.5
    return [round(float(v), 1) for v in (low[0], low[1], high[0] - low[0], high[1] - low[1])]


def moved_area(item: SceneObject, matrix: Matrix) -> float:
    """Square pixels of a whole object after its motion."""
    area, box, mask = item.area, item.box, item.mask
    determinant = abs(float(np.linalg.det(matrix)))
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


def _moved(layer: Layer, matrix: Matrix, scene: Scene, window: Box | None) -> LabelMaps:
    """A layer's label maps after its motion, in a window of the frame."""
    x, y, width, height = window or (0, 0, scene.width, scene.height)
    if not width or not height:
        empty = np.zeros((height, width), np.uint8)
        return LabelMaps(tuple(empty for _ in layer.maps.maps), layer.maps.places)
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


def _label(maps: LabelMaps, place: int, window: Box) -> Mask:
    """One object's mask in a window of full maps."""
    number, label = maps.places[place]
    return _equal(maps.maps[number][_slice(window)], label)


def _equal(labels: NDArray[np.uint8], label: int) -> Mask:
    # Not by OpenCV: it takes a window of four pixels for a scalar.
    return (labels == label).view(np.uint8) * np.uint8(255)


def _slice(window: Box) -> tuple[slice, slice]:
    x, y, width, height = window
    return np.s_[y : y + height, x : x + width]
