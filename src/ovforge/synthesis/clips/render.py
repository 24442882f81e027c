"""The frames of a clip, one after the other: the background, then the layers from back to front, then the looks.

One warp for the background and one for each group that moves, each only where it can be seen; pixels and masks are
moved by the same matrices. A frame is made when it is asked for, so memory does not depend on their number.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.synthesis.clips.label_maps import Hulls, window_around
from ovforge.synthesis.clips.layers import Box, Mask, Scene, around, shared
from ovforge.synthesis.clips.looks import Looks, develop, exposures, make_grain, warp_blurred
from ovforge.synthesis.clips.mattes import SOFT_EDGE, Sprite, cut_out, opacity
from ovforge.synthesis.clips.motion import Matrices, Paths
from ovforge.synthesis.clips.plate import Plate
from ovforge.synthesis.clips.truth import ObjectTruth, Truth

Image = NDArray[np.uint8]

SMALL_FROM = 0.6
"""A sprite shown at less than this scale is first shrunk by pixel area: bilinear warps would skip pixels."""
_AROUND_STAYING = 4
"""Pixels around the masks of what stays; what is brought back further out is the background as it is."""


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
    grain = make_grain(looks, scene.height, scene.width)
    for number in range(1, len(paths.camera)):
        painted = _paint(scene, layers, paths, number)
        tone = paths.tones[number] if paths.tones else (0.0, 1.0)
        matrices = [matrices[number] for matrices in paths.groups]
        yield Frame(develop(painted, looks, number, grain, tone), truth.frame(paths.camera[number], matrices))


@dataclass(frozen=True)
class _Moving:
    """A group that moves, as it is painted."""

    position: int
    hulls: Hulls
    sprites: tuple[tuple[Image, NDArray[np.float64]], ...]
    """At full and, if it is needed, at half size, each with the matrix from its pixels to the image's."""
    blur: NDArray[np.float64]
    scales: list[float]
    """Of each frame, in length."""

    def reach(self, number: int) -> int:
        """Pixels of a frame around the group's masks that its soft, blurred edge can reach."""
        return 2 + math.ceil(SOFT_EDGE * self.scales[number] + math.hypot(*self.blur[number]) / 2)


@dataclass(frozen=True)
class _Staying:
    """Objects that stay and are nearer than something that moves: the background is brought back over that one."""

    scene: Scene
    hulls: Hulls

    @functools.cached_property
    def opacity(self) -> Mask:
        """Their soft-edged mask, uint8 (height, width)."""
        return opacity(self.scene.union(self.hulls.members))


@dataclass(frozen=True)
class _Layers:
    plate: Image
    """With a fourth channel that says nothing: OpenCV warps four channels faster than three."""
    from_plate: NDArray[np.float64]
    blur: NDArray[np.float64]
    cuts: tuple[_Moving | _Staying, ...]
    """From back to front."""

    @functools.cached_property
    def keeps_background(self) -> bool:
        """Whether a frame's background is needed once more, after something has been painted over it."""
        return any(isinstance(cut, _Staying) for cut in self.cuts)


def _layers(image: Image, scene: Scene, plate: Plate, paths: Paths, looks: Looks) -> _Layers:
    middle = ((scene.width - 1) / 2, (scene.height - 1) / 2)
    cuts: list[_Moving | _Staying] = []
    staying: list[int] = []
    for position in sorted(range(len(scene.groups)), key=lambda p: (scene.groups[p].nearness, -p)):
        group = scene.groups[position]
        if not group.moves:
            staying += group.members if cuts else ()  # what is behind all that moves covers nothing
            continue
        if staying:
            cuts.append(_Staying(scene, Hulls.of(scene, staying)))
            staying = []
        centre = (group.box[0] + group.box[2] / 2, group.box[1] + group.box[3] / 2)
        scales = _scales(paths.groups[position])
        cuts.append(
            _Moving(
                position,
                Hulls.of(scene, group.members),
                _sizes(cut_out(image, scene.group_mask(position), group.box), scales),
                exposures(paths.groups[position], centre, looks.exposure),
                scales,
            )
        )
    if staying:
        cuts.append(_Staying(scene, Hulls.of(scene, staying)))
    return _Layers(
        np.asarray(cv2.cvtColor(plate.image, cv2.COLOR_RGB2RGBA), np.uint8),
        np.array([[1, 0, plate.corner[0]], [0, 1, plate.corner[1]], [0, 0, 1]], np.float64),
        exposures(paths.camera, middle, looks.exposure),
        tuple(cuts),
    )


def _scales(matrices: Matrices) -> list[float]:
    return [abs(a * d - b * c) ** 0.5 for (a, b), (c, d) in matrices[:, :2, :2].tolist()]


def _sizes(sprite: Sprite, scales: Sequence[float]) -> tuple[tuple[Image, NDArray[np.float64]], ...]:
    height, width = sprite.pixels.shape[:2]
    place = np.array([[1, 0, sprite.corner[0]], [0, 1, sprite.corner[1]], [0, 0, 1]], np.float64)
    if min(scales) >= SMALL_FROM:
        return ((sprite.pixels, place),)
    half = cv2.resize(sprite.pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    grow = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]], np.float64)
    return (sprite.pixels, place), (np.asarray(half, np.uint8), place @ grow)


def _paint(scene: Scene, layers: _Layers, paths: Paths, number: int) -> Image:
    """One frame without its looks, uint8 (height, width, 4); the fourth channel says nothing."""
    camera = paths.camera[number]
    whole = (0, 0, scene.width, scene.height)
    background = warp_blurred(
        layers.plate, camera @ layers.from_plate, whole, layers.blur[number], cv2.BORDER_REPLICATE
    )
    painted = background
    if layers.cuts and (layers.keeps_background or np.may_share_memory(background, layers.plate)):
        painted = background.copy()
    touched: list[Box] = []
    for cut in layers.cuts:
        if isinstance(cut, _Moving):
            matrix = paths.groups[cut.position][number]
            window = cut.hulls.window(matrix, scene.size, cut.reach(number))
            if window[2] and window[3]:
                _paint_sprite(painted, cut, matrix, window, number)
                touched.append(window)
        elif touched:
            windows = [window_around(bounds, scene.size, _AROUND_STAYING) for bounds in cut.hulls.bounds(camera)]
            covered = [box for window in windows for other in touched if (box := shared(window, other)) is not None]
            if covered:
                _bring_back(painted, background, cut.opacity, camera, around(covered))
    return painted


def _paint_sprite(painted: Image, cut: _Moving, matrix: NDArray[np.float64], window: Box, number: int) -> None:
    x, y, width, height = window
    pixels, place = cut.sprites[1 if cut.scales[number] < SMALL_FROM else 0]
    moved = warp_blurred(pixels, matrix @ place, window, cut.blur[number], cv2.BORDER_CONSTANT)
    here = painted[y : y + height, x : x + width]
    through = cv2.bitwise_not(cv2.extractChannel(moved, 3))
    kept = cv2.multiply(here, cv2.merge([through] * 4), scale=1 / 255)
    cv2.add(kept, moved, dst=here)


def _bring_back(painted: Image, background: Image, shape: Mask, matrix: NDArray[np.float64], window: Box) -> None:
    """Paint what stays in the background over what has passed behind it, in a window of the frame."""
    x, y, width, height = window
    soft = warp_blurred(shape, matrix, window, np.zeros(2), cv2.BORDER_REPLICATE)
    if not cv2.countNonZero(soft):
        return
    here, behind = painted[y : y + height, x : x + width], background[y : y + height, x : x + width]
    kept = cv2.multiply(here, cv2.merge([cv2.bitwise_not(soft)] * 4), scale=1 / 255)
    cv2.add(kept, cv2.multiply(behind, cv2.merge([soft] * 4), scale=1 / 255), dst=here)
