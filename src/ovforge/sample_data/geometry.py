"""Polygons that move along with their image: cut, scaled, mirrored, shifted.

A polygon is a float array (N, 2) of x, y in pixels, counted from the image's upper left corner: pixel 0
covers 0 to 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Tile:
    """A view of a photograph: a part of it, brought to a size, perhaps mirrored, put at a place in an image.

    Attributes:
        photograph: name of the photograph.
        crop: (x, y, width, height) in the photograph, in whole pixels.
        size: (width, height) that the crop is scaled to; None keeps its size.
        mirror: left and right exchanged, after scaling.
        at: (x, y) of the upper left corner in the image.
    """

    photograph: str
    crop: tuple[int, int, int, int]
    size: tuple[int, int] | None = None
    mirror: bool = False
    at: tuple[int, int] = (0, 0)

    @property
    def out_size(self) -> tuple[int, int]:
        """(width, height) in the image."""
        return self.size or self.crop[2:]

    def view(self, pixels: Pixels) -> Pixels:
        """This view of the photograph's `pixels`."""
        x, y, width, height = self.crop
        cut = pixels[y : y + height, x : x + width]
        if self.out_size != (width, height):
            shrinks = self.out_size[0] < width
            cut = cv2.resize(cut, self.out_size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        return np.ascontiguousarray(cut[:, ::-1] if self.mirror else cut)

    def moved(self, polygon: Polygon) -> Polygon:
        """Where a polygon of the photograph lies in the image; what the crop cuts off is cut off. May be empty."""
        x, y, width, height = self.crop
        clipped = clip(polygon - (x, y), width, height)
        scaled = clipped * (self.out_size[0] / width, self.out_size[1] / height)
        if self.mirror:
            scaled = (scaled * (-1, 1) + (self.out_size[0], 0))[::-1]
        return scaled + self.at


def clip(polygon: Polygon, width: float, height: float) -> Polygon:
    """The part of `polygon` inside [0, width] x [0, height] (Sutherland and Hodgman 1974).

    A polygon that leaves and comes back stays one ring, with an edge of no area along the border.
    """
    for axis, bound, sign in ((0, 0.0, 1.0), (0, width, -1.0), (1, 0.0, 1.0), (1, height, -1.0)):
        if len(polygon) == 0:
            break
        inside = sign * (polygon[:, axis] - bound)
        kept: list[NDArray[np.float64]] = []
        for now, here, after, there in zip(
            polygon, inside, np.roll(polygon, -1, axis=0), np.roll(inside, -1), strict=True
        ):
            if here >= 0:
                kept.append(now)
            if here * there < 0:
                kept.append(now + (after - now) * (here / (here - there)))
        polygon = np.array(kept, np.float64).reshape(-1, 2)
    return polygon


def area(polygon: Polygon) -> float:
    """Area in square pixels."""
    if len(polygon) < 3:
        return 0.0
    x, y = polygon[:, 0], polygon[:, 1]
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def rounded(polygon: Polygon) -> list[float]:
    """The flat list x0, y0, x1, y1, ... of the annotation files, to a hundredth of a pixel, without repeated points."""
    points = [(float(x), float(y)) for x, y in polygon.round(2) + 0.0]
    return [
        value
        for point, before in zip(points, [points[-1], *points[:-1]], strict=True)
        if point != before
        for value in point
    ]


def coarser(polygon: Polygon, tolerance: float) -> Polygon:
    """The polygon with fewer points, none of the old ones further than `tolerance` pixels off."""
    points = cv2.approxPolyDP(polygon.astype(np.float32).reshape(-1, 1, 2), tolerance, closed=True)
    return np.asarray(points, np.float64).reshape(-1, 2)


def bounding_box(polygons: Iterable[Sequence[float]]) -> list[float]:
    """[x, y, width, height] around flat polygons."""
    points = np.concatenate([np.reshape(np.asarray(p, np.float64), (-1, 2)) for p in polygons])
    low, high = points.min(axis=0), points.max(axis=0)
    return [round(float(value), 2) for value in (*low, *(high - low))]
