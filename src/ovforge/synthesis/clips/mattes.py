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
SOFT_EDGE = 2
"""Pixels around a mask that its soft edge reaches, with what a bilinear warp adds."""

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
    # Of even width and height: halving it is ten times as fast then.
    pads = (
        top - (y - MARGIN),
        y + height + height % 2 + MARGIN - bottom,
        left - (x - MARGIN),
        x + width + width % 2 + MARGIN - right,
    )
    colours = cv2.copyMakeBorder(image[top:bottom, left:right], *pads, cv2.BORDER_REPLICATE)
    shape = cv2.copyMakeBorder(mask[top:bottom, left:right], *pads, cv2.BORDER_CONSTANT, value=0)
    soft = opacity(np.asarray(shape, np.uint8))
    clean = _clean_rim(np.asarray(colours, np.uint8), np.asarray(shape, np.uint8))
    premultiplied = cv2.multiply(clean, cv2.merge([soft] * 4), scale=1 / 255)
    return Sprite(np.asarray(premultiplied, np.uint8), (x - MARGIN, y - MARGIN))


def _grown(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    x, y, box_width, box_height = box
    return (
        max(y - MARGIN, 0),
        max(x - MARGIN, 0),
        min(y + box_height + MARGIN, height),
        min(x + box_width + MARGIN, width),
    )


def _clean_rim(colours: NDArray[np.uint8], mask: Mask) -> NDArray[np.uint8]:
    """Replace the colours of a mask's rim, and what is just outside it, by those of the nearby inside.

    Returns:
        uint8 (height, width, 4); the fourth channel is 255.
    """
    core = cv2.erode(mask, _CORE, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    result = np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2RGBA), np.uint8)
    rim = cv2.dilate(mask, _INSET) & ~core
    todo = np.flatnonzero(rim > 0)
    given = result.copy()
    # Thin parts have no core near enough: there the mask itself has to do.
    for inside, size in ((core, 9), (mask, 15)):
        spread = cv2.blur(cv2.copyTo(given, inside), (size, size)).reshape(-1, 4).take(todo, axis=0)
        enough = spread[:, 3] >= _LEAST_WEIGHT
        taken = spread[enough].astype(np.float32)
        taken *= 255 / taken[:, 3:]
        result.reshape(-1, 4)[todo[enough]] = np.minimum(np.rint(taken), 255).astype(np.uint8)
        todo = todo[~enough]
        if not len(todo):
            break
    return result


_LEAST_WEIGHT = 12
"""Of 255: less of the inside around a pixel of the rim says too little of its colour."""
