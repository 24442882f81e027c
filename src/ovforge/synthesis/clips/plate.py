"""The background plate: the photograph without the objects that move, completed once for all frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.synthesis.clips.layers import Mask, Scene
from ovforge.synthesis.fill import complete_background

SMALLEST_GROWTH, LARGEST_GROWTH = 13, 19
"""Pixels by which a hole is larger than the object's mask: the mask's error, the rim and the nearest shadow."""
AROUND_STAYING = 8
"""Pixels around what stays that nothing is completed from: no part of an object is copied into a hole."""
FEATHER = 2
"""Pixels over which the completed part of a plate passes into what stays, or into the margins."""
SURE = 3
"""Pixels around an object's mask that are completed whole. From there to the hole's rim the completed part passes
slowly into the photograph, so that an object that hardly moves stands in its own surroundings."""


@dataclass(frozen=True)
class Plate:
    """What is behind everything that moves.

    Attributes:
        image: uint8 RGB; the photograph, larger by a margin where the camera looks beyond it.
        corner: x, y of its upper left pixel in the photograph's plane: 0, 0 or negative.
        hole: uint8, of the image's size, 255 where the photograph's own pixels are not kept.
        share: uint8, of the image's size: how much of each pixel is completed; 0 outside the hole. None: by the hole.
    """

    image: NDArray[np.uint8]
    corner: tuple[int, int]
    hole: Mask
    share: Mask | None = None


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
    share = hole.copy()
    for position in scene.moving():
        reach = _reach(sum(scene.objects[index].area for index in scene.groups[position].members))
        mask = scene.group_mask(position)
        hole |= _grow(mask, reach)
        cv2.max(share, _fading(mask, reach), dst=share)
    still = scene.union(staying)
    hole[still > 0] = 0
    border = (top, bottom, left, right)
    wide = np.asarray(cv2.copyMakeBorder(image, *border, cv2.BORDER_REPLICATE), np.uint8)
    wide_hole, wide_share = (
        np.asarray(cv2.copyMakeBorder(one, *border, cv2.BORDER_CONSTANT, value=255), np.uint8) for one in (hole, share)
    )
    corner = (-left, -top)
    if not moving and not any(margins):
        return Plate(image, corner, wide_hole)
    hidden = wide_hole | cv2.copyMakeBorder(
        _grow(still, AROUND_STAYING) if staying else still, *border, cv2.BORDER_CONSTANT, value=255
    )
    share = np.minimum(wide_share, _feathered(wide_hole))
    return Plate(_joined(wide, complete_background(wide, hidden), share), corner, wide_hole, share)


def replace_missing(plate: Plate, background: NDArray[np.uint8]) -> Plate:
    """The plate with another background in its holes; outside them the photograph's own pixels stay."""
    share = _feathered(plate.hole) if plate.share is None else plate.share
    return replace(plate, image=_joined(plate.image, background, share))


def _reach(area: int) -> int:
    return int(np.clip(round(0.05 * area**0.5), SMALLEST_GROWTH, LARGEST_GROWTH))


def _grow(mask: Mask, reach: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.dilate(mask, kernel), np.uint8)


def _fading(mask: Mask, reach: int) -> Mask:
    """255 in a mask and `SURE` pixels around it, falling to 0 at `reach`."""
    wide = (reach - SURE) // 2
    return np.asarray(cv2.blur(_grow(mask, SURE + wide), (2 * wide + 1, 2 * wide + 1)), np.uint8)


def _feathered(hole: Mask) -> Mask:
    """How much of each pixel is completed: nothing outside a hole, all of it a little further inside."""
    size = 2 * FEATHER + 1
    inner = cv2.erode(hole, np.ones((size, size), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.GaussianBlur(inner, (size, size), FEATHER / 2), np.uint8)


def _joined(image: NDArray[np.uint8], completed: NDArray[np.uint8], share: Mask) -> NDArray[np.uint8]:
    """The completed background by its share, the photograph for the rest."""
    share3 = cv2.merge([share, share, share])
    kept = cv2.multiply(image, cv2.bitwise_not(share3), scale=1 / 255)
    return np.asarray(cv2.add(kept, cv2.multiply(completed, share3, scale=1 / 255)), np.uint8)
