"""The frames of a clip, one after the other: the background, then the layers from back to front, then the looks.

One warp for the background and one for each group that moves, each only where it can be seen; pixels and masks are
moved by the same matrices. A frame is made when it is asked for, so memory does not depend on their number.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.synthesis.clips.layers import Box, Group, Mask, Scene
from ovforge.synthesis.clips.looks import LONGEST_BLUR, Looks, develop, exposures, warp_blurred
from ovforge.synthesis.clips.mattes import MARGIN, Sprite, cut_out, opacity
from ovforge.synthesis.clips.motion import Paths
from ovforge.synthesis.clips.plate import Plate
from ovforge.synthesis.clips.truth import ObjectTruth, Truth, hull_window

Image = NDArray[np.uint8]

SMALL_FROM = 0.6
"""A sprite shown at less than this scale is first shrunk by pixel area: bilinear warps would skip pixels."""

_SOFT = 2 * MARGIN + math.ceil(LONGEST_BLUR / 2)
"""Pixels around a group's masks that its soft, blurred cut-out can reach; at larger scales its edge grows, too."""


@dataclass(frozen=True)
class Frame:
    """One frame: uint8 RGB (height, width, 3), and the truth of every object in the scene's order."""

    image: Image
    objects: list[ObjectTruth]


def render(image: Image, scene: Scene, *, plate: Plate, paths: Paths, looks: Looks) -> Iterator[Frame]:
    """Render a clip; frame 0 is the image as it is.

    Args:
        image: uint8 RGB (height, width, 3).
    """
    truth = Truth(scene)
    yield Frame(image, truth.frame(np.eye(3), [np.eye(3)] * len(scene.groups)))
    layers = _layers(image, scene, plate, paths, looks)
    for number in range(1, len(paths.camera)):
        painted = _paint(scene, layers, paths, number)
        tone = paths.tones[number] if paths.tones else (0.0, 1.0)
        matrices = [matrices[number] for matrices in paths.groups]
        yield Frame(develop(painted, looks, number, tone), truth.frame(paths.camera[number], matrices))


@dataclass(frozen=True)
class _Cut:
    """A group as it is painted: cut out if it moves, or else only its opacity, to bring the background back."""

    position: int
    group: Group
    sprites: tuple[tuple[Image, NDArray[np.float64]], ...]
    """At full and at half size, each with the matrix from its pixels to the image's. Empty: the group stays."""
    opacity: Mask | None
    blur: NDArray[np.float64]


@dataclass(frozen=True)
class _Layers:
    plate: Image
    """With a fourth channel that says nothing: OpenCV warps four channels faster than three."""
    from_plate: NDArray[np.float64]
    blur: NDArray[np.float64]
    cuts: tuple[_Cut, ...]
    """From back to front."""

    @functools.cached_property
    def keeps_background(self) -> bool:
        """Whether a frame's background is needed once more, after something has been painted over it."""
        return any(cut.opacity is not None for cut in self.cuts)


def _layers(image: Image, scene: Scene, plate: Plate, paths: Paths, looks: Looks) -> _Layers:
    order = sorted(range(len(scene.groups)), key=lambda p: (scene.groups[p].nearness, -p))
    moving = scene.moving()
    furthest = min((scene.groups[p].nearness for p in moving), default=float("inf"))
    middle = ((scene.width - 1) / 2, (scene.height - 1) / 2)
    camera_blur = exposures(paths.camera, middle, looks.exposure)
    cuts = []
    for position in order:
        group = scene.groups[position]
        if group.moves:
            mask = scene.group_mask(position)
            sprites = _sizes(cut_out(image, mask, group.box))
            centre = (group.box[0] + group.box[2] / 2, group.box[1] + group.box[3] / 2)
            blur = exposures(paths.groups[position], centre, looks.exposure)
            cuts.append(_Cut(position, group, sprites, None, blur))
        elif group.nearness > furthest:  # something may pass behind it
            cuts.append(_Cut(position, group, (), opacity(scene.union(group.members)), camera_blur))
    return _Layers(
        np.asarray(cv2.cvtColor(plate.image, cv2.COLOR_RGB2RGBA), np.uint8),
        np.array([[1, 0, plate.corner[0]], [0, 1, plate.corner[1]], [0, 0, 1]], np.float64),
        camera_blur,
        tuple(cuts),
    )


def _sizes(sprite: Sprite) -> tuple[tuple[Image, NDArray[np.float64]], ...]:
    height, width = sprite.pixels.shape[:2]
    place = np.array([[1, 0, sprite.corner[0]], [0, 1, sprite.corner[1]], [0, 0, 1]], np.float64)
    half = cv2.resize(sprite.pixels, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    x, y = width / half.shape[1], height / half.shape[0]
    grow = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]], np.float64)
    return (sprite.pixels, place), (np.asarray(half, np.uint8), place @ grow)


def _paint(scene: Scene, layers: _Layers, paths: Paths, number: int) -> Image:
    """One frame without its looks, uint8 (height, width, 4); the fourth channel says nothing."""
    camera = paths.camera[number]
    whole = (0, 0, scene.width, scene.height)
    background = warp_blurred(
        layers.plate, camera @ layers.from_plate, whole, layers.blur[number], cv2.BORDER_REPLICATE
    )
    painted = background.copy() if background is layers.plate and layers.cuts else background
    touched: list[Box] = []
    for cut in layers.cuts:
        matrix = paths.groups[cut.position][number]
        window = hull_window(scene, cut.group.members, matrix, margin=_SOFT)
        if not window[2] or not window[3]:
            continue
        if cut.sprites:
            if painted is background and layers.keeps_background:
                painted = background.copy()
            _paint_sprite(painted, cut, matrix, window, number)
            touched.append(window)
        elif cut.opacity is not None and any(_overlap(window, other) for other in touched):
            _bring_back(painted, background, cut.opacity, matrix, window)
    return painted


def _paint_sprite(painted: Image, cut: _Cut, matrix: NDArray[np.float64], window: Box, number: int) -> None:
    x, y, width, height = window
    scale = abs(float(np.linalg.det(matrix[:2, :2]))) ** 0.5
    pixels, place = cut.sprites[1 if scale < SMALL_FROM else 0]
    moved = warp_blurred(pixels, matrix @ place, window, cut.blur[number], cv2.BORDER_CONSTANT)
    here = painted[y : y + height, x : x + width]
    through = cv2.bitwise_not(cv2.extractChannel(moved, 3))
    kept = cv2.multiply(here, cv2.merge([through] * 4), scale=1 / 255)
    cv2.add(kept, moved, dst=here)


def _bring_back(painted: Image, background: Image, shape: Mask, matrix: NDArray[np.float64], window: Box) -> None:
    """Paint what stays in the background over what has passed behind it."""
    x, y, width, height = window
    soft = warp_blurred(shape, matrix, window, np.zeros(2), cv2.BORDER_REPLICATE)
    here, behind = painted[y : y + height, x : x + width], background[y : y + height, x : x + width]
    kept = cv2.multiply(here, cv2.merge([cv2.bitwise_not(soft)] * 4), scale=1 / 255)
    cv2.add(kept, cv2.multiply(behind, cv2.merge([soft] * 4), scale=1 / 255), dst=here)


def _overlap(first: Box, second: Box) -> bool:
    return (
        first[0] < second[0] + second[2]
        and second[0] < first[0] + first[2]
        and first[1] < second[1] + second[3]
        and second[1] < first[1] + first[3]
    )
