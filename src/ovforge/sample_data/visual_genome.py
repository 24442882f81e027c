"""Images and objects in the layout of Visual Genome: boxes with free names and, mostly, one synset each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovforge.sample_data.geometry import Polygon, Tile, area
from ovforge.sample_data.polygons import LabelledObject, objects_in
from ovforge.taxonomy import class_by_synset

Record = dict[str, Any]

# As in COCO's case: readers look at the last two parts of the address, and the ids are above all of Visual Genome's.
URL = "https://cs.stanford.edu/people/rak248"
_FIRST_ID = 9_000_001

_MORE: dict[str, tuple[tuple[tuple[str, ...], str, tuple[int, int, int, int]], ...]] = {
    "astronaut": (
        (("hair.n.01",), "hair", (153, 15, 149, 121)),
        (("face.n.01",), "face", (179, 72, 92, 112)),
        ((), "straps", (236, 320, 40, 192)),
        (("patch.n.03",), "patch", (133, 349, 74, 73)),
    ),
    "coffee": (
        (("handle.n.01",), "handle", (196, 225, 64, 84)),
        (("coffee.n.01",), "coffee", (205, 96, 165, 98)),
    ),
    "chelsea": (
        (("eye.n.01",), "eye", (136, 85, 71, 62)),
        (("eye.n.01",), "eye", (295, 109, 49, 55)),
        (("nose.n.01",), "nose", (238, 225, 55, 41)),
    ),
    "camera": (
        (("ear.n.01",), "ear", (178, 126, 20, 29)),
        (("grass.n.01",), "grass", (0, 233, 512, 279)),
    ),
    "rocket": (
        (("rocket.n.01",), "rocket", (309, 126, 26, 281)),
        (("tower.n.01", "lattice.n.03"), "lattice tower", (0, 0, 88, 427)),
    ),
    "clock": (),
}
"""What Visual Genome would name beyond the outlined objects: (synsets, name, box x, y, width, height)."""


@dataclass(frozen=True)
class GenomeImage:
    """One image: its id, its folder and its view."""

    id: int
    folder: str
    tile: Tile

    @property
    def path(self) -> str:
        """Its path below `VisualGenome`."""
        return f"{self.folder}/{self.id}.jpg"


def genome_images() -> tuple[GenomeImage, ...]:
    """Each photograph once, cut or mirrored otherwise than in COCO's folders."""
    tiles = (
        Tile("astronaut", (0, 0, 512, 500), (500, 488)),
        Tile("coffee", (20, 10, 560, 380), mirror=True),
        Tile("chelsea", (0, 0, 440, 295), (330, 221)),
        Tile("camera", (0, 30, 512, 482), (384, 362)),
        Tile("rocket", (0, 20, 640, 400), (800, 500)),
        Tile("clock", (60, 40, 300, 230)),
    )
    return tuple(
        GenomeImage(_FIRST_ID + number, "VG_100K" if number % 2 else "VG_100K_2", tile)
        for number, tile in enumerate(tiles)
    )


def image_data() -> list[Record]:
    """`image_data.json`."""
    return [
        {
            "width": image.tile.out_size[0],
            "url": f"{URL}/{image.path}",
            "height": image.tile.out_size[1],
            "image_id": image.id,
            "coco_id": None,
            "flickr_id": None,
        }
        for image in genome_images()
    ]


def objects() -> list[Record]:
    """`objects.json`."""
    records: list[Record] = []
    number = 0
    for image in genome_images():
        boxes: list[Record] = []
        for synsets, name, (x, y, width, height) in _things(image.tile):
            number += 1
            boxes.append(
                {
                    "synsets": list(synsets),
                    "h": height,
                    "object_id": number,
                    "merged_object_ids": [],
                    "names": [name],
                    "w": width,
                    "y": y,
                    "x": x,
                }
            )
        records.append({"image_id": image.id, "objects": boxes, "image_url": f"{URL}/{image.path}"})
    return records


def _things(tile: Tile) -> Iterator[tuple[tuple[str, ...], str, tuple[int, int, int, int]]]:
    outlined: list[LabelledObject] = list(objects_in((tile,), tile.out_size))
    for labelled in outlined:
        name = class_by_synset()[labelled.synset].name.replace("_", " ")
        yield (labelled.synset,), name, _box(np.concatenate(labelled.polygons))
    for synsets, name, (x, y, width, height) in _MORE[tile.photograph]:
        corners: Polygon = np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], np.float64)
        moved = tile.moved(corners)
        if area(moved) >= 1:
            yield synsets, name, _box(moved)


def _box(points: NDArray[np.float64]) -> tuple[int, int, int, int]:
    """x, y, width, height in whole pixels, as Visual Genome has them."""
    x, y = np.floor(points.min(axis=0)).astype(int)
    right, bottom = np.ceil(points.max(axis=0)).astype(int)
    return int(x), int(y), int(right - x), int(bottom - y)
