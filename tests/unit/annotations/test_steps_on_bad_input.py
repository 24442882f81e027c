"""Bad input stops each LVIS step with the place, and nothing is left behind."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ovforge.annotations import base_classes, category_info, merge_coco, remove_rare
from ovforge.errors import AnnotationFileError, InputError, NothingDoneError, OutputExistsError
from ovforge.options.annotations import (
    BaseClassesOptions,
    CategoryInfoOptions,
    MergeCocoOptions,
    MergeVariant,
    RemoveRareOptions,
)

LVIS: dict[str, Any] = {
    "info": {},
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 2, "bbox": [0, 0, 4, 4], "area": 1e-7, "segmentation": [[1.10, 2]]},
        {"id": 2, "image_id": 7, "category_id": 5, "bbox": [0, 0, 4, 4], "area": 3.0, "note": '}, {"id": 9'},
        {"id": 3, "image_id": 8, "category_id": 2, "bbox": [0, 0, 4, 4], "area": 16, "extra": {"category_id": 1}},
    ],
    "images": [
        {"id": number, "width": 9, "height": 9, "coco_url": f"http://x/train2017/{number:012}.jpg",
         "neg_category_ids": [5, 2], "not_exhaustive_category_ids": [2]}
        for number in (7, 8, 9)
    ],
    "categories": [
        {"id": 5, "name": "dove", "synset": "dove.n.01", "frequency": "r", "image_count": 0, "instance_count": 0},
        {"id": 2, "name": "dog", "synset": "dog.n.01", "frequency": "f", "image_count": 0, "instance_count": 0},
    ],
}  # fmt: skip
COCO: dict[str, Any] = {
    "images": [{"id": n, "width": 9, "height": 9, "file_name": f"{n:012}.jpg"} for n in (8, 9, 10)],
    "annotations": [
        {"id": 4, "image_id": 9, "category_id": 18, "bbox": [1, 1, 2, 2], "area": 4, "iscrowd": 0},
        {"id": 5, "image_id": 8, "category_id": 19, "bbox": [1, 1, 2, 2], "area": 4, "iscrowd": 0},
    ],
    "categories": [{"id": 18, "name": "dog"}, {"id": 19, "name": "unicorn"}],
}

STEPS: dict[str, Callable[[Path, Path, bool], object]] = {
    "remove-rare": lambda path, out, overwrite: remove_rare(RemoveRareOptions(path, out, overwrite=overwrite)),
    "category-info": lambda path, out, overwrite: category_info(CategoryInfoOptions(path, out, overwrite=overwrite)),
    "merge-coco": lambda path, out, overwrite: merge_coco(
        MergeCocoOptions(path, path.with_name("coco.json"), out, overwrite=overwrite)
    ),
    "base-classes": lambda path, out, overwrite: base_classes(BaseClassesOptions(path, out, overwrite=overwrite)),
}


def changed(change: Callable[[Any], object]) -> bytes:
    data = copy.deepcopy(LVIS)
    change(data)
    return json.dumps(data).encode()


WHOLE = json.dumps(LVIS).encode()
FIRST, SECOND = WHOLE.index(b'{"id": 1'), WHOLE.index(b'{"id": 2')
BAD = {
    "truncated in a record": (WHOLE[: SECOND + 5], f"cut short: it ends at byte {SECOND + 5}, annotation number 2"),
    "truncated between records": (WHOLE[: SECOND - 1], "cut short"),
    "truncated after the annotations": (WHOLE[: WHOLE.index(b'"categories"') - 3], "cut short"),
    "not JSON": (b"\x89PNG....", "is not JSON"),
    "empty": (b"", "is empty"),
    "a list": (b"[]", "is a list"),
    "byte order mark": (b"\xef\xbb\xbf" + WHOLE, "byte order mark"),
    "no annotations": (changed(lambda d: d.pop("annotations")), 'has no "annotations"'),
    "no categories": (changed(lambda d: d.pop("categories")), 'has no "categories"'),
    "no images": (changed(lambda d: d.pop("images")), 'has no "images"'),
    "no category_id": (
        changed(lambda d: d["annotations"][1].pop("category_id")),
        f"annotation number 2 (byte {SECOND}) has no category_id: it needs a whole number, such as 18",
    ),
    "category_id is text": (
        changed(lambda d: d["annotations"][1].update(category_id="5")),
        f'annotation number 2 (byte {SECOND}) has "5" as its category_id: it needs a whole number, such as 18',
    ),
    "unknown category": (
        changed(lambda d: d["annotations"][1].update(category_id=99999)),
        f'annotation number 2 (byte {SECOND}) has category_id 99999, which is not in "categories"',
    ),
    "unknown image": (
        changed(lambda d: d["annotations"][1].update(image_id=6)),
        f'annotation number 2 (byte {SECOND}) has image_id 6, which is not in "images"',
    ),
    "annotation twice": (
        changed(lambda d: d["annotations"][1].update(id=1)),
        f"annotation number 2 (byte {SECOND}) has the id 1 of annotation number 1 (byte {FIRST})",
    ),
    "image twice": (changed(lambda d: d["images"][1].update(id=7)), "image number 2 (byte "),
    "category twice": (changed(lambda d: d["categories"][1].update(id=5)), "category number 2 (byte "),
    "record is a list": (changed(lambda d: d["annotations"].insert(1, [1])), "another record was expected"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("data", "problem"), BAD.values(), ids=BAD)
def test_each_step_names_the_place_and_leaves_nothing(tmp_path: Path, step: str, data: bytes, problem: str) -> None:
    path, out = tmp_path / "in" / "a.json", tmp_path / "out" / "b.json"
    path.parent.mkdir()
    path.write_bytes(data)
    path.with_name("coco.json").write_text(json.dumps(COCO))
    with pytest.raises(AnnotationFileError) as caught:
        STEPS[step](path, out, False)
    assert str(path) in caught.value.message
    assert problem in caught.value.message
    assert not out.parent.exists() or list(out.parent.iterdir()) == []
    assert path.read_bytes() == data


@pytest.mark.parametrize("step", STEPS)
def test_a_second_run_is_refused_without_overwrite(tmp_path: Path, step: str) -> None:
    path, out = tmp_path / "a.json", tmp_path / "out" / "b.json"
    path.write_bytes(WHOLE)
    path.with_name("coco.json").write_text(json.dumps(COCO))
    STEPS[step](path, out, False)
    first = {one.name: one.read_bytes() for one in out.parent.iterdir()}
    out.write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match="already exists"):
        STEPS[step](path, out, False)
    assert out.read_bytes() == b"mine"
    STEPS[step](path, out, True)
    assert {one.name: one.read_bytes() for one in out.parent.iterdir()} == first


def test_odd_numbers_unknown_fields_and_decoys_come_through_the_editing_steps(tmp_path: Path) -> None:
    path, out = tmp_path / "a.json", tmp_path / "b.json"
    raw = WHOLE.replace(b"[1.1, 2]", b"[1.10, 2e0, 123456789012345678901234567890]").replace(b'"dog"', b'"d\\u006fg"')
    path.write_bytes(raw)
    base_classes(BaseClassesOptions(path, out))
    text = out.read_bytes()
    assert b'"area":1e-07,"segmentation":[[1.10, 2e0, 123456789012345678901234567890]]' in text
    assert b'"category_id":1,"bbox":[0, 0, 4, 4],"area":16,"extra":{"category_id": 1}' in text
    assert b'"name": "d\\u006fg"' in text
    assert json.loads(text)["images"][0]["neg_category_ids"] == [1]


def test_boxes_and_areas_that_masks_tell_outlive_the_masks(tmp_path: Path) -> None:
    lvis, coco, out = tmp_path / "a.json", tmp_path / "coco.json", tmp_path / "b.json"
    square = [[1, 1, 4, 1, 4, 4, 1, 4]]
    data = copy.deepcopy(LVIS)
    data["annotations"][0].update(bbox=None, area=None, segmentation=square)
    data["images"][2]["neg_category_ids"] = []
    lvis.write_text(json.dumps(data))
    theirs = copy.deepcopy(COCO)
    theirs["annotations"][0] = {"id": 4, "image_id": 9, "category_id": 18, "segmentation": square}
    coco.write_text(json.dumps(theirs))
    for variant in MergeVariant:
        merge_coco(MergeCocoOptions(lvis, coco, out, variant=variant, overwrite=True))
        annotations = json.loads(out.read_bytes())["annotations"]
        assert [a["bbox"] for a in annotations] == [[1, 1, 3, 3], [0, 0, 4, 4], [0, 0, 4, 4], [1, 1, 3, 3]]
    assert not any("segmentation" in a for a in annotations)
    assert [a["area"] for a in annotations] == [9, 3, 16, 9]


def test_merge_counts_what_it_cannot_place_and_fills_images_without_annotations(tmp_path: Path) -> None:
    lvis, coco, out = tmp_path / "a.json", tmp_path / "coco.json", tmp_path / "b.json"
    lvis.write_bytes(changed(lambda d: [image.update(neg_category_ids=[]) for image in d["images"]]))
    coco.write_text(json.dumps(COCO))
    summary = merge_coco(MergeCocoOptions(lvis, coco, out))
    annotations = json.loads(out.read_bytes())["annotations"]
    assert [(a["id"], a["image_id"], a["category_id"]) for a in annotations] == [
        (1, 7, 2),
        (2, 7, 5),
        (3, 8, 2),
        (4, 9, 2),
    ]
    assert annotations[1]["note"] == '}, {"id": 9'
    assert {(drop.kind, drop.reason): drop.examples for drop in summary.drops} == {
        ("COCO annotation", "its class has no counterpart among the LVIS classes"): ("5",),
        ("COCO class", "has no counterpart among the LVIS classes"): ("unicorn",),
    }


@pytest.mark.parametrize("empty", ["lvis", "coco"])
def test_merging_without_annotations_is_the_other(tmp_path: Path, empty: str) -> None:
    lvis, coco, out = tmp_path / "a.json", tmp_path / "coco.json", tmp_path / "b.json"
    data = {"lvis": copy.deepcopy(LVIS), "coco": copy.deepcopy(COCO)}
    for image in data["lvis"]["images"]:
        image["neg_category_ids"] = []
    data[empty]["annotations"] = []
    lvis.write_text(json.dumps(data["lvis"]))
    coco.write_text(json.dumps(data["coco"]))
    summary = merge_coco(MergeCocoOptions(lvis, coco, out))
    expected = data["lvis"]["annotations"] or [{**data["coco"]["annotations"][0], "id": 1, "category_id": 2}]
    assert json.loads(out.read_bytes())["annotations"] == expected
    assert bool(summary.notes) == (empty == "coco")


@pytest.mark.parametrize("empty", ["lvis", "coco"])
def test_merging_with_a_file_without_images_is_refused(tmp_path: Path, empty: str) -> None:
    lvis, coco, out = tmp_path / "a.json", tmp_path / "coco.json", tmp_path / "b.json"
    data = {"lvis": copy.deepcopy(LVIS), "coco": copy.deepcopy(COCO)}
    data[empty] |= {"images": [], "annotations": []}
    lvis.write_text(json.dumps(data["lvis"]))
    coco.write_text(json.dumps(data["coco"]))
    with pytest.raises(NothingDoneError, match="there is no image"):
        merge_coco(MergeCocoOptions(lvis, coco, out))
    assert not out.exists()


@pytest.mark.parametrize(
    ("frequency", "problem"), [(None, "has no frequency"), ("", "has no frequency"), ("rc", "has frequency 'rc'")]
)
def test_categories_without_frequency_are_named(tmp_path: Path, frequency: str | None, problem: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(changed(lambda d: d["categories"][1].update(frequency=frequency)))
    for step in ("remove-rare", "base-classes"):
        with pytest.raises(AnnotationFileError, match=rf"category number 2 .* {problem}"):
            STEPS[step](path, tmp_path / "b.json", False)
    assert {one.name for one in tmp_path.iterdir()} == {"a.json"}


def test_options_out_of_range_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(WHOLE)
    for run in (
        lambda: remove_rare(RemoveRareOptions(path, exclude="x")),
        lambda: remove_rare(RemoveRareOptions(path, exclude="")),
        lambda: category_info(CategoryInfoOptions(path, r_thresh=5, c_thresh=4)),
        lambda: merge_coco(MergeCocoOptions(path, path, iou_threshold=0)),
    ):
        with pytest.raises(InputError):
            run()
    assert {one.name for one in tmp_path.iterdir()} == {"a.json"}
