"""What can be said of an object without a model: its pixels in the second view against the first view's.

`reference` is the first view, moved as the second view is, so that an object stands at the same place in both. All
measures are taken at the scale that an image is seen at, a short side of about 384 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

VIEWING_SIDE = 384
SEARCH_SIDE = 128
"""Short side at which copies of an object are looked for."""
SEARCH_SCALES = (0.8, 0.9, 1.0, 1.1, 1.25)

_GREY_FLOOR = 2.0
"""Grey levels of gradient that are noise."""
_EDGE_FLOOR = 8.0
"""Grey levels of difference across a contour that are not edges."""
_ACROSS = 2.0
"""Pixels from the contour at which its two sides are looked at."""
_CHROMA_RANGE = 40.0
"""Mean difference of Lab's a and b at which colours have nothing in common."""
_SMALLEST = 12
"""Pixels of a mask at viewing scale below which nothing is measured."""
_SMALLEST_TEMPLATE = 6
"""Pixels: a smaller object looks like anything."""
_COPY_FLOOR = 0.05
"""Correlation by which two matches of the same thing differ."""
_OWN_PLACE = 0.5
"""A match whose centre is nearer than this share of the object's size is the object itself."""


@dataclass(frozen=True)
class Measures:
    """An object's measures, see `records.scores.ObjectScores`; None where nothing could be measured."""

    sharpness: float | None = None
    boundary: float | None = None
    colour: float | None = None
    repeated: float | None = None


def measure_objects(
    reference: NDArray[np.uint8], second: NDArray[np.uint8], masks: Sequence[NDArray[np.uint8]]
) -> list[Measures]:
    """Measure every object.

    Args:
        reference, second: uint8 RGB (height, width, 3).
        masks: per object uint8 (height, width), not 0 where it is, in both.
    """
    if not masks:
        return []
    seen = [_Seen.of(image, VIEWING_SIDE) for image in (reference, second)]
    searched = [_shrunk(image, SEARCH_SIDE) for image in (reference, second)]
    result = []
    for mask in masks:
        small = _shrunk_mask(mask, seen[1].size)
        if cv2.countNonZero(small) < _SMALLEST:
            result.append(Measures())
            continue
        x, y, width, height = cv2.boundingRect(small)
        margin = int(_ACROSS) + 2
        here = np.s_[max(y - margin, 0) : y + height + margin, max(x - margin, 0) : x + width + margin]
        result.append(
            Measures(
                sharpness=_ratio(*(_detail(one, small, here) for one in seen), floor=_GREY_FLOOR),
                boundary=_ratio(*_edges(seen, small, here), floor=_EDGE_FLOOR),
                colour=_colour(seen, small, here),
                repeated=_repeated(searched, _shrunk_mask(mask, searched[1].shape[1::-1])),
            )
        )
    return result


@dataclass(frozen=True)
class _Seen:
    """An image as the measures need it: float32 at viewing scale."""

    lab: NDArray[np.float32]
    gradient: NDArray[np.float32]

    @property
    def size(self) -> tuple[int, int]:
        return self.lab.shape[1], self.lab.shape[0]

    @staticmethod
    def of(image: NDArray[np.uint8], side: int) -> _Seen:
        small = _shrunk(image, side)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float32)
        gradient = cv2.magnitude(cv2.Sobel(grey, cv2.CV_32F, 1, 0) / 4, cv2.Sobel(grey, cv2.CV_32F, 0, 1) / 4)
        lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        return _Seen(np.asarray(lab, np.float32), np.asarray(gradient, np.float32))


def _shrunk(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    scale = side / min(image.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(image)
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _shrunk_mask(mask: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    binary = np.asarray(cv2.compare(mask, 0, cv2.CMP_GT), np.uint8)
    if binary.shape[1::-1] == tuple(size):
        return binary
    small = cv2.resize(binary, (size[0], size[1]), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.compare(small, 127.0, cv2.CMP_GT), np.uint8)


Here = tuple[slice, slice]


def _detail(seen: _Seen, mask: NDArray[np.uint8], here: Here) -> float:
    """Mean gradient inside the mask, in grey levels a pixel; its edge does not count unless there is nothing else."""
    inner = cv2.erode(mask[here], np.ones((3, 3), np.uint8))
    if cv2.countNonZero(inner) < _SMALLEST:
        inner = mask[here]
    return float(cv2.mean(seen.gradient[here], np.asarray(inner, np.uint8))[0])


def _edges(seen: Sequence[_Seen], mask: NDArray[np.uint8], here: Here) -> tuple[float, float]:
    """Mean difference across the mask's contour in both images, in units of Lab."""
    local = np.ascontiguousarray(mask[here])
    contours, _ = cv2.findContours(local, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate([contour[:, 0] for contour in contours]).astype(np.float32)
    soft = cv2.GaussianBlur(local.astype(np.float32) / 255, (0, 0), 2.0)
    slopes = np.stack([cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)], axis=-1)
    inward = slopes[points[:, 1].astype(int), points[:, 0].astype(int)]
    length = np.linalg.norm(inward, axis=1, keepdims=True)
    inward = inward / np.maximum(length, 1e-6)
    inside, outside = points + _ACROSS * inward, points - _ACROSS * inward
    high, wide = local.shape
    usable = (length[:, 0] > 1e-4) & ((outside >= 0) & (outside <= (wide - 1, high - 1))).all(axis=1)
    # At the image's border nothing is beyond the mask.
    if not usable.any():
        return 0.0, 0.0
    strengths = []
    for one in seen:
        part = np.ascontiguousarray(one.lab[here])
        sides = [
            cv2.remap(part, at[usable, 0][:, None], at[usable, 1][:, None], cv2.INTER_LINEAR)
            for at in (inside, outside)
        ]
        strengths.append(float(np.linalg.norm(sides[0] - sides[1], axis=-1).mean()))
    return strengths[0], strengths[1]


def _ratio(before: float, after: float, *, floor: float) -> float:
    return round(min((after + floor) / (before + floor), 99.0), 4)


def _colour(seen: Sequence[_Seen], mask: NDArray[np.uint8], here: Here) -> float:
    a, b = (cv2.blur(np.ascontiguousarray(one.lab[here][..., 1:]), (5, 5)) for one in seen)
    difference = np.linalg.norm(a - b, axis=-1).astype(np.float32)
    mean = float(cv2.mean(difference, np.ascontiguousarray(mask[here]))[0])
    return round(max(0.0, 1.0 - mean / _CHROMA_RANGE), 4)


def _repeated(images: Sequence[NDArray[np.uint8]], mask: NDArray[np.uint8]) -> float | None:
    """How much of the way to a perfect copy the best match elsewhere came from the first view to the second."""
    before, after = (_best_match_elsewhere(image, mask) for image in images)
    if before is None or after is None:
        return None
    return round(min(max((after - before) / (1 - before + _COPY_FLOOR), 0.0), 1.0), 4)


def _best_match_elsewhere(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> float | None:
    """The highest normalised correlation of the object's pixels with another place of the same image, 0 to 1."""
    if cv2.countNonZero(mask) < _SMALLEST:
        return None
    x, y, width, height = cv2.boundingRect(mask)
    if min(width, height) < _SMALLEST_TEMPLATE:
        return None
    template, shape = image[y : y + height, x : x + width], mask[y : y + height, x : x + width]
    best = 0.0
    for scale in SEARCH_SCALES:
        size = (round(width * scale), round(height * scale))
        if min(size) < _SMALLEST_TEMPLATE or size[0] > image.shape[1] or size[1] > image.shape[0]:
            continue
        scaled = cv2.resize(template, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        where = cv2.resize(shape, size, interpolation=cv2.INTER_NEAREST)
        if cv2.countNonZero(where) < _SMALLEST:
            continue
        match = cv2.matchTemplate(image, scaled, cv2.TM_CCOEFF_NORMED, mask=np.ascontiguousarray(where))
        match = np.nan_to_num(np.asarray(match, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        rows, columns = np.ogrid[: match.shape[0], : match.shape[1]]
        away_x = np.abs(columns + size[0] / 2 - (x + width / 2)) / width
        away_y = np.abs(rows + size[1] / 2 - (y + height / 2)) / height
        match[(away_x < _OWN_PLACE) & (away_y < _OWN_PLACE)] = 0.0
        best = max(best, float(match.max()))
    return min(best, 1.0)
