"""Listing cut-out exemplars as an annotation file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ovforge.errors import AnnotationFileError, InputError, MissingInputError, OutputExistsError
from ovforge.exemplars import crop_exemplars, index_exemplars
from ovforge.options.exemplars import CropForm, CropOptions, ExemplarIndexOptions
from ovforge.runs.executors.in_process import InProcessExecutor

from .conftest import jpeg

TURNED = "n02114100_9835.JPEG"
"""The image of the small data set that EXIF turns: copied as it is, where the original wrote it without EXIF."""


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """Two classes with two crops and one, folders by place."""
    folder = tmp_path / "crops"
    for name, size in {
        "val/0/val_1_lvis_a.jpg": (30, 20),
        "val/0/val_10_lvis_b.jpg": (9, 8),
        "val/1/x.jpg": (7, 7),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(*size))
    return folder


def write_classes(crops: Path, classes: list[dict[str, Any]]) -> None:
    (crops / "classes.json").write_text(json.dumps({"form": "lists", "classes": classes}))


def index(crops: Path, categories: Any, **more: Any) -> tuple[dict[str, Any], Any]:
    meta, output = crops.parent / "meta.json", crops.parent / "out" / "info.json"
    meta.write_text(json.dumps({"images": [], "annotations": [], "categories": categories}))
    summary = index_exemplars(ExemplarIndexOptions(crops, meta, output, **{"overwrite": True, **more}))
    return json.loads(output.read_text()), summary


def test_the_originals_file(mini: Path, unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    """The categories are numbered otherwise than in the sampled exemplars: they are found by their synset."""
    crop_exemplars(
        CropOptions(
            unpacked("sample_exemplars/lvis_image_exemplar_dict_K-030_ovmr_min1.json.gz"),
            tmp_path / "crops",
            CropForm.LISTS,
            unpacked("sample_exemplars/lvis_image_exemplar_dict_K-005_ovmr_min1.json.gz"),
            lvis_images=mini / "coco",
            imagenet_images=mini / "imagenet" / "imagenet21k_P",
            visual_genome_images=mini / "VisualGenome",
        ),
        InProcessExecutor(),
    )
    options = ExemplarIndexOptions(
        tmp_path / "crops",
        unpacked("create_lvis_exemplar_dataset_json/input_lvis_meta_min1_renumbered.json.gz"),
        tmp_path / "info.json",
    )
    index_exemplars(options)
    original = json.loads(unpacked("create_lvis_exemplar_dataset_json/lvis_exemplar_info.sorted.json.gz").read_text())
    turned = [image for image in original["images"] if image["file_name"].endswith(TURNED)]
    assert turned
    for image in turned:
        image["width"], image["height"] = image["height"], image["width"]
    assert options.output.read_text() == json.dumps(original)


def test_categories_are_found_by_synset_then_by_id(crops: Path) -> None:
    write_classes(
        crops,
        [
            {"folder": "0", "category_id": 50, "synset": "b.n.01", "files": {}},
            {"folder": "1", "category_id": 60, "synset": None, "files": {}},
        ],
    )
    categories = [
        {"id": 60, "name": "a", "image_count": 99},
        {"id": 1, "name": "b", "synset": "b.n.01"},
        {"id": 50, "name": "c", "synset": "c.n.01"},
    ]
    found, summary = index(crops, categories)
    assert [(image["file_name"], image["pos_category_ids"]) for image in found["images"]] == [
        ("val/1/x.jpg", [60]),
        ("val/0/val_10_lvis_b.jpg", [1]),
        ("val/0/val_1_lvis_a.jpg", [1]),
    ]
    assert [image["id"] for image in found["images"]] == [1, 2, 3]
    assert [category["image_count"] for category in found["categories"]] == [1, 2, 0]
    assert summary.drops[0].examples == ("c.n.01",)
    assert list(found) == ["categories", "images", "annotations"]


def test_without_classes_file_folders_are_those_of_the_original(crops: Path) -> None:
    found, summary = index(crops, [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 9, "name": "c"}])
    assert [category["image_count"] for category in found["categories"]] == [2, 1, 0]
    assert "folder n is taken for category n + 1" in summary.notes[0]


def test_what_is_no_image_is_named_and_skipped(crops: Path) -> None:
    (crops / "val" / "1" / "notes.txt").write_text("mine")
    found, summary = index(crops, [{"id": 2, "name": "b"}])
    assert len(found["images"]) == 1
    assert "notes.txt" in summary.drops[0].examples[0]


@pytest.mark.parametrize("categories", [[], [{"name": "a"}], [7], {"id": 1}])
def test_bad_categories(crops: Path, categories: Any) -> None:
    with pytest.raises(InputError, match=r"meta\.json"):
        index(crops, categories)


def test_other_bad_input(crops: Path) -> None:
    with pytest.raises(MissingInputError, match="all: folder of cropped exemplars"):
        index(crops, [{"id": 1}], split="all")
    with pytest.raises(InputError, match="no image of any of the 1 categories"):
        index(crops, [{"id": 77}])
    (crops / "classes.json").write_text("{}")
    with pytest.raises(AnnotationFileError, match=r"classes\.json"):
        index(crops, [{"id": 1}])
    (crops / "classes.json").unlink()
    index(crops, [{"id": 1}])
    with pytest.raises(OutputExistsError):
        index(crops, [{"id": 1}], overwrite=False)
