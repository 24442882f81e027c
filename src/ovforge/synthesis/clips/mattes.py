"""Soft-edged cut-outs: an object's colours with its opacity, free of the colours that were behind it.

A mask's edge is off by a pixel or so, and the pixels along it mix the object with its background. So the opacity
falls off just inside the mask, and the colours of the rim are taken from further inside: neither a halo of the old
background nor a hard step is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.synthesis.clips.layers import Box, Mask

MARGIN = 4
"""Pixels around a cut-out's mask, so that its soft edge ends inside the array."""

_INSET = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
_CORE = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


@dataclass(frozen=True)
class Sprite:
    """A cut-out.

    Attributes:
        pixels: uint8 (height, width, 4): red, green, blue, each already times the opacity, and the opacity.
        corner: x, y of its upper left pixel in the image's plane; may be outside the image.
    """

    pixels: NDArray[np.uint8]
    corner: tuple[int, int]


def opacity(mask: Mask) -> Mask:
    """The soft edge of a mask, uint8 (height, width): 255 inside, falling to 0 within two pixels around its edge."""
    inset = cv2.erode(mask, _INSET)  # not from the image's border: what that cuts off goes on behind it
    return np.asarray(cv2.GaussianBlur(inset, (5, 5), 1.0, borderType=cv2.BORDER_REPLICATE), np.uint8)


def cut_out(image: NDArray[np.uint8], mask: Mask, box: Box) -> Sprite:
    """Cut an object out of an image.

    Args:
        image: uint8 RGB (height, width, 3).
        mask: uint8 (height, width), 255 where the object is.
        box: around the mask's pixels.
    """
    x, y, width, height = box
    top, left, bottom, right = _grown(box, mask.shape[1], mask.shape[0])
    pads = (top - (y - MARGIN), y + height + MARGIN - bottom, left - (x - MARGIN), x + width + MARGIN - right)
    colours = cv2.copyMakeBorder(image[top:bottom, left:right], *pads, cv2.BORDER_REPLICATE)
    shape = cv2.copyMakeBorder(mask[top:bottom, left:right], *pads, cv2.BORDER_CONSTANT, value=0)
    soft = opacity(np.asarray(shape, np.uint8))
    clean = _clean_rim(np.asarray(colours, np.uint8), np.asarray(shape, np.uint8))
    premultiplied = cv2.multiply(clean, cv2.merge([soft, soft, soft]), scale=1 / 255)
    return Sprite(np.dstack([premultiplied, soft]), (x - MARGIN, y - MARGIN))


def _grown(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    x, y, box_width, box_height = box
    return (
        max(y - MARGIN, 0),
        max(x - MARGIN, 0),
        min(y + box_height + MARGIN, height),
        min(x + box_width + MARGIN, width),
    )


def _clean_rim(colours: NDArray[np.uint8], mask: Mask) -> NDArray[np.uint8]:
    """Replace the colours of a mask's rim, and what is just outside it, by those of the nearby inside."""
    core = cv2.erode(mask, _CORE, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    result = colours.copy()
    rim = cv2.dilate(mask, _INSET) & ~core
    # Thin parts have no core near enough: there the mask itself has to do.
    for inside, size in ((core, 9), (mask, 15)):
        known = cv2.copyTo(cv2.cvtColor(colours, cv2.COLOR_RGB2RGBA), inside)  # the fourth channel is 255 there
        spread = cv2.blur(known, (size, size))
        here = np.flatnonzero((rim > 0) & (spread[..., 3] >= _LEAST_WEIGHT))
        taken = spread.reshape(-1, 4)[here].astype(np.float32)
        means = taken[:, :3] * (255 / taken[:, 3:])
        result.reshape(-1, 3)[here] = np.clip(np.rint(means), 0, 255).astype(np.uint8)
        rim.reshape(-1)[here] = 0
        if not cv2.countNonZero(rim):
            break
    return result


_LEAST_WEIGHT = 12
"""Of 255: less of the inside around a pixel of the rim says too little of its colour."""
