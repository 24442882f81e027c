"""Composing a second view: the warped image, what is seen around it, and what of it is kept from repainting.

One motion moves the image (bilinear) and its label maps (nearest). A pixel belongs to the warped image if the
warped label map says so, never because of its colour: black objects stay whole. Elsewhere its background is continued:
the image without its annotated objects, completed, moved alike and mirrored at its border, so that no object is seen
there and no edge shows. Or, as in OVTrack, the original is seen there, its objects included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ovforge.synthesis.fill import complete_background
from ovforge.synthesis.masks import LabelMaps, Rle
from ovforge.synthesis.motion import Motion
from ovforge.synthesis.repaint import WorkingSize

KEEP_MARGIN = 29
"""Side in pixels of the square by which the objects' union is dilated, at the working size: the same as OVTrack's
15 x 15 applied twice."""

OUTLINE_MARGIN = 0.02
"""How far from their masks objects are taken out of the background, as a share of the image's longer side: masks are
drawn by hand, and colours bleed over their borders."""

BICUBIC_DOWN_TO = 0.7
"""Scale below which an image is shrunk by pixel area."""

_KERNEL = np.ones((KEEP_MARGIN, KEEP_MARGIN), np.uint8)


@dataclass(frozen=True)
class Composed:
    """An image after its motion, at its own size.

    Attributes:
        image: uint8 RGB (height, width, 3), the warped image and what is seen around it.
        masks: the warped masks; `masks.inside()` is where the warped image is.
    """

    image: NDArray[np.uint8]
    masks: LabelMaps


def compose(
    image: NDArray[np.uint8], masks: LabelMaps, motion: Motion, background: NDArray[np.uint8] | None = None
) -> Composed:
    """Move an image, uint8 RGB (height, width, 3), and its masks. The inputs stay as they are.

    Args:
        background: the image without its objects (`without_objects`), seen around the moved image; brightness and
            contrast change it, too. None: the original is seen there, as it is.
    """
    moved = move_masks(masks, motion)
    warped = _warp(image, motion, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
    if background is not None:
        around = _warp(background, motion, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101)
        composed = np.asarray(cv2.copyTo(warped, moved.inside(), around), np.uint8)
        return Composed(_toned(composed, motion), moved)
    composed = np.asarray(cv2.copyTo(_toned(warped, motion), moved.inside(), image.copy()), np.uint8)
    return Composed(composed, moved)


def move_masks(masks: LabelMaps, motion: Motion) -> LabelMaps:
    """The masks where the motion takes them; the boxes are not known any more."""
    return LabelMaps(tuple(_warp(m, motion, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT) for m in masks.maps), masks.places)


def without_objects(image: NDArray[np.uint8], objects: Sequence[Rle]) -> NDArray[np.uint8]:
    """The image, uint8 RGB (height, width, 3), without these objects: what is behind them is completed."""
    return complete_background(image, object_mask(objects, image.shape[1], image.shape[0]))


def object_mask(objects: Sequence[Rle], width: int, height: int) -> NDArray[np.uint8]:
    """Where objects are and a margin around them, uint8 (height, width), 1 or 0."""
    if not objects:
        return np.zeros((height, width), np.uint8)
    union = np.asarray(coco_mask.decode(coco_mask.merge(list(objects))), np.uint8)
    side = 2 * max(2, round(OUTLINE_MARGIN * max(width, height))) + 1
    return np.asarray(cv2.dilate(np.ascontiguousarray(union), np.ones((side, side), np.uint8)), np.uint8)


def _toned(image: NDArray[np.uint8], motion: Motion) -> NDArray[np.uint8]:
    if not motion.brightness and motion.contrast == 1.0:
        return image
    return np.asarray(cv2.LUT(image, _tone_curve(motion)), np.uint8)


def _warp(image: NDArray[np.uint8], motion: Motion, interpolation: int, border: int) -> NDArray[np.uint8]:
    # For an affine, too: with a repeated border OpenCV's warpPerspective is faster than its warpAffine.
    size = (image.shape[1], image.shape[0])
    warped = cv2.warpPerspective(image, motion.array(), size, flags=interpolation, borderMode=border, borderValue=0)
    return np.asarray(warped, np.uint8)


def _tone_curve(motion: Motion) -> NDArray[np.uint8]:
    levels = np.arange(256) * motion.contrast + 255 * motion.brightness
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


def keep_mask(union: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The objects' union, uint8 (height, width), dilated; call it at the working size."""
    return np.asarray(cv2.dilate(union, _KERNEL), np.uint8)


def fit_size(width: int, height: int, working: WorkingSize) -> tuple[int, int]:
    """(width, height) of an image scaled to fit the working size with its proportions kept, whole pixels."""
    scale = min(working.width / width, working.height / height)
    return (
        min(max(round(width * scale), 1), working.width),
        min(max(round(height * scale), 1), working.height),
    )


def to_working_size(
    image: NDArray[np.uint8], union: NDArray[np.uint8], working: WorkingSize | None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], tuple[int, int]]:
    """Bring a composed image and its objects' union (uint8, 0 or not) to an engine's working size.

    Returns:
        The padded image, the padded keep mask (bool), and the (width, height) of their content. With `working`
        None, all at the image's own size.
    """
    height, width = image.shape[:2]
    if working is None:
        return image, keep_mask(union).astype(np.bool_), (width, height)
    content = fit_size(width, height, working)
    scaled = resized(image, content)
    small = np.asarray(cv2.resize(union, content, interpolation=cv2.INTER_NEAREST), np.uint8)
    right, below = -content[0] % working.multiple, -content[1] % working.multiple
    padded = cv2.copyMakeBorder(scaled, 0, below, 0, right, cv2.BORDER_REPLICATE)
    # Dilated before it is padded: the padding is not kept.
    kept = cv2.copyMakeBorder(keep_mask(small), 0, below, 0, right, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(padded, np.uint8), np.asarray(kept, np.uint8).astype(np.bool_), content


def to_image_size(image: NDArray[np.uint8], content: tuple[int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Cut the padding off a repainted image and bring it back to the original's (width, height)."""
    return resized(image[: content[1], : content[0]], size)


def resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale an image to (width, height): bicubic, but by pixel area where it shrinks below BICUBIC_DOWN_TO.

    OpenCV's filters read a fixed few pixels, so they skip some when an image shrinks much. Down to about 0.7 bicubic
    is nearer to a true Lanczos filter than the area mean is (at 0.94, the usual way back from the working size, by
    9 dB on a photograph; at 0.66 the area mean is by 1 dB).
    """
    if (image.shape[1], image.shape[0]) == tuple(size):
        return image
    shrinks = min(size[0] / image.shape[1], size[1] / image.shape[0]) < BICUBIC_DOWN_TO
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)
