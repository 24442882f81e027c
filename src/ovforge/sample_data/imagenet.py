"""Images in the layout of ImageNet-21K-P: the photographs' objects, cut out, under their WordNet 3.0 ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ovforge.sample_data.geometry import Tile
from ovforge.sample_data.photographs import PHOTOGRAPHS
from ovforge.sample_data.polygons import labelled_objects
from ovforge.taxonomy import synset_to_wnid

_TRAIN = (
    "cat.n.01",
    "cup.n.01",
    "spoon.n.01",
    "flag.n.01",
    "helmet.n.02",
    "space_shuttle.n.01",
    "tripod.n.01",
    "coat.n.01",
    "glove.n.02",
    "wall_clock.n.01",
)
_SMALL = ("camcorder.n.01", "lightning_rod.n.02")
"""The classes that stand in `imagenet21k_small_classes` here; the real set decides by the number of images."""

_MARGINS = (0.05, 0.2, 0.4)
_ESPRESSO = ("n07920052", Tile("coffee", (200, 60, 180, 140)))
"""espresso.n.01, a class that LVIS does not have, as most of ImageNet's."""


@dataclass(frozen=True)
class ImagenetImage:
    """One image: its path below `imagenet21k_P` and its view."""

    path: str
    tile: Tile


def imagenet_images() -> Iterator[ImagenetImage]:
    """Every object with three margins, as it is and mirrored; the last view of a train class goes to val."""
    for synsets, folder in ((_TRAIN, "train"), (_SMALL, "imagenet21k_small_classes")):
        for synset in synsets:
            wnid = synset_to_wnid()[synset]
            views = list(dict.fromkeys(_views(synset)))  # two margins may reach the same borders
            for number, tile in enumerate(views, start=1):
                split = "val" if folder == "train" and number == len(views) else folder
                yield ImagenetImage(f"{split}/{wnid}/{wnid}_{number}.JPEG", tile)
    wnid, tile = _ESPRESSO
    yield ImagenetImage(f"train/{wnid}/{wnid}_1.JPEG", tile)


def _views(synset: str) -> Iterator[Tile]:
    for photograph, objects in labelled_objects().items():
        for labelled in objects:
            if labelled.synset != synset:
                continue
            points = np.concatenate(labelled.polygons)
            for margin in _MARGINS:
                crop = _grown(points.min(axis=0), points.max(axis=0), margin, photograph)
                for mirror in (False, True):
                    yield Tile(photograph, crop, mirror=mirror)


def _grown(
    low: np.ndarray[tuple[int], np.dtype[np.float64]],
    high: np.ndarray[tuple[int], np.dtype[np.float64]],
    margin: float,
    photograph: str,
) -> tuple[int, int, int, int]:
    """The box grown by `margin` of its size on every side, but by 12 pixels at least, inside the photograph."""
    facts = PHOTOGRAPHS[photograph]
    border = np.maximum((high - low) * margin, 12.0)
    left, top = np.maximum(np.floor(low - border), 0).astype(int)
    right, bottom = np.minimum(np.ceil(high + border), (facts.width, facts.height)).astype(int)
    return int(left), int(top), int(right - left), int(bottom - top)
