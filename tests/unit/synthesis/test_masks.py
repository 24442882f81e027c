"""Masks: pycocotools' to the pixel where a mask can be made, a reason where it can't."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from ovforge.synthesis.masks import (
    UnusableMaskError,
    as_json_rle,
    box_and_area,
    rasterise,
    stack,
    usable_objects,
)

WIDTH, HEIGHT = 64, 48
SQUARE = [10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]


def test_every_mask_of_the_data_set_comes_through_the_label_maps_as_pycocotools_makes_it(mini: Path) -> None:
    for name in ("lvis/lvis_v1_train.json", "coco/annotations/instances_train2017.json"):
        content = json.loads((mini / name).read_text())
        checked = 0
        for image in content["images"]:
            height, width = image["height"], image["width"]
            expected, rles = [], []
            for annotation in (a for a in content["annotations"] if a["image_id"] == image["id"]):
                segmentation = annotation["segmentation"]
                raw = coco_mask.frPyObjects(segmentation, height, width)
                expected.append(coco_mask.decode(coco_mask.merge(raw) if isinstance(raw, list) else raw))
                rles.append(rasterise(segmentation, width, height))
            maps = stack(rles, width, height)
            for index, mask in enumerate(expected):
                assert np.array_equal(maps.mask(index) > 0, mask > 0), (image["id"], index)
                box, area = box_and_area(maps.mask(index))
                assert box == coco_mask.toBbox(rles[index]).astype(int).tolist()
                assert area == int(coco_mask.area(rles[index]))
                checked += 1
        assert checked > 250


def rectangle(x: int, y: int, width: int, height: int) -> dict[str, Any]:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    return coco_mask.encode(mask)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 40), st.integers(1, 14), st.integers(1, 8)), max_size=30))
def test_overlapping_objects_keep_their_whole_masks(rectangles: list[tuple[int, int, int, int]]) -> None:
    maps = stack([rectangle(*r) for r in rectangles], WIDTH, HEIGHT)
    union = np.zeros((HEIGHT, WIDTH), bool)
    for index, (x, y, width, height) in enumerate(rectangles):
        assert box_and_area(maps.mask(index)) == ([x, y, width, height], width * height)
        union[y : y + height, x : x + width] = True
    assert np.array_equal(maps.union() > 0, union)
    assert (maps.inside() == 255).all()


def test_more_objects_than_one_map_has_labels() -> None:
    rles = [rectangle(i % 64, i // 64, 1, 1) for i in range(600)]
    maps = stack(rles, WIDTH, HEIGHT)
    assert len(maps.maps) == 3
    assert all(box_and_area(maps.mask(i)) == ([i % 64, i // 64, 1, 1], 1) for i in range(600))


def test_both_forms_of_run_lengths() -> None:
    compressed = rectangle(5, 6, 7, 8)
    text = {"size": [HEIGHT, WIDTH], "counts": compressed["counts"].decode()}
    mask = coco_mask.decode(compressed).ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask, [0]])))
    plain = {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *edges, mask.size]).astype(int).tolist()}
    for form in (compressed, text, plain):
        assert box_and_area(stack([rasterise(form, WIDTH, HEIGHT)], WIDTH, HEIGHT).mask(0)) == ([5, 6, 7, 8], 56)


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "no segmentation"),
        ([], "no segmentation"),
        ("polygon", "no segmentation"),
        ([[]], "fewer than three points"),
        ([[1, 1, 9, 9]], "fewer than three points"),  # pycocotools would read a box
        ([[1, 1, 5, 5, 9]], "not a list of x, y"),
        (["1, 2, 3"], "not a list of x, y"),
        ([SQUARE, 7], "not a list of x, y"),
        ([[1, 1, 5, 5, 9, "x"]], "not a number"),
        ([[1, 1, 5, 5, 9, None]], "not a number"),
        ([[1, 1, 5, float("nan"), 9, 9]], "not a number"),
        ([[1, 1, 5, float("inf"), 9, 9]], "not a number"),
        ([[1, 1, 1, 1, 1, 1]], "without a pixel"),
        ([[1, 1, 5, 5, 9, 9]], "without a pixel"),  # a line
        ([[100, 100, 120, 100, 120, 120]], "without a pixel"),
        ([[-30, -30, -10, -30, -10, -10]], "without a pixel"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "far outside"),  # pycocotools would fill memory
        ({"size": [48, 64]}, "without counts"),
        ({"size": [64, 48], "counts": [64 * 48]}, "another image size"),
        ({"size": None, "counts": []}, "another image size"),
        ({"size": [48, 64], "counts": [1, 2, 3]}, "do not fill"),
        ({"size": [48, 64], "counts": [48 * 64 + 5, -5]}, "do not fill"),
        ({"size": [48, 64], "counts": []}, "do not fill"),
        ({"size": [48, 64], "counts": "zzzzzz"}, "do not fill|damaged"),  # pycocotools would write past its buffer
        ({"size": [48, 64], "counts": "~~"}, "damaged"),
        ({"size": [48, 64], "counts": "o"}, "damaged"),
        ({"size": [48, 64], "counts": "é"}, "do not fill|damaged"),
        ({"size": [48, 64], "counts": ""}, "do not fill"),
        ({"size": [48, 64], "counts": [48 * 64]}, "without a pixel"),
    ],
)
def test_what_is_no_mask_is_refused_with_its_reason(segmentation: Any, reason: str) -> None:
    with pytest.raises(UnusableMaskError, match=reason):
        rasterise(segmentation, WIDTH, HEIGHT)


@given(st.binary(max_size=30) | st.text(max_size=30))
@settings(max_examples=300)
def test_damaged_run_lengths_never_reach_the_library(counts: str | bytes) -> None:
    try:
        rle = rasterise({"size": [HEIGHT, WIDTH], "counts": counts}, WIDTH, HEIGHT)
    except UnusableMaskError:
        return
    assert 0 < int(coco_mask.area(rle)) <= WIDTH * HEIGHT


def test_compressed_run_lengths_are_checked_as_the_library_writes_them() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        mask = np.asfortranarray(rng.random((HEIGHT, WIDTH)) < rng.random(), np.uint8)
        rle = rasterise(as_json_rle(mask), WIDTH, HEIGHT)
        assert np.array_equal(coco_mask.decode(rle), mask)


def test_which_objects_are_usable_and_why_the_others_are_not() -> None:
    annotations = [
        {"id": 1, "area": 400.0, "segmentation": [SQUARE]},
        {"id": 2, "area": 400.0, "segmentation": [SQUARE], "iscrowd": 1},
        {"id": 3, "area": 100.0, "segmentation": [SQUARE]},  # exactly the limit
        {"id": 4, "area": 400.0, "segmentation": [[1, 2]]},
        {"id": 5, "area": 400.0, "segmentation": [[1, 2], SQUARE], "iscrowd": 0},
        {"id": 6, "segmentation": [SQUARE]},  # no area of its own: the mask's counts
        {"id": 7, "area": None, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]},
        {"id": 8, "area": 400.0},
    ]
    objects, dropped = usable_objects([msgspec.json.encode(a) for a in annotations], WIDTH, HEIGHT, 100)
    assert [o.annotation["id"] for o in objects] == [1, 5, 6]
    assert dropped == [
        ("a crowd region", "annotation 2"),
        ("area not above 100 square pixels", "annotation 3"),
        ("polygon of fewer than three points", "annotation 4"),
        ("part of a mask: polygon of fewer than three points", "annotation 5"),
        ("area not above 100 square pixels", "annotation 7"),
        ("no segmentation", "annotation 8"),
    ]
