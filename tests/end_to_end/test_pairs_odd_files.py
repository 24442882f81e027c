"""What `pairs generate` accepts of an annotation file every later step accepts; what it refuses it refuses at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ovforge.cli.common import run_app
from ovforge.cli.main import app
from ovforge.sources.pair_index import open_pair_index

GENERATE = (
    *("generate", "p", "--engine", "warp", "--workers", "1", "--quiet"),
    *("--ann", "in.json", "--images", "images", "--folder", "run"),
)
SIZE = (320, 240)
RLE = [100.0 * 240 + 60, *[140.0, 100.0] * 159, 140.0, 40.0 + 60 * 240]
POLYGON = [[100, 60, 260, 60, 260, 200, 100, 200]]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    noise = np.random.default_rng(0)
    for name in ("a.jpg", "b.jpg"):
        small = noise.integers(0, 255, (12, 16, 3), np.uint8)
        cv2.imwrite(str(images / name), cv2.resize(small, SIZE, interpolation=cv2.INTER_CUBIC))
    return tmp_path


def plain() -> dict[str, Any]:
    return {
        "images": [{"id": number, "width": SIZE[0], "height": SIZE[1], "file_name": name}
                   for number, name in ((1, "a.jpg"), (2, "b.jpg"))],
        "annotations": [{"id": 10 + image, "image_id": image, "category_id": 3, "bbox": [100, 60, 160, 140],
                         "area": 22400.0, "iscrowd": 0, "segmentation": POLYGON} for image in (1, 2)],
        "categories": [{"id": 3, "name": "dog"}],
    }  # fmt: skip


def images(**fields: Any) -> Callable[[Any], None]:
    return lambda data: [record.update(fields) for record in data["images"]] and None


def annotations(**fields: Any) -> Callable[[Any], None]:
    return lambda data: [record.update(fields) for record in data["annotations"]] and None


def without(section: str, *fields: str) -> Callable[[Any], None]:
    return lambda data: [record.pop(field, None) for record in data[section] for field in fields] and None


def addresses(data: Any) -> None:
    for record in data["images"]:
        record |= {"coco_url": f"http://x/train2017/{record['file_name']}", "file_name": None}


def folders(data: Any) -> None:
    for record in data["images"]:
        record["file_name"] = f"train2017/{record['file_name']}"


def windows_paths(data: Any) -> None:
    for record in data["images"]:
        record["file_name"] = f"D:\\data\\{record['file_name']}"


def whole_floats(data: Any) -> None:
    for section in ("images", "annotations", "categories"):
        for record in data[section]:
            record |= {key: float(value) for key, value in record.items() if key == "id" or key.endswith("_id")}
    images(width=float(SIZE[0]), height=float(SIZE[1]))(data)


ACCEPTED: dict[str, Callable[[Any], None]] = {
    "as it is": lambda data: None,
    "whole numbers as floats": whole_floats,
    "iscrowd false": annotations(iscrowd=False),
    "iscrowd null": annotations(iscrowd=None),
    "no iscrowd": without("annotations", "iscrowd"),
    "no area": without("annotations", "area"),
    "area null": annotations(area=None),
    "no box": without("annotations", "bbox"),
    "neither area nor box": without("annotations", "area", "bbox"),
    "lists null": images(neg_category_ids=None, not_exhaustive_category_ids=None),
    "file_name null beside coco_url": addresses,
    "names with folders": folders,
    "Windows paths": windows_paths,
    "no class names": without("categories", "name"),
    "unused fields of any kind": lambda data: (
        images(license="x", date_captured=None, pos_category_ids="?", video_id="v")(data),
        annotations(attributes={"id": "x", "mask": [1], "area": None}, keypoints=[None], track_id="t")(data),
    )[0],
    "numbers that no float holds": lambda data: (
        annotations(note="1e400", attributes={"n": 10**30})(data),
        data["annotations"].append(
            {
                **data["annotations"][0],
                "id": 99,
                "bbox": [0, 0, 50, 50],
                "segmentation": [[0, 0, 50, 0, "1e400", 50]],
                "area": 9,
            }
        ),
    )[0],
    "RLE of floats": annotations(segmentation={"size": [240.0, 320.0], "counts": RLE}),
    "a crowd beside": lambda data: data["annotations"].append(
        {**data["annotations"][0], "id": 99, "iscrowd": True, "segmentation": {"size": [1, 1], "counts": [1]}}
    ),
    "an object without mask and area": lambda data: data["annotations"].append(
        {"id": 99, "image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50]}
    ),
}  # fmt: skip

REFUSED: dict[str, tuple[Callable[[Any], None], str]] = {
    "iscrowd text": (annotations(iscrowd="0"), 'has "0" as its iscrowd'),
    "area text": (annotations(area="9"), 'has "9" as its area'),
    "box of three": (annotations(bbox=[1, 2, 3]), "has [1, 2, 3] as its bbox"),
    "no box and no mask": (without("annotations", "bbox", "segmentation"), "has no bbox"),
    "a list of text": (images(neg_category_ids=["a"]), 'has a list with "a" at place 1 as its neg_category_ids'),
    "width null": (images(width=None), "has null as its width"),
    "annotation twice": (annotations(id=5), "has the id 5 of annotation number 1"),
    "unknown image": (lambda data: data["annotations"][0].update(image_id=77), 'which is not in "images"'),
    "unknown class": (annotations(category_id=77), 'which is not in "categories"'),
    "one name": (images(file_name="a.jpg"), "has the file name a.jpg of image number 1"),
    "no name": (without("images", "file_name"), "has neither file_name nor coco_url"),
    "no objects": (lambda data: data["annotations"].clear(), "there is no object"),
    "crowds only": (annotations(iscrowd=True), "there is no object"),
    "no images": (lambda data: (data["images"].clear(), data["annotations"].clear())[0], "there is no image"),
    "other images": (lambda data: [one.update(file_name=f"COCO_{one['file_name']}") for one in data["images"]] and None,
                     "holds none of the 2 images"),
    "an id that would overflow": (lambda data: data["annotations"][1].update(id=2**63 - 1), "ids reach from"),
}  # fmt: skip


def run(*arguments: object, code: int = 0) -> None:
    assert run_app(app, ["pairs", *map(str, arguments)]) == code


def generate(change: Callable[[Any], None], code: int = 0) -> dict[str, Any]:
    data = plain()
    change(data)
    Path("in.json").write_text(json.dumps(data).replace('"1e400"', "1e400"))
    run(*GENERATE, code=code)
    return data


@pytest.mark.parametrize("change", ACCEPTED.values(), ids=ACCEPTED)
def test_what_generate_accepts_the_rest_accepts(root: Path, change: Callable[[Any], None]) -> None:
    data = generate(change)
    run("merge", "p", "--folder", "run", "--quiet")
    run("annotate", "p", "--folder", "run", "--quiet")
    pairs = json.loads(Path("run/annotations/p.json").read_text())
    assert sorted(image["file_name"] for image in pairs["images"]) == ["a.jpg", "a_v0.jpg", "b.jpg", "b_v0.jpg"]
    assert {one["ori_ann_id"] for one in pairs["annotations"] if "ori_ann_id" in one} >= {11, 12}
    stills = json.loads(Path("run/annotations/p.stills.json").read_text())
    assert [image["file_name"] for image in stills["images"]] == ["a.jpg", "b.jpg"]
    for one in (*pairs["annotations"], *stills["annotations"]):
        assert len(one["bbox"]) == 4
        assert one["area"] > 0
    followed = [one for one in stills["annotations"] if one["area"] > 20_000]
    assert [tuple(round(n) for n in one["bbox"]) for one in followed] == [(100, 60, 160, 140)] * 2
    # Every field that nobody uses is as it was.
    for before, after in zip(data["annotations"][:2], followed, strict=True):
        for field in ("attributes", "keypoints", "category_id"):
            assert after.get(field) == before.get(field)
    index = open_pair_index(Path("run/annotations/p.json"))
    assert len(index.pairs) == 2
    run("sheet", "p", "--folder", "run", "--quiet")


@pytest.mark.parametrize(("change", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_before_anything_is_made(
    root: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Any], None], told: str
) -> None:
    generate(change, code=2)
    assert told in capsys.readouterr().err
    assert not Path("run").exists()


def test_captions_of_other_images_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in.json").write_text(json.dumps(plain()))
    Path("captions.json").write_text('{"annotations": [{"id": 1, "image_id": 999, "caption": "x"}]}')
    run(*GENERATE, "--captions", "captions.json", code=2)
    assert "none of its 1 captions is of an image" in capsys.readouterr().err
    Path("captions.json").write_text('{"annotations": [{"id": 1, "image_id": 2, "caption": "x"}]}')
    run(*GENERATE, "--captions", "captions.json")
