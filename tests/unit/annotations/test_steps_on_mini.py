"""The LVIS steps give what the original scripts give on the small data set, named fixes aside."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ovforge.annotations import base_classes, category_info, merge_coco, remove_rare
from ovforge.errors import InputError, OutputExistsError
from ovforge.options.annotations import (
    BaseClassesOptions,
    CategoryInfoOptions,
    IdMode,
    MergeCocoOptions,
    MergeVariant,
    RemoveRareOptions,
)


def same(ours: object, theirs: object) -> None:
    """Equal values and equal key order."""
    assert json.dumps(ours) == json.dumps(theirs)


def unpacked(folder: Path, name: str) -> Any:
    with gzip.open(folder / name) as file:
        return json.load(file)


def load(path: Path | str) -> Any:
    return json.loads(Path(path).read_bytes())


@pytest.fixture
def train(mini: Path) -> Path:
    return mini / "lvis" / "lvis_v1_train.json"


@pytest.fixture
def coco(mini: Path) -> Path:
    return mini / "coco" / "annotations" / "instances_train2017.json"


def test_remove_rare(train: Path, mini_expected: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "norare.json"
    summary = remove_rare(RemoveRareOptions(train, out))
    same(load(out), unpacked(mini_expected, "remove_lvis_rare/lvis_v1_train_norare.json.gz"))
    assert (summary.counts["annotations in"], summary.counts["annotations out"]) == (267, 248)
    assert [(drop.reason, drop.count) for drop in summary.drops] == [("its class has frequency r", 19)]


def test_removing_nothing_gives_the_same_bytes(train: Path, tmp_path: Path) -> None:
    data = load(train)
    for category in data["categories"]:
        category["frequency"] = "f"
    source, out = tmp_path / "a.json", tmp_path / "b.json"
    source.write_text(json.dumps(data))
    remove_rare(RemoveRareOptions(source, out))
    assert out.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lvis_v1_train_cat_info", {}),
        ("lvis_v1_train_cat_info.add_freq", {"add_freq": True}),
        ("lvis_v1_train_cat_info.add_freq_r2_c4", {"add_freq": True, "r_thresh": 2, "c_thresh": 4}),
    ],
)
def test_category_info(train: Path, mini_expected: Path, tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    out = tmp_path / "info.json"
    expected = unpacked(mini_expected, f"get_lvis_cat_info/{name}.json.gz")
    summary = category_info(CategoryInfoOptions(train, out, **options))
    same(load(out), expected)
    if options:
        before = {category["id"]: category["frequency"] for category in load(train)["categories"]}
        changed = sum(before[category["id"]] != category["frequency"] for category in expected)
        assert summary.counts["changes of frequency"] == changed > 20
        assert summary.notes[-1] == f"and {changed - 20:,} more changes of frequency"


def test_category_info_without_annotations(mini_expected: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "imagenet.json", tmp_path / "info.json"
    folder = mini_expected / "create_imagenetlvis_json"
    source.write_bytes(gzip.decompress((folder / "imagenet_lvis_image_info.sorted.json.gz").read_bytes()))
    category_info(CategoryInfoOptions(source, out, bypass=True, add_freq=True))
    name = "get_lvis_cat_info/imagenet_lvis_image_info.sorted_cat_info.bypass_add_freq.json.gz"
    same(load(out), unpacked(mini_expected, name))


def test_merge_coco(train: Path, coco: Path, mini_expected: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged.json"
    summary = merge_coco(MergeCocoOptions(train, coco, out))
    ours, theirs = load(out), unpacked(mini_expected, "merge_lvisv1_coco/lvis_v1_train+coco_mask_v1.json.gz")
    assert list(ours) == list(theirs)
    for section in ("info", "images", "licenses"):
        same(ours[section], theirs[section])
    same(ours["annotations"][: len(theirs["annotations"])], theirs["annotations"])

    # Fix 31: images that LVIS has not annotated (72 and 201) get COCO's objects, after all the others.
    rest = ours["annotations"][len(theirs["annotations"]) :]
    negatives = {image["id"]: image["neg_category_ids"] for image in ours["images"]}
    assert {annotation["image_id"] for annotation in rest} == {72, 201}
    assert [annotation["id"] for annotation in rest] == [366 + index for index in range(len(rest))]
    assert all(annotation["category_id"] not in negatives[annotation["image_id"]] for annotation in rest)
    assert summary.counts["images annotated by COCO only"] == 2

    # Fix 33: the categories' counts are those of the merged annotations; nothing else of them changes.
    instances = Counter(annotation["category_id"] for annotation in ours["annotations"])
    images = Counter(c for _, c in {(a["image_id"], a["category_id"]) for a in ours["annotations"]})
    for category, original in zip(ours["categories"], theirs["categories"], strict=True):
        counts = {"image_count": images[category["id"]], "instance_count": instances[category["id"]]}
        same(category, {**original, **counts})

    # Every COCO annotation is added or counted with its reason.
    added = summary.counts["COCO annotations added"]
    reasons = {drop.reason: drop.count for drop in summary.drops if drop.kind == "COCO annotation"}
    assert added == len(ours["annotations"]) - 267
    assert added + sum(reasons.values()) == 336
    assert set(reasons) == {
        "LVIS has the object: same class, IoU at the threshold or above",
        "LVIS says that its class is not in the image",
        "its image is not in the LVIS file",
    }


def test_merge_coco_boxes_are_the_masks_without_outlines(train: Path, coco: Path, tmp_path: Path) -> None:
    masks, boxes = tmp_path / "masks.json", tmp_path / "boxes.json"
    merge_coco(MergeCocoOptions(train, coco, masks))
    merge_coco(MergeCocoOptions(train, coco, boxes, variant=MergeVariant.BOX))
    expected = load(masks)
    for annotation in expected["annotations"]:
        del annotation["segmentation"]
    same(load(boxes), expected)


def test_the_threshold_is_met_by_an_iou_of_exactly_so_much(train: Path, coco: Path, tmp_path: Path) -> None:
    # Photo 194 has an LVIS box of 100 x 70 and a COCO box of 100 x 49 in the same corner.
    pizzas = {}
    for threshold in (0.7, 0.701):
        out = tmp_path / f"{threshold}.json"
        merge_coco(MergeCocoOptions(train, coco, out, iou_threshold=threshold))
        pizzas[threshold] = [a for a in load(out)["annotations"] if a["image_id"] == 194 and a["bbox"][2:] == [100, 49]]
    assert len(pizzas[0.7]) == 0
    assert len(pizzas[0.701]) == 1


@pytest.fixture
def merged_by_the_original(mini_expected: Path, tmp_path: Path) -> Path:
    path = tmp_path / "lvis_v1_train+coco_mask_v1.json"
    path.write_bytes(
        gzip.decompress((mini_expected / "merge_lvisv1_coco/lvis_v1_train+coco_mask_v1.json.gz").read_bytes())
    )
    return path


def test_base_classes(merged_by_the_original: Path, mini_expected: Path) -> None:
    source = merged_by_the_original
    options = BaseClassesOptions(source)
    summary = base_classes(options)
    ours = load(source.with_name("lvis_v1_train+coco_mask_v1_base.json"))
    theirs = unpacked(mini_expected, "create_base_lvis/lvis_v1_train+coco_mask_v1_base.json.gz")
    assert list(ours) == list(theirs)
    for section in ("info", "annotations", "licenses", "categories"):
        same(ours[section], theirs[section])

    # Fix 34: both lists of the images hold new ids of base classes; the order of ids stays, and all else.
    before = load(source)
    base = [category["id"] for category in before["categories"] if category["frequency"] != "r"]
    new = {old: index for index, old in enumerate(base, 1)}
    for image in before["images"]:
        for field in ("neg_category_ids", "not_exhaustive_category_ids"):
            image[field] = [new[old] for old in image[field] if old in new]
    same(ours["images"], before["images"])
    assert max(new.values()) == 866 == summary.counts["classes out"]
    names = (source.parent / "lvis_classes_v1_base.txt").read_text().splitlines()
    assert names == [category["name"] for category in ours["categories"]]
    names = (source.parent / "lvis_classes_v1.txt").read_text().splitlines()  # all, as OVTrack's configurations want it
    assert names == [category["name"] for category in before["categories"]]
    assert len(names) == 1203


def test_the_list_of_all_classes_stays_where_it_is_the_same(merged_by_the_original: Path, tmp_path: Path) -> None:
    all_names, out = tmp_path / "lvis_classes_v1.txt", tmp_path / "base.json"
    categories = load(merged_by_the_original)["categories"]
    lines = "\r\n".join(category["name"] for category in categories)  # as somebody else wrote it
    all_names.write_bytes(lines.encode())
    base_classes(BaseClassesOptions(merged_by_the_original, out))
    assert all_names.read_bytes() == lines.encode()
    out.unlink()
    (tmp_path / "lvis_classes_v1_base.txt").unlink()
    all_names.write_text("cat\ndog\n")
    with pytest.raises(OutputExistsError, match=r"lvis_classes_v1\.txt: already exists"):
        base_classes(BaseClassesOptions(merged_by_the_original, out))
    assert not out.exists()
    with pytest.raises(InputError, match="is the file of all classes' names"):
        base_classes(BaseClassesOptions(merged_by_the_original, out, all_names, overwrite=True))


def test_base_classes_with_their_ids(merged_by_the_original: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept.json"
    base_classes(BaseClassesOptions(merged_by_the_original, out, tmp_path / "names.txt", mode=IdMode.KEEP_IDS))
    expected = load(merged_by_the_original)
    rare = {category["id"] for category in expected["categories"] if category["frequency"] == "r"}
    expected["categories"] = [c for c in expected["categories"] if c["id"] not in rare]
    expected["annotations"] = [a for a in expected["annotations"] if a["category_id"] not in rare]
    for image in expected["images"]:
        for field in ("neg_category_ids", "not_exhaustive_category_ids"):
            image[field] = [one for one in image[field] if one not in rare]
    same(load(out), expected)
    assert len((tmp_path / "names.txt").read_text().splitlines()) == 866
