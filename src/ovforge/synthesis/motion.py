"""The motion between an image and its second view, drawn for every variant.

The ranges are OVTrack's: an affine or a perspective with equal chance, a horizontal flip for one half, another
brightness and contrast for one fifth. Angles and shares as in its augmentation: rotation and shear about the
image's centre, scale, shear and translation drawn for each axis on its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

AFFINE_SCALE = (0.6, 1.5)
AFFINE_ROTATION = (-30.0, 30.0)
"""Degrees."""
AFFINE_TRANSLATION = (0.0, 0.2)
"""Share of the image's width and height."""
AFFINE_SHEAR = (-15.0, 15.0)
"""Degrees."""
PERSPECTIVE_SCALE = (0.05, 0.2)
"""Standard deviation of how far a corner moves in, as a share of the image's width and height."""
PERSPECTIVE_REACH = 0.32
"""No corner moves in further than this share, so that the four never cross."""
BRIGHTNESS_LIMIT = CONTRAST_LIMIT = 0.2

FLIP_CHANCE = 0.5
BRIGHTNESS_CHANCE = 0.2


@dataclass(frozen=True)
class Motion:
    """How a second view comes from an image.

    Attributes:
        kind: `affine`, `perspective`, or `none`.
        matrix: 3x3, maps a pixel (x, y, 1) of the image to one of the second view; the flip is part of it.
        flip: whether the matrix holds a horizontal flip.
        brightness: added to the warped image, as a share of 255; 0 is unchanged.
        contrast: what the warped image is multiplied by; 1 is unchanged.
    """

    kind: str
    matrix: tuple[tuple[float, float, float], ...]
    flip: bool = False
    brightness: float = 0.0
    contrast: float = 1.0

    def array(self) -> NDArray[np.float64]:
        """The matrix, float64 (3, 3)."""
        return np.array(self.matrix, np.float64)

    def record(self) -> dict[str, Any]:
        """The motion as plain values, from which `from_record` makes it again exactly."""
        return {
            "kind": self.kind,
            "matrix": [list(row) for row in self.matrix],
            "flip": self.flip,
            "brightness": self.brightness,
            "contrast": self.contrast,
        }


NO_MOTION = {"kind": "none"}
"""The record of a second view that is the original itself."""


def from_record(record: dict[str, Any]) -> Motion:
    """The motion that a record describes."""
    if record["kind"] == "none":
        return Motion("none", _rows(np.eye(3)))
    return Motion(
        record["kind"],
        tuple((float(a), float(b), float(c)) for a, b, c in record["matrix"]),
        bool(record["flip"]),
        float(record["brightness"]),
        float(record["contrast"]),
    )


def draw_motion(rng: np.random.Generator, width: int, height: int) -> Motion:
    """Draw a motion for an image of `width` x `height` pixels.

    The same generator gives the same motion for images of one size. All draws are made in a fixed order, used
    or not, so that a change of one range leaves the others' numbers as they are.
    """
    affine, flip, bright = rng.random(3)
    matrix = _affine(rng, width, height) if affine < 0.5 else _perspective(rng, width, height)
    brightness, contrast = (
        rng.uniform(-BRIGHTNESS_LIMIT, BRIGHTNESS_LIMIT),
        rng.uniform(-CONTRAST_LIMIT, CONTRAST_LIMIT),
    )
    if flip < FLIP_CHANCE:
        matrix = np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]], np.float64) @ matrix
    changed = bright < BRIGHTNESS_CHANCE
    return Motion(
        kind="affine" if affine < 0.5 else "perspective",
        matrix=_rows(matrix),
        flip=bool(flip < FLIP_CHANCE),
        brightness=float(brightness) if changed else 0.0,
        contrast=1.0 + float(contrast) if changed else 1.0,
    )


def _affine(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float64]:
    scale_x, scale_y = rng.uniform(*AFFINE_SCALE, 2)
    angle = math.radians(rng.uniform(*AFFINE_ROTATION))
    shift_x, shift_y = rng.uniform(*AFFINE_TRANSLATION, 2) * (width, height)
    shear_x, shear_y = (math.tan(math.radians(a)) for a in rng.uniform(*AFFINE_SHEAR, 2))
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    to_centre = np.array([[1, 0, -centre_x], [0, 1, -centre_y], [0, 0, 1]], np.float64)
    scale = np.diag([scale_x, scale_y, 1.0])
    shear = np.array([[1, shear_x, 0], [shear_y, 1, 0], [0, 0, 1]], np.float64)
    cosine, sine = math.cos(angle), math.sin(angle)
    rotate = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], np.float64)
    back = np.array([[1, 0, centre_x + shift_x], [0, 1, centre_y + shift_y], [0, 0, 1]], np.float64)
    product: NDArray[np.float64] = back @ rotate @ shear @ scale @ to_centre
    return product


def _perspective(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float64]:
    """A quadrangle inside the image, each corner moved in by its own draw, is stretched to the whole image."""
    spread = rng.uniform(*PERSPECTIVE_SCALE)
    inward = np.minimum(np.abs(rng.normal(0, spread, (4, 2))), PERSPECTIVE_REACH)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    size = np.array([max(width - 1, 1), max(height - 1, 1)], np.float64)
    quadrangle = (corners + inward * (1 - 2 * corners)) * size
    matrix: NDArray[np.float64] = np.diag([*size, 1.0]) @ np.linalg.inv(_square_to(quadrangle))
    matrix /= matrix[2, 2]
    return matrix


def _square_to(quadrangle: NDArray[np.float64]) -> NDArray[np.float64]:
    """The projective map of the unit square onto a quadrangle, in closed form (Heckbert 1989, section 2.2.3)."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = quadrangle.tolist()
    dx1, dx2, sx = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    dy1, dy2, sy = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    below = dx1 * dy2 - dx2 * dy1
    g, h = (sx * dy2 - dx2 * sy) / below, (dx1 * sy - sx * dy1) / below
    return np.array(
        [[x1 - x0 + g * x1, x3 - x0 + h * x3, x0], [y1 - y0 + g * y1, y3 - y0 + h * y3, y0], [g, h, 1.0]], np.float64
    )


def _rows(matrix: NDArray[np.float64]) -> tuple[tuple[float, float, float], ...]:
    return tuple((float(a), float(b), float(c)) for a, b, c in matrix)
