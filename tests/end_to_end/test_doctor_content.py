"""`ovforge doctor` goes by what is in a file, not by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ovforge.options import layout
from ovforge.options.workflow import WorkflowOptions
from ovforge.workflow.doctor import doctor
from ovforge.workflow.inventory import InputState

LVIS_CLASSES = [{"id": n, "name": f"c{n}", "synset": f"c{n}.n.01", "frequency": "f"} for n in range(1, 1204)]
COCO_CLASSES = [{"id": n, "name": f"c{n}"} for n in range(1, 81)]


def images(*names: str, field: str = "coco_url") -> list[dict[str, Any]]:
    return [{"id": number, field: name} for number, name in enumerate(names)]


def state(root: Path, place: Path, content: Any) -> InputState:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return next(one for one in doctor(WorkflowOptions(root=root)).inputs if one.place == str(place))


TRAIN, VAL = "http://x/train2017/1.jpg", "http://x/val2017/2.jpg"


@pytest.mark.parametrize(
    ("place", "names", "problem"),
    [
        (layout.LVIS_TRAIN, [TRAIN], ""),
        (layout.LVIS_TRAIN, [TRAIN, VAL], "holds val images (1 of 2): it is the val file, in train's place"),
        (layout.LVIS_TRAIN, [VAL], "holds val images (1 of 1)"),
        (layout.TRACKING_LVIS_TRAIN, [VAL], "holds val images (1 of 1)"),
        (layout.LVIS_TRAIN, ["http://elsewhere/1.jpg"], ""),
        (layout.LVIS_VAL, [TRAIN, VAL], ""),  # LVIS's val file has images of COCO's train2017, too
        (layout.LVIS_VAL, [VAL], ""),
        (layout.LVIS_VAL, [TRAIN], "holds train images only: it is the train file, in val's place"),
    ],
)
def test_lvis_train_and_val_are_told_apart(tmp_path: Path, place: Path, names: list[str], problem: str) -> None:
    found = state(tmp_path, place, {"images": images(*names), "annotations": [], "categories": LVIS_CLASSES})
    assert found.looks_like == "LVIS v1"
    assert found.problem.startswith(problem) if problem else not found.problem
    assert found.present is not bool(problem)


@pytest.mark.parametrize("place", layout.TRACKING_COCO_TRAIN_PLACES)
@pytest.mark.parametrize(
    ("name", "field", "looks_like", "usable"),
    [
        (TRAIN, "coco_url", "COCO 2017 instances", True),
        (VAL, "coco_url", "COCO 2017 val instances", False),
        ("COCO_train2014_000000000009.jpg", "file_name", "COCO 2014 train instances", False),
        ("COCO_val2014_000000000042.jpg", "file_name", "COCO 2014 val instances", False),
        ("000000000009.jpg", "file_name", "COCO instances", True),
    ],
)
def test_coco_releases_are_told_apart(
    tmp_path: Path, place: Path, name: str, field: str, looks_like: str, usable: bool
) -> None:
    found = state(tmp_path, place, {"images": images(name, field=field), "annotations": [], "categories": COCO_CLASSES})
    assert found.looks_like == looks_like
    assert found.present is usable
    assert usable or looks_like in found.problem


@pytest.mark.parametrize(
    ("place", "content", "problem"),
    [
        (layout.TRACKING_CAPTIONS, {"annotations": [{"image_id": 1, "caption": "a"}]}, ""),
        (layout.TRACKING_CAPTIONS, {"annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}, 'has no "caption"'),
        (layout.TRACKING_CAPTIONS, {"annotations": []}, "has no annotations"),
        (layout.TRACKING_CAPTIONS, {"images": []}, 'has no "annotations"'),
        (layout.VISUAL_GENOME_DIR / "objects.json", [{"image_id": 1, "objects": [{"synsets": ["a"]}]}], ""),
        (layout.VISUAL_GENOME_DIR / "objects.json", [{"image_id": 1, "regions": []}], 'has no "objects"'),
        (layout.VISUAL_GENOME_DIR / "objects.json", {"objects": []}, "is not a JSON list"),
        (layout.VISUAL_GENOME_DIR / "image_data.json", [{"image_id": 1, "url": "x"}], ""),
        (layout.VISUAL_GENOME_DIR / "image_data.json", [{"image_id": 1, "objects": []}], 'has no "url"'),
        (layout.LVIS_TRAIN, {"images": [], "categories": COCO_CLASSES[:7]}, "its categories have no frequency"),
        (layout.LVIS_TRAIN, {"images": [], "categories": COCO_CLASSES}, "its categories have no frequency"),
        (layout.LVIS_TRAIN, {"images": [], "categories": [{"id": 1, "frequency": None}]}, "its categories have no"),
    ],
)
def test_other_files_say_what_they_lack(tmp_path: Path, place: Path, content: Any, problem: str) -> None:
    found = state(tmp_path, place, content)
    assert problem in found.problem
    assert found.present is not bool(problem)
