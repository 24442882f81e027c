"""Contact sheets: all exemplars of a class at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.image_io.codec import encode_jpeg
from ovforge.image_io.lettering import LARGE, SMALL, fitted, text_size, write_text

TILE, MARGIN, CAPTION, TITLE = 180, 10, 40, 40
COLUMNS = 6
_BACK = 255

SourceImage = NDArray[np.uint8]


def draw_sheet(title: str, tiles: Sequence[tuple[str, str, SourceImage]]) -> bytes:
    """Draw a contact sheet as JPEG: for each tile two lines of caption and a uint8 RGB or greyscale image, shrunk."""
    columns = max(1, min(COLUMNS, len(tiles)))
    rows = max(1, -(-len(tiles) // columns))
    width = max(MARGIN + columns * (TILE + MARGIN), text_size(title, LARGE)[0] + 2 * MARGIN)
    sheet: SourceImage = np.full((TITLE + rows * (TILE + CAPTION + MARGIN), width, 3), _BACK, np.uint8)
    write_text(sheet, title, (MARGIN, (TITLE - 20) // 2), LARGE)
    for number, (first, second, image) in enumerate(tiles):
        row, column = divmod(number, columns)
        left, top = MARGIN + column * (TILE + MARGIN), TITLE + row * (TILE + CAPTION + MARGIN)
        small = _fit_size(image)
        high, wide = small.shape[:2]
        y, x = top + (TILE - high) // 2, left + (TILE - wide) // 2
        sheet[y : y + high, x : x + wide] = small if small.ndim == 3 else small[..., None]
        for line, text in enumerate((first, second)):
            write_text(sheet, fitted(text, TILE, SMALL), (left, top + TILE + 4 + line * 18), SMALL)
    return encode_jpeg(sheet, 90)


def _fit_size(image: SourceImage) -> SourceImage:
    high, wide = image.shape[:2]
    scale = min(TILE / wide, TILE / high, 2.0)
    size = (max(1, round(wide * scale)), max(1, round(high * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=how), np.uint8)
