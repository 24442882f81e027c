"""A small run of pairs with textured objects, merged, for the judge."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ovforge.options.pairs import GenerateOptions
from ovforge.options.tracks import MergeOptions
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.synthesis.generate import generate_pairs
from ovforge.synthesis.merge import merge_pairs
from ovforge.synthesis.warp import WarpEngine

WIDTH, HEIGHT = 260, 200
BOXES = ((20, 30, 90, 80), (140, 80, 90, 90))


@dataclass(frozen=True)
class Run:
    """A merged run."""

    folder: Path
    annotations: Path
    name: str = "pairs"


def textured(seed: int, width: int, height: int, cell: int = 6) -> NDArray[np.uint8]:
    """Random coloured blocks with fine noise, uint8 RGB."""
    generator = np.random.default_rng(seed)
    blocks = generator.integers(30, 225, (height // cell + 1, width // cell + 1, 3), np.uint8)
    large = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return np.clip(large + generator.integers(-12, 13, large.shape), 0, 255).astype(np.uint8)


def scene(seed: int) -> NDArray[np.uint8]:
    """A smooth background with two textured objects at `BOXES`."""
    image = cv2.resize(
        np.random.default_rng(1000 + seed).integers(90, 160, (3, 4, 3), np.uint8),
        (WIDTH, HEIGHT),
        interpolation=cv2.INTER_CUBIC,
    )
    for number, (x, y, w, h) in enumerate(BOXES):
        image[y : y + h, x : x + w] = textured(10 * seed + number, w, h)
    return np.asarray(image, np.uint8)


def masks() -> list[NDArray[np.uint8]]:
    """The objects' masks in `scene`."""
    result = []
    for x, y, w, h in BOXES:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[y : y + h, x : x + w] = 255
        result.append(mask)
    return result


@pytest.fixture(scope="session")
def run_of_pairs(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Four images with two objects each, one without any, made by the engine `warp` and merged; read only."""
    root = tmp_path_factory.mktemp("judge")
    images, annotations = [], []
    (root / "images").mkdir()
    for number in range(1, 6):
        name = f"{number:012}.jpg"
        cv2.imwrite(str(root / "images" / name), scene(number)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 97])
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for place, (x, y, w, h) in enumerate(BOXES if number < 5 else ()):
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append(
                {
                    "id": 10 * number + place, "image_id": number, "category_id": 1 + place, "bbox": [x, y, w, h],
                    "area": w * h, "iscrowd": 0, "segmentation": [polygon],
                }
            )  # fmt: skip
    path = root / "base.json"
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    options = GenerateOptions("pairs", out=root / "runs", images=root / "images", annotations=path, seed=3)
    generate_pairs(options, WarpEngine(), InProcessExecutor())
    merge_pairs(MergeOptions("pairs", folder=root / "runs"))
    return Run(root / "runs", path)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny("clip")`: the folder of a tiny model, built once; read only."""
    pytest.importorskip("transformers", reason="needs the extra 'vision'")
    path = Path(__file__).resolve().parents[2] / "tiny_vision_models.py"
    spec = importlib.util.spec_from_file_location("tiny_vision_models", path)
    assert spec is not None and spec.loader is not None
    models: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    built: dict[str, Path] = {}

    def build(kind: str) -> Path:
        if kind not in built:
            built[kind] = models.build_tiny_vision_model(tmp_path_factory.mktemp(f"tiny-{kind}"), kind)
        return built[kind]

    return build
