"""From an image's bytes to the bytes of its crop."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.errors import WorkError
from ovforge.image_io.codec import (
    apply_orientation,
    check_decodable,
    decode_rgb,
    decode_with_flags,
    encode_jpeg,
)
from ovforge.image_io.header import read_header
from ovforge.records.exemplar import Exemplar
from ovforge.sources.crop_box import crop_rectangle

SourceImage = NDArray[np.uint8]


class Crop(NamedTuple):
    """A finished crop."""

    data: bytes
    is_copy: bool
    """The image's own bytes: nothing was cut off, so nothing was encoded again."""


class EmptyBoxError(ValueError):
    """The exemplar's box has no pixel inside the image."""


def cut_out(data: bytes, exemplar: Exemplar, name: str, *, context: float, square: bool, quality: int) -> Crop:
    """Cut an exemplar out of its image; a whole image is copied as it is.

    Boxes are in the pixels as they are stored, as COCO's and LVIS's are, so the crop is cut first and turned upright
    by the image's EXIF orientation after. A greyscale image stays greyscale; palette, alpha, CMYK and 16 bits
    become 8-bit RGB. The crop is a JPEG, or a PNG under a name that ends in `.png`.

    Raises:
        ImageError: no image, cut short, or too large to be real.
        EmptyBoxError: nothing of the box is inside the image.
    """
    header = read_header(data, name)
    width, height = header.size
    rectangle = crop_rectangle(exemplar, width, height, context=context, square=square)
    if rectangle is None:
        return Crop(data, is_copy=True)
    if rectangle.is_empty:
        raise EmptyBoxError
    is_whole = rectangle == (0, 0, width, height)
    if is_whole and header.orientation == 1 and data.startswith(b"\xff\xd8"):
        return Crop(data, is_copy=True)
    left, top, right, bottom = rectangle
    pixels = decode(data, name)[top:bottom, left:right]
    return Crop(encode(apply_orientation(pixels, header.orientation), name, quality), is_copy=False)


def decode_stored(data: bytes, name: str) -> tuple[SourceImage, int]:
    """An image as uint8 RGB (height, width, 3), as stored, with its EXIF orientation, 1 to 8.

    Raises:
        ImageError: no image, cut short, or above the limit of `image_io.codec`.
    """
    return decode_rgb(data, name), read_header(data, name).orientation


def cut_pixels(
    pixels: SourceImage, orientation: int, exemplar: Exemplar, *, context: float, square: bool
) -> SourceImage:
    """The pixels of an exemplar's crop, turned upright: what `cut_out` would encode.

    Raises:
        EmptyBoxError: nothing of the box is inside the image.
    """
    rectangle = crop_rectangle(exemplar, pixels.shape[1], pixels.shape[0], context=context, square=square)
    if rectangle is not None:
        if rectangle.is_empty:
            raise EmptyBoxError
        left, top, right, bottom = rectangle
        pixels = pixels[top:bottom, left:right]
    return np.ascontiguousarray(apply_orientation(pixels, orientation))


def decode(data: bytes, name: str) -> SourceImage:
    """Decode to uint8, greyscale (height, width) or RGB (height, width, 3), as stored.

    Raises:
        ImageError: no image, cut short, or above the limit of `image_io.codec`.
    """
    check_decodable(data, name)
    pixels = decode_with_flags(data, name, cv2.IMREAD_UNCHANGED)
    if pixels.dtype == np.uint8:
        if pixels.ndim == 2:
            return np.asarray(pixels, np.uint8)
        if pixels.shape[2] == 3:
            return np.asarray(pixels[..., ::-1], np.uint8)
    # Alpha and 16 bits are converted there.
    return decode_rgb(data, name)


def encode(pixels: SourceImage, name: str, quality: int) -> bytes:
    """Encode uint8 greyscale or RGB as JPEG, or as PNG under a name that ends in `.png`."""
    if pixels.ndim == 3 and not name.lower().endswith(".png"):
        return encode_jpeg(pixels, quality)
    bgr = np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels[..., ::-1])
    suffix, settings = (".png", []) if name.lower().endswith(".png") else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])
    done, buffer = cv2.imencode(suffix, bgr, settings)
    if not done:
        raise WorkError(f"{name}: a crop of shape {pixels.shape} cannot be encoded as {suffix}")
    return bytes(np.asarray(buffer).tobytes())
