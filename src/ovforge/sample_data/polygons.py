"""The polygons of the objects on the photographs, drawn by eye for ovforge, and where they lie in an image."""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ovforge.sample_data.geometry import Polygon, Tile, area, clip

SMALLEST_OBJECT = 100.0
"""Square pixels of an object in an image below which it is not outlined: a rim of a cup that the crop left over."""
SMALLEST_PART = 2.0
"""Square pixels of one polygon of an object below which the polygon is left away."""


@dataclass(frozen=True)
class LabelledObject:
    """One object: its LVIS synset and the polygons of its visible parts."""

    synset: str
    polygons: tuple[Polygon, ...]

    @property
    def area(self) -> float:
        """Sum of the polygons' areas in square pixels."""
        return sum(area(polygon) for polygon in self.polygons)


@functools.cache
def labelled_objects() -> dict[str, tuple[LabelledObject, ...]]:
    """Photograph -> the objects on it, in pixels of the photograph."""
    text = importlib.resources.files("ovforge.sample_data").joinpath("polygons.json").read_text(encoding="utf-8")
    return {
        photograph: tuple(
            LabelledObject(
                record["synset"],
                tuple(np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in record["polygons"]),
            )
            for record in records
        )
        for photograph, records in json.loads(text).items()
    }


def objects_in(tiles: tuple[Tile, ...], size: tuple[int, int]) -> Iterator[LabelledObject]:
    """The objects that are seen in an image of `size` made of `tiles`, in the image's pixels."""
    for tile in tiles:
        for labelled in labelled_objects()[tile.photograph]:
            moved = (clip(tile.moved(polygon), *size) for polygon in labelled.polygons)
            visible = LabelledObject(
                labelled.synset, tuple(polygon for polygon in moved if area(polygon) >= SMALLEST_PART)
            )
            if visible.area >= SMALLEST_OBJECT:
                yield visible
