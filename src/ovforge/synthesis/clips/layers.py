"""An image divided into what moves by itself and what stays with the background.

Objects that touch or contain one another form a group and move as one: a racket with its player, a cup with its
saucer. A group moves by itself if it is large enough, lies wholly inside the image and is no crowd region. All other
objects stay where the photograph has them and move with the camera only: what is cut off by the image's edge
must never come away from it, and small objects give no usable cut-out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Mask = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""x, y, width, height in whole pixels."""

TOUCH = 1
"""Pixels: two objects touch where their masks are at most twice this far apart."""
EDGE = 2
"""Pixels: an object that is so near to the image's edge is taken to be cut off by it."""
LEAST_AREA = 48.0**2
"""Square pixels: smaller objects give no usable cut-out."""
LARGEST_SHARE = 0.4
"""Of the image's area: a larger group stays with the background, as too little would be left to complete it from."""
LARGEST_SUM = 0.55
"""Of the image's area: all groups that move, together."""
TOO_LARGE = "too large: too little would be left to complete the background from"


@dataclass(frozen=True)
class SceneObject:
    """One annotated object.

    Attributes:
        box: of its mask.
        mask: uint8 (box height, box width), 255 where the object is.
        area: pixels of the mask.
        hull: float64 (n, 2), the corners of the convex hull of its pixels' squares, as x, y with pixel centres at
            whole numbers: what is needed for the box of the whole object wherever it is moved to.
    """

    box: Box
    mask: Mask
    area: int
    hull: NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Objects that move as one.

    Attributes:
        members: positions in the scene's objects.
        box: around all members' masks.
        why_not: why the group has no path of its own; empty if it has one.
        nearness: orders groups by depth: of two groups, the one with the larger number is in front.
    """

    members: tuple[int, ...]
    box: Box
    why_not: str
    nearness: float

    @property
    def moves(self) -> bool:
        """Whether the group has a path of its own."""
        return not self.why_not


@dataclass(frozen=True)
class Scene:
    """An image's objects and their groups; every object is in one group."""

    width: int
    height: int
    objects: tuple[SceneObject, ...]
    groups: tuple[Group, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height

    def union(self, members: Sequence[int]) -> Mask:
        """The union of some objects' masks, uint8 (height, width), 255 or 0."""
        union = np.zeros((self.height, self.width), np.uint8)
        for index in members:
            paste(union, self.objects[index])
        return union

    def group_mask(self, position: int) -> Mask:
        """What moves with a group: its members' masks and the narrow gaps between them, uint8 (height, width)."""
        members = self.groups[position].members
        union = self.union(members)
        if len(members) == 1:
            return union
        x, y, width, height = self.groups[position].box
        part = np.pad(union[y : y + height, x : x + width], 3 * TOUCH)
        closed = cv2.morphologyEx(part, cv2.MORPH_CLOSE, _GAP)
        union[y : y + height, x : x + width] |= closed[3 * TOUCH : -3 * TOUCH, 3 * TOUCH : -3 * TOUCH]
        return union

    def moving(self) -> list[int]:
        """Positions of the groups that have a path of their own."""
        return [position for position, group in enumerate(self.groups) if group.moves]


def divide(
    rles: Sequence[dict[str, Any]], crowd: Sequence[bool], width: int, height: int, *, min_area: float = LEAST_AREA
) -> Scene:
    """Divide an image's objects into groups and decide which of them move by themselves.

    Args:
        rles: COCO run-length masks, none of them empty.
        crowd: for each whether it is a crowd region.
        width, height: the image's size in pixels.
        min_area: square pixels; the largest member of a group that moves has a larger mask.
    """
    objects = tuple(_object(rle) for rle in rles)
    groups = []
    for members in _touching(objects):
        box = around([objects[index].box for index in members])
        total = sum(objects[index].area for index in members)
        if not _is_inside(box, width, height):
            why_not = "cut off by the image's edge"
        elif not max(objects[index].area for index in members) > min_area:
            why_not = f"none larger than {min_area:g} pixels"
        elif any(crowd[index] for index in members):
            why_not = "a crowd region"
        elif total > LARGEST_SHARE * width * height:
            why_not = TOO_LARGE
        else:
            why_not = ""
        # What stands lower in the image is nearer; of two at one height, the larger.
        nearness = box[1] + box[3] + 1e-6 * total
        groups.append(Group(tuple(members), box, why_not, float(nearness)))
    return Scene(width, height, objects, _limited(groups, objects, width * height))


def paste(canvas: Mask, item: SceneObject) -> None:
    """Add an object's mask to a canvas of the image's size."""
    x, y, width, height = item.box
    canvas[y : y + height, x : x + width] |= item.mask


def _object(rle: dict[str, Any]) -> SceneObject:
    x, y, width, height = (int(v) for v in coco_mask.toBbox(rle))
    mask = np.ascontiguousarray(coco_mask.decode(rle)[y : y + height, x : x + width]) * np.uint8(255)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    points = np.concatenate([contour[:, 0] for contour in contours]) + np.array((x, y))
    corners = np.concatenate([points + offset for offset in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))])
    hull = cv2.convexHull(corners.astype(np.float32))[:, 0]
    return SceneObject((x, y, width, height), mask, int(cv2.countNonZero(mask)), hull.astype(np.float64))


def _touching(objects: Sequence[SceneObject]) -> list[list[int]]:
    """The objects' positions by group: the connected components of the relation "touches"."""
    parent = list(range(len(objects)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for second in range(len(objects)):
        for first in range(second):
            if root(first) != root(second) and _touch(objects[first], objects[second]):
                parent[root(second)] = root(first)
    groups: dict[int, list[int]] = {}
    for index in range(len(objects)):
        groups.setdefault(root(index), []).append(index)
    return list(groups.values())


_GAP = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (4 * TOUCH + 1, 4 * TOUCH + 1))
_REACH = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * TOUCH + 1, 2 * TOUCH + 1))


def _touch(first: SceneObject, second: SceneObject) -> bool:
    left, top = max(first.box[0], second.box[0]) - 2 * TOUCH, max(first.box[1], second.box[1]) - 2 * TOUCH
    right = min(first.box[0] + first.box[2], second.box[0] + second.box[2]) + 2 * TOUCH
    bottom = min(first.box[1] + first.box[3], second.box[1] + second.box[3]) + 2 * TOUCH
    if left >= right or top >= bottom:
        return False
    window = (left, top, right - left, bottom - top)
    near = [cv2.dilate(_window(item, window), _REACH) for item in (first, second)]
    return bool(cv2.countNonZero(cv2.bitwise_and(near[0], near[1])))


def _window(item: SceneObject, window: Box) -> Mask:
    """An object's mask inside a window of the image's plane."""
    part = np.zeros((window[3], window[2]), np.uint8)
    x, y = item.box[0] - window[0], item.box[1] - window[1]
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + item.box[2], window[2]), min(y + item.box[3], window[3])
    if left < right and top < bottom:
        part[top:bottom, left:right] = item.mask[top - y : bottom - y, left - x : right - x]
    return part


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box around some."""
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    return left, top, max(box[0] + box[2] for box in boxes) - left, max(box[1] + box[3] for box in boxes) - top


def shared(first: Box, second: Box) -> Box | None:
    """What two boxes share, or None where they are apart."""
    left, top = max(first[0], second[0]), max(first[1], second[1])
    right, bottom = min(first[0] + first[2], second[0] + second[2]), min(first[1] + first[3], second[1] + second[3])
    return (left, top, right - left, bottom - top) if left < right and top < bottom else None


def _is_inside(box: Box, width: int, height: int) -> bool:
    return box[0] >= EDGE and box[1] >= EDGE and box[0] + box[2] <= width - EDGE and box[1] + box[3] <= height - EDGE


def _limited(groups: Sequence[Group], objects: Sequence[SceneObject], pixels: int) -> tuple[Group, ...]:
    """Let the largest groups stay until what moves leaves enough of the background to complete it from."""
    moving = [position for position, group in enumerate(groups) if group.moves]
    area = {p: sum(objects[index].area for index in groups[p].members) for p in moving}
    moving.sort(key=lambda p: area[p])
    while moving and sum(area[p] for p in moving) > LARGEST_SUM * pixels:
        moving.pop()
    return tuple(
        replace(group, why_not=TOO_LARGE) if group.moves and position not in moving else group
        for position, group in enumerate(groups)
    )
