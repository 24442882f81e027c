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
from ovforge.image_io.codec import (
    PIXEL_LIMIT,
    annotated_orientation,
    apply_orientation,
    check_decodable,
    decode_as_annotated,
    decode_with_flags,
)
from ovforge.image_io.header import read_header

THUMBNAIL_SIDE = 288
"""Longest side of a small image, in pixels."""
_SHOWN_BY_BROWSERS = ("JPEG", "PNG", "GIF", "WebP")
_KINDS = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"GIF8", "image/gif"))
_SHADE = (12, 14, 20, 168)
"""Red, green, blue, opacity of what was repainted."""
_CACHE_BYTES = 48 << 20


def as_shown(data: bytes, name: str, size: tuple[int, int]) -> tuple[bytes, str]:
    """The bytes of an image as a browser shows it under the boxes of annotations of `size`, and their kind.

    Browsers turn an image by its EXIF orientation. One that has none is handed out as it is stored, any other the way
    up that its annotations are drawn, re-encoded.

    Raises:
        ImageError: none that a page shows, or a damaged one. Anything else in a run's files stays there.
    """
    header = read_header(data, name)
    kind = next((kind for mark, kind in _KINDS if data.startswith(mark)), "image/webp")
    if header.orientation == 1 and header.format in _SHOWN_BY_BROWSERS:
        return data, kind
    if annotated_orientation(header, *size) is None:  # of another size than the annotations say: at least an image
        size = header.shown_size
    return as_jpeg(decode_as_annotated(data, name, *size)[..., ::-1], name, 95), "image/jpeg"


def thumbnail(data: bytes, name: str, side: int = THUMBNAIL_SIDE, *, size: tuple[int, int] | None = None) -> bytes:
    """A small JPEG of an image, the way up that annotations of `size` are drawn; without a size, upright.

    Raises:
        ImageError: no image, or a damaged one.
    """
    header = read_header(data, name)
    image = decode_reduced(data, name, reduction_for(max(header.size), side))
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        smaller = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.asarray(cv2.resize(image, smaller, interpolation=cv2.INTER_AREA), np.uint8)
    orientation = annotated_orientation(header, *(size or header.shown_size))
    if size is None and header.orientation <= 4:  # both ways have one size
        orientation = header.orientation
    return as_jpeg(apply_orientation(image, orientation or header.orientation), name)


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
    check_decodable(data, name)
    flags = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }[reduction]
    return np.asarray(decode_with_flags(data, name, flags), np.uint8)


def reduction_for(longest: float, side: int) -> int:
    """By how much an image may be reduced while decoding and still be shown at `side` pixels."""
    return next((r for r in (8, 4, 2) if longest / r >= side), 1)


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
