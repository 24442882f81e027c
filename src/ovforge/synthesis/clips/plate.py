"""The background plate: the photograph without the objects that move, completed once for all frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.synthesis.clips.layers import Mask, Scene
from ovforge.synthesis.fill import complete_background

SMALLEST_GROWTH, LARGEST_GROWTH = 8, 16
"""Pixels by which a hole is larger than the object's mask: the mask's error, the rim and the nearest shadow."""
FEATHER = 2
"""Pixels over which the completed part of a plate passes into the photograph."""


@dataclass(frozen=True)
class Plate:
    """What is behind everything that moves.

    Attributes:
        image: uint8 RGB; the photograph, larger by a margin where the camera looks beyond it.
        corner: x, y of its upper left pixel in the photograph's plane: 0, 0 or negative.
        hole: uint8, of the image's size, 255 where the photograph's own pixels are not kept.
    """

    image: NDArray[np.uint8]
    corner: tuple[int, int]
    hole: Mask


def make_plate(image: NDArray[np.uint8], scene: Scene, margins: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Plate:
    """Take the objects that move out of a photograph and complete what was behind them.

    Objects that stay are hidden from the completion, so that no part of one is copied into a hole.

    Args:
        image: uint8 RGB (height, width, 3).
        margins: pixels by which the plate is larger than the image: top, bottom, left, right.
    """
    moving = [index for position in scene.moving() for index in scene.groups[position].members]
    staying = [index for group in scene.groups if not group.moves for index in group.members]
    top, bottom, left, right = margins
    hole = np.zeros((scene.height, scene.width), np.uint8)
    for position in scene.moving():
        members = scene.groups[position].members
        hole |= _grow(scene.group_mask(position), sum(scene.objects[index].area for index in members))
    still = scene.union(staying)
    hole[still > 0] = 0
    border = (top, bottom, left, right)
    wide = cv2.copyMakeBorder(image, *border, cv2.BORDER_REPLICATE)
    wide_hole = np.asarray(cv2.copyMakeBorder(hole, *border, cv2.BORDER_CONSTANT, value=255), np.uint8)
    corner = (-left, -top)
    if not moving and not any(margins):
        return Plate(image, corner, wide_hole)
    hidden = wide_hole | cv2.copyMakeBorder(
        _grow(still, 0) if staying else still, *border, cv2.BORDER_CONSTANT, value=255
    )
    completed = complete_background(np.asarray(wide, np.uint8), hidden)
    return Plate(_joined(np.asarray(wide, np.uint8), completed, wide_hole), corner, wide_hole)


def replace_missing(plate: Plate, background: NDArray[np.uint8]) -> Plate:
    """The plate with another background in its holes; outside them the photograph's own pixels stay."""
    return Plate(_joined(plate.image, background, plate.hole), plate.corner, plate.hole)


def _grow(mask: Mask, area: int) -> Mask:
    reach = int(np.clip(round(0.05 * area**0.5), SMALLEST_GROWTH, LARGEST_GROWTH))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.dilate(mask, kernel), np.uint8)


def _joined(image: NDArray[np.uint8], completed: NDArray[np.uint8], hole: Mask) -> NDArray[np.uint8]:
    """The photograph outside the holes, the completed background inside, with a soft transition inside the holes."""
    size = 2 * FEATHER + 1
    inner = cv2.erode(hole, np.ones((size, size), np.uint8), borderType=cv2.BORDER_REPLICATE)
    weight = cv2.GaussianBlur(inner, (size, size), FEATHER / 2)
    weight3 = cv2.merge([weight, weight, weight])
    kept = cv2.multiply(image, cv2.bitwise_not(weight3), scale=1 / 255)
    return np.asarray(cv2.add(kept, cv2.multiply(completed, weight3, scale=1 / 255)), np.uint8)
