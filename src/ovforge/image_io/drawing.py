"""Boxes with labels on an image, which do not cover one another."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import cv2

from ovforge.image_io.lettering import NORMAL, Colour, Image, ink_on, text_size, write_text

UNNUMBERED: Colour = (128, 128, 128)
"""RGB of boxes without a number, as ignore regions have."""
_GOLDEN = 0.618033988749895
_STRENGTHS = ((0.9, 1.0), (0.9, 0.55), (0.5, 1.0))
"""Saturation and value."""
_MARGIN = 2


class Label(NamedTuple):
    """A box and what is written at it."""

    box: tuple[float, float, float, float]
    """x, y, width, height in pixels of the image."""
    text: str
    number: int | None = None
    """From 0; it decides the colour, and is written, counted from 1, before the text. None: grey, without a number."""


def number_colour(number: int) -> Colour:
    """RGB; the hues of neighbouring numbers are far apart, and so is how strong and how dark they are.

    >>> number_colour(0), number_colour(1)
    ((255, 25, 25), (14, 51, 140))
    """
    saturation, value = _STRENGTHS[number % 3]
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_boxes(image: Image, labels: Sequence[Label], size: float = NORMAL) -> Image:
    """The image with boxes and labels drawn into it; give the largest boxes first.

    A label that would cover another moves along its box, shrinks to its number, or is left out.
    """
    taken: list[tuple[int, int, int, int]] = []
    written = []
    for label in labels:
        x, y, width, height = label.box
        if width < 1 or height < 1:
            continue
        colour = UNNUMBERED if label.number is None else number_colour(label.number)
        cv2.rectangle(image, (round(x), round(y)), (round(x + width) - 1, round(y + height) - 1), colour, 2)
        numbered = label.text if label.number is None else f"{label.number + 1} {label.text}"
        for text in (numbered, "" if label.number is None else str(label.number + 1)):
            place = _place(text, label.box, image.shape, taken, size) if text else None
            if place is not None:
                taken.append(place)
                written.append((text, place, colour))
                break
    for text, (left, top, right, bottom), colour in written:
        cv2.rectangle(image, (left, top), (right - 1, bottom - 1), colour, -1)
        write_text(image, text, (left + _MARGIN, top + _MARGIN), size, ink_on(colour))
    return image


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _place(
    text: str,
    box: tuple[float, float, float, float],
    shape: tuple[int, ...],
    taken: Sequence[tuple[int, int, int, int]],
    size: float,
) -> tuple[int, int, int, int] | None:
    """Where the text finds room at the box: at its corners within and without; None: nowhere."""
    wide, high = (side + 2 * _MARGIN for side in text_size(text, size))
    x, y, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
    for wanted_left, wanted_top in (
        (x, y), (x, y - high), (right - wide, y), (right - wide, y - high),
        (x, bottom - high), (x, bottom), (right - wide, bottom - high), (right - wide, bottom),
    ):  # fmt: skip
        left = round(min(max(wanted_left, 0), max(shape[1] - wide, 0)))
        top = round(min(max(wanted_top, 0), max(shape[0] - high, 0)))
        place = (left, top, left + wide, top + high)
        if not any(_overlap(place, other) for other in taken):
            return place
    return None
