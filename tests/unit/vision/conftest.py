"""Tiny vision models on disk, and a little data set to look at."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

CAT, DOG, CUP = "cat.n.01", "dog.n.01", "cup.n.01"
CATEGORIES: list[dict[str, Any]] = [
    {"id": 9, "name": "cup", "synset": CUP, "synonyms": ["cup"], "frequency": "r"},
    {"id": 3, "name": "cat", "synset": CAT, "synonyms": ["cat", "kitty"], "frequency": "f"},
    {"id": 5, "name": "dog", "synset": DOG, "synonyms": ["dog"], "frequency": "c"},
]


def tiny_models() -> Any:
    pytest.importorskip("transformers", reason="needs the extra 'vision'")
    path = Path(__file__).resolve().parents[2] / "tiny_vision_models.py"
    spec = importlib.util.spec_from_file_location("tiny_vision_models", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny("clip")`: the folder of a tiny model, built once; read only."""
    models = tiny_models()
    built: dict[str, Path] = {}

    def build(kind: str) -> Path:
        if kind not in built:
            built[kind] = models.build_tiny_vision_model(tmp_path_factory.mktemp(f"tiny-{kind}"), kind)
        return built[kind]

    return build


@pytest.fixture(scope="session")
def preprocessors() -> dict[str, dict[str, Any]]:
    """The preprocessor configurations of the tiny models."""
    configs: dict[str, dict[str, Any]] = tiny_models().PREPROCESSORS
    return configs


def photograph(seed: int, height: int = 60, width: int = 80) -> NDArray[np.uint8]:
    """Smooth random colours, uint8 RGB."""
    small = np.random.default_rng(seed).integers(0, 255, (5, 6, 3), np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


class World:
    """COCO images with three classes' exemplars."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.coco = root / "coco"
        (self.coco / "train2017").mkdir(parents=True)
        self.categories = root / "lvis_v1_val.json"
        self.categories.write_text(json.dumps({"images": [], "annotations": [], "categories": CATEGORIES}))
        self.records: dict[str, list[dict[str, Any]]] = {CAT: [], DOG: [], CUP: []}

    def add(self, synset: str, image: int, box: tuple[float, ...] = (5, 6, 30.5, 24)) -> None:
        """An exemplar of `synset` in image number `image`."""
        name = f"train2017/{image:012}.jpg"
        path = self.coco / name
        if not path.exists():
            cv2.imwrite(str(path), photograph(image)[..., ::-1])
        category = next(each["id"] for each in CATEGORIES if each["synset"] == synset)
        self.records[synset].append(
            {
                "dataset": "lvis", "file_name": name, "category_id": category, "synset": synset, "bbox": list(box),
                "id": 100 * image + len(self.records[synset]), "image_id": image,
            }
        )  # fmt: skip

    def drawn(self, *, named: bool = False) -> Path:
        """The file that `exemplars sample` would write."""
        by_id = sorted(CATEGORIES, key=lambda each: each["id"])
        lists = [self.records[each["synset"]] for each in by_id]
        names = [each["synset"] for each in by_id]
        path = self.root / "drawn.json"
        path.write_text(json.dumps(dict(zip(names, lists, strict=True)) if named else lists))
        return path


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two cats, two dogs, a cup; two of them in one image."""
    world = World(tmp_path)
    world.add(CAT, 1)
    world.add(CAT, 2, (20, 10, 40, 40))
    world.add(DOG, 3)
    world.add(DOG, 1, (40, 20, 30, 30))
    world.add(CUP, 4)
    return world
