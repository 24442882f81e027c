"""A tiny world of the three data sets, made anew for every test, and the expected files of the originals."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ovforge.options.exemplars import CollateOptions, CropOptions

DOG, STOP, BOB, SPINNER, STREET = "dog.n.01", "stop_sign.n.01", "bob.n.05", "spinner.n.03", "street_sign.n.01"
WNIDS = {DOG: "n02084071", SPINNER: "n04278605", STREET: "n06794110"}


@dataclass
class World:
    """Folders as users have them, and what is to be put into them."""

    root: Path

    @property
    def lvis(self) -> Path:
        return self.root / "lvis"

    @property
    def coco(self) -> Path:
        return self.root / "coco"

    @property
    def imagenet(self) -> Path:
        return self.root / "imagenet" / "imagenet21k_P"

    @property
    def genome(self) -> Path:
        return self.root / "VisualGenome"

    def options(self, **changes: Any) -> CollateOptions:
        given = {"lvis_dir": self.lvis, "imagenet_dir": self.imagenet, "visual_genome_dir": self.genome}
        return CollateOptions(out=self.root / "out" / "exemplars.json", **{**given, **changes})

    def crop_options(self, exemplars: Path, **changes: Any) -> CropOptions:
        given = {
            "lvis_images": self.coco,
            "imagenet_images": self.imagenet,
            "visual_genome_images": self.genome,
        }
        return CropOptions(exemplars, self.root / "crops", **{**given, **changes})

    def write_lvis(self, annotations: list[dict[str, Any]], categories: list[dict[str, Any]] | None = None) -> None:
        self.lvis.mkdir(exist_ok=True)
        content = {
            "images": [
                {"id": n, "width": 64, "height": 48, "coco_url": f"http://images.cocodataset.org/train2017/{n:012}.jpg"}
                for n in range(1, 6)
            ],
            "annotations": annotations,
            "categories": categories or CATEGORIES,
        }
        (self.lvis / "lvis_v1_train.json").write_text(json.dumps(content))

    def write_genome(self, objects: list[dict[str, Any]], images: list[dict[str, Any]] | None = None) -> None:
        self.genome.mkdir(exist_ok=True)
        (self.genome / "objects.json").write_text(json.dumps([{"image_id": 7, "objects": objects}]))
        listed = images or [{"image_id": 7, "url": "https://x/VG_100K_2/7.jpg", "coco_id": 2}]
        (self.genome / "image_data.json").write_text(json.dumps(listed))

    def write_imagenet(self, synset: str, count: int, part: str = "train", first: int = 0) -> None:
        folder = self.imagenet / part / WNIDS[synset]
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            (folder / f"{WNIDS[synset]}_{number}.JPEG").write_bytes(jpeg(32, 24, number))


CATEGORIES: list[dict[str, Any]] = [
    {"id": 378, "name": "dog", "synset": DOG, "frequency": "f"},
    {"id": 119, "name": "bob", "synset": BOB, "frequency": "r"},
    {"id": 1019, "name": "stop_sign", "synset": STOP, "frequency": "f"},
    {"id": 1026, "name": "street_sign", "synset": STREET, "frequency": "f"},
]


def box(number: int, category: int, area: float, image: int = 1, **more: Any) -> dict[str, Any]:
    """An LVIS annotation."""
    return {
        "area": area,
        "id": number,
        "segmentation": [[1, 2, 3, 4, 5, 6]],
        "image_id": image,
        "bbox": [4.5, 3.25, 20.0, 30.5],
        "category_id": category,
        **more,
    }


def thing(number: int, synset: str | list[str], w: int = 40, h: int = 40, **more: Any) -> dict[str, Any]:
    """A Visual Genome object."""
    synsets = [synset] if isinstance(synset, str) else synset
    return {"synsets": synsets, "h": h, "object_id": number, "names": ["x"], "w": w, "y": 1, "x": 2, **more}


def jpeg(width: int, height: int, seed: int = 0) -> bytes:
    """A JPEG of smooth random colours."""
    small = np.random.default_rng(seed).integers(0, 255, (4, 5, 3), np.uint8)
    pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".jpg", pixels)[1].tobytes())


@pytest.fixture
def world(tmp_path: Path) -> World:
    """All three sources, with a few exemplars each and images for all of them."""
    world = World(tmp_path)
    world.write_lvis([box(1, 378, 1500.0), box(2, 378, 1024.0), box(3, 1019, 1024.5, 2), box(4, 378, 3000.0, 2)])
    world.write_imagenet(DOG, 3)
    world.write_imagenet(SPINNER, 2)
    world.write_imagenet(STREET, 2)
    world.write_genome([thing(10, DOG), thing(11, STOP), thing(12, STREET), thing(13, DOG, 32, 31)])
    for number in range(1, 6):
        (world.coco / "train2017").mkdir(parents=True, exist_ok=True)
        (world.coco / "train2017" / f"{number:012}.jpg").write_bytes(jpeg(64, 48, number))
    (world.genome / "VG_100K_2").mkdir(parents=True)
    (world.genome / "VG_100K_2" / "7.jpg").write_bytes(jpeg(64, 48, 7))
    return world


@pytest.fixture
def unpacked(mini_expected: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Unpacks a file of `mini_expected` and gives its path."""

    def unpack(name: str) -> Path:
        path = tmp_path / "expected" / Path(name).name.removesuffix(".gz")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.decompress((mini_expected / name).read_bytes()))
        return path

    return unpack
