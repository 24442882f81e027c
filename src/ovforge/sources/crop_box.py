"""Which part of an image shows an exemplar."""

from __future__ import annotations

from typing import NamedTuple

from ovforge.records.exemplar import LVIS, Exemplar


class Rectangle(NamedTuple):
    """Whole pixels, left and top included, right and bottom not."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def is_empty(self) -> bool:
        """Whether there is no pixel in it."""
        return self.right <= self.left or self.bottom <= self.top


def crop_rectangle(exemplar: Exemplar, width: int, height: int, *, context: float, square: bool) -> Rectangle | None:
    """The rectangle to cut out of an image of `width` x `height` pixels; None for the whole image.

    The box is grown by `context` about its centre, made square by its longer side, and clipped to the image, so
    that at a border it is not square. The arithmetic is the one of OVMR's script, to the pixel. A box without area
    gives an empty rectangle.
    """
    box = exemplar.box
    if box is None:
        return None
    if box[2] <= 0 or box[3] <= 0:
        return Rectangle(0, 0, 0, 0)
    if exemplar.dataset == LVIS:
        x, y, w, h = int(box[0] // 1), int(box[1] // 1), int(box[2] // 1 + 1), int(box[3] // 1 + 1)
    else:
        x, y, w, h = (int(number) for number in box)
    centre_x, centre_y = x + w / 2.0, y + h / 2.0
    wide, high = w * (1.0 + context), h * (1.0 + context)
    if square:
        wide = high = max(wide, high)
    return Rectangle(
        int(max(0, centre_x - wide / 2.0)),
        int(max(0, centre_y - high / 2.0)),
        int(min(width, centre_x + wide / 2.0)),
        int(min(height, centre_y + high / 2.0)),
    )
