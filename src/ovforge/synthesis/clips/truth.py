"""The truth of a frame: of every object its visible mask, its box, the box of the whole object, and its visibility.

Masks are moved as the pixels are (`label_maps`). What lies in
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

from ovforge.synthesis.clips.label_maps import LabelMap, MovedMap, inside, label_maps
from ovforge.synthesis.clips.layers import Box, Mask, Scene, SceneObject, shared
from ovforge.synthesis.clips.looks import is_identity

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


class Truth:
    """What is needed to tell the truth of any frame of one scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        still = [index for group in scene.groups if not group.moves for index in group.members]
        self._still = label_maps(scene, still) if still else []
        self._moving = {position: _maps_of_group(scene, position) for position in scene.moving()}
        # From front to back.
        self._order = sorted(range(len(scene.groups)), key=lambda p: (-scene.groups[p].nearness, p))
        self._last_moving = max((place for place, p in enumerate(self._order) if scene.groups[p].moves), default=-1)

    @functools.cached_property
    def _resting(self) -> _Moved:
        """What stays, where the camera stands still."""
        return _Moved(self._still, np.eye(3), self.scene)

    def frame(self, camera: Matrix, groups: Sequence[Matrix]) -> list[ObjectTruth]:
        """The truth of the frame in which the camera and each group have the given matrices, in the objects' order."""
        scene = self.scene
        still = self._resting if is_identity(camera) else _Moved(self._still, camera, scene)
        found: dict[int, ObjectTruth] = {}
        # What has been met on the way from front to back.
        moving: list[tuple[Box, Mask]] = []
        staying: list[tuple[Box, Mask]] = []
        for place, position in enumerate(self._order):
            group = scene.groups[position]
            if group.moves:
                moved = _Moved(self._moving[position], groups[position], scene)
                for index in group.members:
                    found[index] = moved.truth(index, (*moving, *staying))
                moving += moved.covered()
            else:
                for index in group.members:
                    found[index] = still.truth(index, moving)
                    if place < self._last_moving:
                        staying.append(still.whole(index))
        return [found[index] for index in range(len(scene.objects))]


class _Moved:
    """Objects that move together, after their motion."""

    def __init__(self, maps: Sequence[LabelMap], matrix: Matrix, scene: Scene) -> None:
        self._scene, self._matrix = scene, matrix
        self._determinant = abs(float(cv2.determinant(matrix)))
        self._maps = [MovedMap(one, matrix, scene.size) for one in maps]
        self._map_of = {index: one for one in self._maps for index in one.bounds}
        self._uncovered: dict[int, ObjectTruth] = {}

    def whole(self, index: int) -> tuple[Box, Mask]:
        """A window of the frame and a whole object's mask in it."""
        return self._map_of[index].window_of(index), self._map_of[index].mask(index)

    def covered(self) -> list[tuple[Box, Mask]]:
        """What all together cover of the frame."""
        return [one.covered() for one in self._maps]

    def truth(self, index: int, in_front: Sequence[tuple[Box, Mask]]) -> ObjectTruth:
        """The truth of an object, from its whole mask and what may cover it."""
        free = _free(self._map_of[index].window_of(index), in_front)
        if free is not None:
            return self._truth(index, free)
        truth = self._uncovered.get(index)
        if truth is None:
            truth = self._uncovered[index] = self._truth(index, None)
        return truth

    def _truth(self, index: int, free: Mask | None) -> ObjectTruth:
        window, whole = self.whole(index)
        visible = whole if free is None else whole & free
        in_frame = cv2.countNonZero(whole)
        area = in_frame if free is None else cv2.countNonZero(visible)
        box = [0, 0, 0, 0]
        if area:
            x, y, width, height = cv2.boundingRect(visible)
            box = [x + window[0], y + window[1], width, height]
        left, top, right, bottom = self._map_of[index].bounds[index]
        full = moved_area(self._scene.objects[index], self._matrix, self._determinant)
        return ObjectTruth(
            box=box,
            area=area,
            visibility=round(min(area / max(full, 1e-9), 1.0), 4),
            amodal_box=[round(v, 1) for v in (left + 0.5, top + 0.5, right - left, bottom - top)],
            occluded=in_frame > 0 and in_frame - area >= OCCLUDED_FROM * in_frame,
            outside=not in_frame,
            window=window,
            mask=visible,
        )


def _free(window: Box, in_front: Sequence[tuple[Box, Mask]]) -> Mask | None:
    """What of a window nothing covers, uint8, 255 or 0; None: all of it."""
    free = None
    for place, mask in in_front:
        common = shared(window, place)
        if common is not None:
            if free is None:
                free = np.full((window[3], window[2]), 255, np.uint8)
            free[inside(common, window)] &= ~mask[inside(common, place)]
    return free


def _maps_of_group(scene: Scene, position: int) -> list[LabelMap]:
    """A group's label maps. The gaps between its members move with it: they cover what is behind, too."""
    members = scene.groups[position].members
    return label_maps(scene, members, scene.group_mask(position) if len(members) > 1 else None)


def moved_area(item: SceneObject, matrix: Matrix, determinant: float) -> float:
    """Square pixels of a whole object after its motion."""
    area, box, mask = item.area, item.box, item.mask
    if not matrix[2, 0] and not matrix[2, 1]:
        return float(area * determinant / abs(float(matrix[2, 2])) ** 3)
    y, x = np.nonzero(mask)
    depth = matrix[2, 0] * (x + box[0]) + matrix[2, 1] * (y + box[1]) + matrix[2, 2]
    return float(np.sum(determinant / np.abs(depth) ** 3))
