"""`docs/own-data.md` is run, from its own text, with a COCO file of one's own."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ovforge.cli.common import run_app
from ovforge.cli.main import app
from ovforge.files.review_file import change_review
from ovforge.records.review import ReviewChange

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-data.md"
NAMES = ("shop a/front 1.jpg", "shop b/front 1.jpg", "shop b/back.jpg", "top.jpg")


def commands() -> list[list[str]]:
    return [shlex.split(line)[1:] for block in blocks("") for line in block.splitlines()]


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", PAGE.read_text("utf-8"), re.S | re.M)
    return [text for of, text in found if of == language]


def example() -> dict[str, Any]:
    content: dict[str, Any] = msgspec.json.decode(blocks("json")[0])
    return content


@pytest.fixture
def mydata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's example with three images more, two of them of one file name, each of a colour of its own."""
    monkeypatch.chdir(tmp_path)
    content = example()
    image, annotation = content["images"][0], content["annotations"][0]
    content["images"] = [{**image, "id": n + 1, "file_name": name} for n, name in enumerate(NAMES)]
    content["annotations"] = [{**annotation, "id": n + 1, "image_id": n + 1} for n in range(len(NAMES))]
    rng = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        path = tmp_path / "mydata/images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 40, (image["height"], image["width"], 3)).astype(np.uint8) + np.uint8(50 * number)
        cv2.imwrite(str(path), pixels)
    (tmp_path / "mydata/annotations.json").write_bytes(msgspec.json.encode(content))
    return tmp_path / "mydata"


def test_page_from_beginning_to_end(
    mydata: Path, serve_and_stop: Callable[[list[str]], str], capsys: pytest.CaptureFixture[str]
) -> None:
    from ovforge.image_io.hdf5 import ImageReader

    folder = Path("data/tao/ovtrack")
    told: dict[str, str] = {}
    for arguments in commands():
        if arguments[:2] == ["pairs", "view"]:  # serves until somebody ends it; the tests of the viewer look at it
            assert "http://127.0.0.1:" in serve_and_stop(arguments)
            change_review(folder / "shop.review.json", [ReviewChange("top_v0.jpg", "reject")])
            continue
        assert run_app(app, arguments) == 0, arguments
        out = capsys.readouterr()
        told[" ".join(arguments[:2])] = out.out + out.err
    assert set(told) == {"pairs generate", "pairs merge", "pairs annotate", "pairs export"}
    assert run_app(app, ["doctor"]) == 0
    told["doctor"] = capsys.readouterr().out
    assert "shop: 4 images by fill: merged and annotated" in told["doctor"]
    assert told["doctor"].endswith("next: ovforge pairs view shop\n")
    for text in told.values():
        assert "frequenc" not in text.lower()
        assert "caption" not in text.lower()
        assert "lvis" not in text.lower()
    written = msgspec.json.decode((folder / "annotations/shop.json").read_bytes())
    names = {image["file_name"] for image in written["images"]}
    flat = {name.replace("/", "__") for name in NAMES}
    assert {name for name in names if "_v0" not in name} == flat - {"top.jpg"}
    assert (folder / "annotations/shop.stills.json").is_file()
    exported = msgspec.json.decode((folder / "exports/shop-coco/annotations/instances_train.json").read_bytes())
    assert {image["file_name"] for image in exported["images"]} == names
    assert [one["name"] for one in exported["categories"]] == ["price tag"]
    with ImageReader(folder / "shop.h5") as reader:  # each is the image of its own folder
        for name in NAMES:
            assert reader.read(name.replace("/", "__")) == (mydata / "images" / name).read_bytes()


def test_boxes_alone_are_refused_with_what_to_do(mydata: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = mydata / "annotations.json"
    content = msgspec.json.decode(path.read_bytes())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    path.write_bytes(msgspec.json.encode(content))
    assert run_app(app, commands()[0]) == 2
    told = capsys.readouterr().err
    assert "mydata/annotations.json: has boxes only" in told
    assert "make masks from the boxes" in told
    assert "--boxes-as-masks" in told
    assert not Path("data/tao/ovtrack/shop").exists()


def test_boxes_as_masks_are_rounded_and_said_to_be_coarse(mydata: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = mydata / "annotations.json"
    content = msgspec.json.decode(path.read_bytes())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    path.write_bytes(msgspec.json.encode(content))
    assert run_app(app, [*commands()[0], "--boxes-as-masks", "--engine", "warp"]) == 0
    assert "coarse" in capsys.readouterr().out
    for arguments in commands()[1:3]:
        assert run_app(app, arguments) == 0
    written = msgspec.json.decode(Path("data/tao/ovtrack/annotations/shop.json").read_bytes())
    second = {image["id"] for image in written["images"] if image["frame_id"]}
    assert any(one["image_id"] in second for one in written["annotations"])
    for one in written["annotations"]:  # of both views: the first one's are the rounded boxes themselves
        mask = coco_mask.decode(one["segmentation"])
        if one["image_id"] not in second:
            x, y, width, height = map(int, one["bbox"])
            assert mask[y, x] == 0
            assert mask.sum() == pytest.approx(width * height - (4 - np.pi) * (0.3 * height) ** 2, rel=0.02)
    for form in ("youtube-vis", "burst"):  # made of masks
        assert run_app(app, ["pairs", "export", "shop", "--to", form]) == 0
    capsys.readouterr()
    assert run_app(app, ["pairs", "replay", "shop", "top.jpg"]) == 0
    assert "equal to the run's, byte for byte  1" in capsys.readouterr().out
    assert run_app(app, ["pairs", "score", "shop", "--workers", "1"]) == 0
    objects = re.search(r"^  objects +(\d+)$", capsys.readouterr().out, re.M)
    assert objects is not None
    assert int(objects[1]) == len(NAMES)
    # The run knows its option: the same command without it goes on with it.
    assert run_app(app, commands()[0]) == 0
    assert "--boxes-as-masks: as the run was started" in capsys.readouterr().out


def test_a_rounded_box_covers_its_box_but_for_the_corners() -> None:
    from ovforge.annotation_io.segmentation import rasterise
    from ovforge.synthesis.box_masks import rounded_box, with_box_mask

    mask = coco_mask.decode(rasterise([rounded_box(10, 20, 100, 50)], 200, 100))
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (10, 109, 20, 69)
    assert mask[20, 10] == mask[69, 109] == 0
    assert mask.sum() == pytest.approx(100 * 50 - (4 - np.pi) * 15**2, rel=0.02)
    for record in (
        {"bbox": [1, 2, 3, 4], "segmentation": [[0, 0, 1, 0, 1, 1]]},
        {"bbox": [1, 2, 0, 4]},
        {"bbox": [1, 2, 3, 4], "iscrowd": 1},
        {},
    ):
        raw = msgspec.json.encode(record)
        assert with_box_mask(raw) == raw
