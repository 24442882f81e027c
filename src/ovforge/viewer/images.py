"""Images as a browser may have them: checked, small ones for the grid, masks as shades."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ovforge.errors import ImageError
from ovforge.image_io.codec import PIXEL_LIMIT, stored_size

THUMBNAIL_SIDE = 288
"""Longest side of a small image, in pixels."""
_KINDS = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"GIF8", "image/gif"))
_SHADE = (12, 14, 20, 168)
"""Red, green, blue, opacity of what was repainted."""
_CACHE_BYTES = 48 << 20


def media_type(data: bytes, name: str) -> str:
    """What kind of image the bytes are, from the bytes alone.

    Raises:
        ImageError: none that a page shows. Anything else in a run's files stays there.
    """
    for mark, kind in _KINDS:
        if data.startswith(mark):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise ImageError(name, "is no image of a known format")


def thumbnail(data: bytes, name: str, side: int = THUMBNAIL_SIDE) -> bytes:
    """A small JPEG of an image, pixels as stored.

    Raises:
        ImageError: no image, or a damaged one.
    """
    image = _decode_small(data, name, side)
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return as_jpeg(image, name)


def as_jpeg(bgr: NDArray[np.uint8], name: str, quality: int = 82) -> bytes:
    """Encode uint8 BGR (height, width, 3)."""
    done, buffer = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ImageError(name, "cannot be encoded")
    return np.asarray(buffer).tobytes()


def decode_reduced(data: bytes, name: str, reduction: int) -> NDArray[np.uint8]:
    """Decode to uint8 BGR as stored, at 1, 1/2, 1/4 or 1/8 of its size (a JPEG is cheaper so).

    Raises:
        ImageError: no image, a damaged one, or one above the limit of `image_io.codec`.
    """
    width, height = stored_size(data, name)
    if width * height > PIXEL_LIMIT:
        raise ImageError(name, "is too large", detail=f"{width}x{height} pixels")
    flags = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }[reduction]
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageError(name, "cannot be decoded", detail=str(error.err)) from error
    if image is None:
        raise ImageError(name, "cannot be decoded")
    return np.asarray(image, np.uint8)


def reduction_for(longest: float, side: int) -> int:
    """By how much an image may be reduced while decoding and still be shown at `side` pixels."""
    return next((r for r in (8, 4, 2) if longest / r >= side), 1)


def _decode_small(data: bytes, name: str, side: int) -> NDArray[np.uint8]:
    return decode_reduced(data, name, reduction_for(max(stored_size(data, name)), side))


def shade_png(keep_mask: dict[str, Any], name: str) -> bytes:
    """A PNG, clear where the image was kept and shaded where it was repainted.

    Raises:
        ImageError: RLE that cannot be read, or that are of an image too large to be real.
    """
    try:
        height, width = (int(side) for side in keep_mask["size"])
        if min(height, width) < 1 or height * width > PIXEL_LIMIT:
            raise ImageError(name, "has a mask of another size", detail=f"{width}x{height} pixels")
        counts = keep_mask["counts"]
        rle = coco_mask.frPyObjects(keep_mask, height, width) if isinstance(counts, list) else keep_mask
        kept = coco_mask.decode(rle)
    except (KeyError, TypeError, ValueError) as error:
        raise ImageError(name, "has a mask that cannot be read", detail=str(error)) from error
    shade = np.zeros((height, width, 4), np.uint8)
    shade[kept == 0] = (_SHADE[2], _SHADE[1], _SHADE[0], _SHADE[3])
    done, buffer = cv2.imencode(".png", shade)
    if not done:
        raise ImageError(name, "has a mask that cannot be shown")
    return np.asarray(buffer).tobytes()


class ByteCache:
    """The latest results, up to a number of bytes."""

    def __init__(self, limit: int = _CACHE_BYTES) -> None:
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """What `make` gave for `key`, or gives now."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        data = make()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = data
                self._size += len(data)
            while self._size > self._limit and self._kept:
                self._size -= len(self._kept.popitem(last=False)[1])
        return data
