"""Text on images, in the one font that OpenCV has: plain letters, legible at full size."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""uint8 RGB (height, width, 3)."""
Colour = tuple[int, int, int]

INK: Colour = (40, 40, 40)
SMALL, NORMAL, LARGE = 0.45, 0.5, 0.65
"""Sizes of letters: capitals are 10, 11 and 14 pixels high."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def plain(text: str) -> str:
    """The text in letters that can be drawn: accents go, and what has no plain letter becomes a question mark.

    >>> plain("caf\\u00e9 \\u732b")
    'cafe ?'
    """
    if text.isascii():
        return text
    letters = unicodedata.normalize("NFKD", text)
    return "".join(c if c.isascii() else "?" for c in letters if not unicodedata.combining(c))


@lru_cache(maxsize=4096)
def text_size(text: str, size: float = NORMAL) -> tuple[int, int]:
    """Width and height in pixels of a line of text, from its top to below the baseline."""
    (width, height), below = cv2.getTextSize(plain(text), _FONT, size, 1)
    return int(width), int(height + below)


def fitted(text: str, width: int, size: float = NORMAL) -> str:
    """The text, or as much of its beginning and end as fits into so many pixels.

    >>> fitted("a very long name of an image.jpg", 120)
    'a very l...mage.jpg'
    """
    if text_size(text, size)[0] <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shorter = f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"
        if text_size(shorter, size)[0] <= width:
            return shorter
    return text[:1]


def write_text(image: Image, text: str, corner: tuple[int, int], size: float = NORMAL, ink: Colour = INK) -> None:
    """Write a line of text into the image; `corner` is its upper left one."""
    (_, height), _ = cv2.getTextSize(plain(text), _FONT, size, 1)
    cv2.putText(image, plain(text), (corner[0], corner[1] + height), _FONT, size, ink, 1, cv2.LINE_AA)


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever stands out from the colour."""
    return (255, 255, 255) if 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] < 130 else (0, 0, 0)
