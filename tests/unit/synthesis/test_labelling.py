"""Which annotated objects a second view keeps and labels, by each rule."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ovforge.options.labels import Labels
from ovforge.synthesis.labelling import label_objects

WIDTH, HEIGHT = 200, 150


def rectangle(number: int, box: tuple[int, int, int, int], **more: object) -> dict[str, object]:
    x, y, width, height = box
    polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
    return {
        "id": number,
        "bbox": list(box),
        "area": float(width * height),
        "segmentation": [polygon],
        **more,
    }


CROWD = {"size": [HEIGHT, WIDTH], "counts": [100 * HEIGHT, 20 * HEIGHT, 80 * HEIGHT]}
ANNOTATIONS = [
    rectangle(1, (10, 10, 80, 80)),
    rectangle(2, (20, 20, 10, 10)),  # on the first
    rectangle(3, (150, 100, 10, 10)),  # by itself
    rectangle(4, (88, 88, 14, 14)),  # a corner of it on the first
    rectangle(5, (0, 0, 0, 0), iscrowd=1, segmentation=CROWD, area=3000.0),
    rectangle(6, (120, 20, 40.5, 30), segmentation=[]),
    rectangle(7, (300, 20, 40, 30), segmentation=[]),
    rectangle(8, (120.5, 20, 40, 30), segmentation=[[1, 2, 3, 4]], bbox=[float("inf"), 0, 1, 1]),
]


def label(labels: Labels, annotations: Sequence[dict[str, object]] = ANNOTATIONS):
    records = [msgspec.json.encode(a) for a in annotations]
    found = label_objects(records, WIDTH, HEIGHT, labels, 1000)
    objects = {one.annotation["id"] for one in found.objects if not one.is_region}
    regions = {one.annotation["id"] for one in found.objects if one.is_region}
    return found, objects, regions


def area(rles: Sequence[dict[str, object]]) -> int:
    return int(np.sum([coco_mask.area(rle) for rle in rles]))


def test_where_nothing_is_repainted_every_object_is_kept_whatever_its_size() -> None:
    found, objects, regions = label(Labels.ALL)
    assert objects == {1, 2, 3, 4}
    assert regions == {5, 6}
    assert [one.annotation["id"] for one in found.objects] == [1, 2, 3, 4, 5, 6]
    assert found.removed == ()
    assert len(found.annotated) == 6
    box = next(one.rle for one in found.objects if one.annotation["id"] == 6)
    assert coco_mask.toBbox(box).tolist() == [120, 20, 41, 30]
    assert found.warnings == (("no segmentation: its box is an ignore region", "annotation 6"),)
    assert found.skipped == (
        ("no segmentation", "annotation 7"),
        ("polygon of fewer than three points", "annotation 8"),
    )


def test_where_an_engine_repaints_small_objects_are_removed_or_ignored() -> None:
    found, objects, regions = label(Labels.KEPT)
    assert objects == {1}
    # The second is seen on the first, whatever is repainted; of the fourth only a corner would be left.
    assert regions == {2, 5, 6}
    assert area(found.removed) == 10 * 10 + 14 * 14
    assert len(found.annotated) == 6
    reasons = {name: reason for reason, name in (*found.skipped, *found.warnings)}
    assert reasons["annotation 2"] == "area not above 1000 square pixels, on a kept object: an ignore region"
    assert reasons["annotation 3"] == reasons["annotation 4"] == "area not above 1000 square pixels: removed"


def test_ovtrack_s_rule_keeps_large_objects_and_leaves_the_others_to_chance() -> None:
    found, objects, regions = label(Labels.OVTRACK)
    assert objects == {1}
    assert regions == set()
    assert found.removed == found.annotated == ()
    assert ("a crowd region", "annotation 5") in found.skipped
    assert ("area not above 1000 square pixels", "annotation 3") in found.skipped


@pytest.mark.parametrize("labels", list(Labels))
def test_no_annotation_vanishes_without_a_word(labels: Labels) -> None:
    found, objects, regions = label(labels)
    named = {int(name.removeprefix("annotation ")) for _, name in found.skipped}
    assert not named & (objects | regions)
    assert objects | regions | named == {a["id"] for a in ANNOTATIONS}


def test_an_image_without_annotations() -> None:
    found, objects, regions = label(Labels.KEPT, [])
    assert (found.objects, objects, regions) == ((), set(), set())
