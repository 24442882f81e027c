"""No object is seen twice, none goes without a label: counted in what comes out, with masks and motions moved here.

All annotated objects are painted magenta into grey photographs. So every coloured pixel of a second view is a piece of
an annotated object, however it got there: moved, left at its old place, mirrored, or copied by the completion.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ovforge.cli.common import run_app
from ovforge.cli.pairs import app
from ovforge.image_io.hdf5 import ImageReader
from ovforge.options.sample_data import SampleDataOptions
from ovforge.sample_data import sample_data

BLEEDING = 10
"""Pixels: JPEG keeps colours at half the size, in blocks."""
ColourPixels = np.ndarray[Any, np.dtype[np.bool_]]


@pytest.fixture(scope="module", params=["mini", "mini COCO", "sample data"])
def root(request: pytest.FixtureRequest, mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with painted `images`, their `annotations.json`, and the runs `filled` and `preview` over them."""
    folder = tmp_path_factory.mktemp("painted")
    if request.param == "sample data":
        pytest.importorskip("skimage", reason="scikit-image carries the photographs")
        sample_data(SampleDataOptions(folder / "sample"))
        annotations = folder / "sample/datasets/lvis/lvis_v1_train.json"
        photographs = folder / "sample/datasets/coco/train2017"
    else:
        name = "lvis/lvis_v1_train.json" if request.param == "mini" else "coco/annotations/instances_train2017.json"
        annotations, photographs = mini / name, mini / "coco/train2017"
    content = json.loads(annotations.read_bytes())
    objects = by_image(content)
    content["images"] = [i for i in content["images"] if (photographs / name_of(i)).exists()]
    there = {i["id"] for i in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in there]
    (folder / "annotations.json").write_text(json.dumps(content))
    (folder / "images").mkdir()
    for image in content["images"]:
        grey = cv2.imread(str(photographs / name_of(image)), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
        pixels = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
        for annotation in objects[image["id"]]:
            pixels[mask_of(annotation, image) > 0] = (255, 0, 255)
        cv2.imwrite(str(folder / "images" / name_of(image)), pixels, [cv2.IMWRITE_JPEG_QUALITY, 98])
    inputs = ["--ann", folder / "annotations.json", "--images", folder / "images"]
    for run, options in (("filled", ()), ("preview", ("--engine", "warp"))):
        call("generate", run, *inputs, "--folder", folder, "--variants", 2, "--workers", 1, *options)
    return folder


def call(*arguments: object) -> None:
    assert run_app(app, [*map(str, arguments), "--quiet"]) == 0


def name_of(image: dict[str, Any]) -> str:
    return str(image.get("file_name") or image["coco_url"]).rpartition("/")[2]


def by_image(content: dict[str, Any]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in content["annotations"]:
        found[annotation["image_id"]].append(annotation)
    return found


def mask_of(annotation: dict[str, Any], image: dict[str, Any]) -> np.ndarray:
    """The annotation's mask, by pycocotools alone."""
    size = (image["height"], image["width"])
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, dict):
        rle = segmentation
        if isinstance(rle["counts"], list):
            rle = coco_mask.frPyObjects(rle, *size)
        return np.asarray(coco_mask.decode(rle))
    return np.asarray(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))))


@dataclass
class View:
    """A second view, its entries, and where the motion takes each annotated object: computed here."""

    image: dict[str, Any]
    name: str
    motion: dict[str, Any]
    pixels: np.ndarray
    entries: dict[int, dict[str, Any]]
    moved: dict[int, np.ndarray]
    inside: np.ndarray

    @property
    def coloured(self) -> ColourPixels:
        return is_coloured(self.pixels)


def is_coloured(pixels: np.ndarray) -> ColourPixels:
    """Where an image (BGR) is magenta rather than grey."""
    blue, green, red = (pixels[..., channel].astype(int) for channel in range(3))
    return np.asarray((red - green > 60) & (blue - green > 60))


def views(root: Path, name: str) -> Iterator[View]:
    content = json.loads((root / "annotations.json").read_bytes())
    images, objects = {i["id"]: i for i in content["images"]}, by_image(content)
    stem = root / name / f"{name}_total_p_1_split_0"
    with ImageReader(stem.with_suffix(".h5")) as reader:
        for pair in json.loads(stem.with_suffix(".pairs.json").read_bytes())["pairs"]:
            image = images[pair["image_id"]]
            size = (image["width"], image["height"])
            for variant in pair["variants"]:
                if variant["motion"]["kind"] == "none":
                    continue
                matrix = np.array(variant["motion"]["matrix"])

                def move(mask: np.ndarray, matrix: np.ndarray = matrix, size: tuple[int, int] = size) -> np.ndarray:
                    return cv2.warpPerspective(mask, matrix, size, flags=cv2.INTER_NEAREST)

                data = np.frombuffer(reader.read(variant["file_name"]), np.uint8)
                yield View(
                    image,
                    variant["file_name"],
                    variant["motion"],
                    cv2.imdecode(data, cv2.IMREAD_COLOR),
                    {entry["id"]: entry for entry in variant["annotations"]},
                    {a["id"]: move(mask_of(a, image)) for a in objects[image["id"]]},
                    move(np.ones(size[::-1], np.uint8)),
                )


def grown(mask: np.ndarray) -> ColourPixels:
    return np.asarray(cv2.dilate(mask, np.ones((2 * BLEEDING + 1, 2 * BLEEDING + 1), np.uint8)) > 0)


def test_no_object_is_seen_twice_and_none_without_a_label(root: Path) -> None:
    old_copies = unlabelled = seen = gaps = 0
    for view in views(root, "filled"):
        gaps += bool((view.inside == 0).any())
        everything = np.zeros(view.inside.shape, np.uint8)
        labelled = np.zeros(view.inside.shape, bool)
        for number, mask in view.moved.items():
            everything |= mask
            entry = view.entries.get(number)
            if not mask.any():
                assert entry is None or entry["area"] == 0
                continue
            seen += 1
            unlabelled += entry is None or entry["area"] != mask.sum()
            if entry is not None:
                x, y, width, height = entry["bbox"]
                labelled[y : y + height, x : x + width] = True
                assert entry["old_copy"] == 0
        # Colour that is nowhere near a moved object is a copy, and colour outside of all boxes has no label.
        old_copies += int(np.count_nonzero(view.coloured & ~grown(everything)))
        unlabelled += int(np.count_nonzero(view.coloured & ~grown(labelled.astype(np.uint8))))
    assert seen > 30
    assert gaps > 10
    assert (old_copies, unlabelled) == (0, 0)


def test_nothing_that_is_seen_is_without_a_label_in_the_annotation_file(root: Path) -> None:
    call("merge", "filled", "--folder", root)
    call("annotate", "filled", "--folder", root)
    content = json.loads((root / "annotations/filled.json").read_bytes())
    labels = by_image(content)
    colour = found = regions = 0
    with ImageReader(root / "filled.h5") as reader:
        for image in content["images"]:
            data = np.frombuffer(reader.read(image["file_name"]), np.uint8)
            coloured = is_coloured(cv2.imdecode(data, cv2.IMREAD_COLOR))
            labelled = np.zeros(coloured.shape, np.uint8)
            for annotation in labels[image["id"]]:
                labelled |= mask_of(annotation, image)
                regions += annotation["iscrowd"]
                found += 1 - annotation["iscrowd"]
            colour += int(np.count_nonzero(coloured))
            assert not np.count_nonzero(coloured & ~grown(labelled)), image["file_name"]
    assert colour > 100_000
    assert found > 30
    assert regions > 0


def test_the_same_count_finds_the_old_copies_of_the_preview(root: Path) -> None:
    copies, noted = 0, 0
    for view in views(root, "preview"):
        everything = np.maximum.reduce([*view.moved.values(), np.zeros(view.inside.shape, np.uint8)])
        found = int(np.count_nonzero(view.coloured & ~grown(everything)))
        shares = [entry["old_copy"] for entry in view.entries.values()]
        assert found == 0 or max(shares) > 0
        copies += found
        noted += sum(share > 0 for share in shares)
    assert copies > 10_000
    assert noted >= 5


def test_the_moved_image_stays_as_it_is(root: Path) -> None:
    for filled, preview in zip(views(root, "filled"), views(root, "preview"), strict=True):
        core = cv2.erode(filled.inside, np.ones((17, 17), np.uint8), borderValue=1) > 0
        assert (np.abs(filled.pixels[core].astype(int) - preview.pixels[core]) <= 24).all()
        assert np.abs(filled.pixels[core].astype(int) - preview.pixels[core]).mean() < 0.2 if core.any() else True
