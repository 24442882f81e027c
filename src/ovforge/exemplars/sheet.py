"""Contact sheets: all exemplars of a class at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.image_io.codec import encode_jpeg

TILE, MARGIN, CAPTION, TITLE = 160, 8, 18, 34
COLUMNS = 6
_BACK, _INK = 255, (40, 40, 40)
_FONT = cv2.FONT_HERSHEY_SIMPLEX

SourceImage = NDArray[np.uint8]


def draw_sheet(title: str, tiles: Sequence[tuple[str, SourceImage]]) -> bytes:
    """Draw a contact sheet as JPEG: captions and uint8 RGB or greyscale images, each shrunk to fit its tile."""
    columns = max(1, min(COLUMNS, len(tiles)))
    rows = max(1, -(-len(tiles) // columns))
    width = max(MARGIN + columns * (TILE + MARGIN), _text_width(title) + 2 * MARGIN)
    sheet: SourceImage = np.full((TITLE + rows * (TILE + CAPTION + MARGIN), width, 3), _BACK, np.uint8)
    _write(sheet, title, MARGIN, TITLE - 12, 0.55)
    for number, (caption, image) in enumerate(tiles):
        row, column = divmod(number, columns)
        left, top = MARGIN + column * (TILE + MARGIN), TITLE + row * (TILE + CAPTION + MARGIN)
        small = _fit_size(image)
        high, wide = small.shape[:2]
        y, x = top + (TILE - high) // 2, left + (TILE - wide) // 2
        sheet[y : y + high, x : x + wide] = small if small.ndim == 3 else small[..., None]
        _write(sheet, caption, left, top + TILE + 13, 0.38)
    return encode_jpeg(sheet, 90)


def _fit_size(image: SourceImage) -> SourceImage:
    high, wide = image.shape[:2]
    scale = min(TILE / wide, TILE / high, 2.0)
    size = (max(1, round(wide * scale)), max(1, round(high * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=how), np.uint8)


def _text_width(text: str) -> int:
    return int(cv2.getTextSize(text, _FONT, 0.55, 1)[0][0])


def _write(sheet: SourceImage, text: str, x: int, y: int, scale: float) -> None:
    cv2.putText(sheet, text, (x, y), _FONT, scale, _INK, 1, cv2.LINE_AA)
