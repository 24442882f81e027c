"""The sample data set: layout, truth of its numbers, the same bytes every time, whole or not at all."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as masks

from ovforge.errors import InputError, MissingExtraError, MissingInputError, OutputExistsError, WorkError, pip_line
from ovforge.options.sample_data import SampleDataOptions
from ovforge.records.reporting import StepSummary
from ovforge.sample_data import sample_data, step
from ovforge.sample_data.geometry import Tile, area, clip
from ovforge.sample_data.images import IMAGES
from ovforge.sample_data.photographs import PHOTOGRAPHS, load, photograph_folder
from ovforge.sample_data.polygons import labelled_objects, objects_in
from ovforge.taxonomy import class_by_synset, lvis_classes, synset_to_wnid

needs_photographs = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None, reason="the photographs come with scikit-image (extra 'sample')"
)
LVIS = ("datasets/lvis/lvis_v1_train.json", "datasets/lvis/lvis_v1_val.json")
COCO = ("datasets/coco/annotations/instances_train2017.json", "datasets/coco/annotations/instances_val2017.json")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StepSummary]:
    if importlib.util.find_spec("skimage") is None:
        pytest.skip("the photographs come with scikit-image (extra 'sample')")
    folder = tmp_path_factory.mktemp("sample") / "data set"
    return folder, sample_data(SampleDataOptions(folder))


@pytest.fixture(scope="module")
def root(written: tuple[Path, StepSummary]) -> Path:
    return written[0]


def table(root: Path, path: str) -> Any:
    return json.loads((root / path).read_bytes())


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Layout


def test_both_jobs_find_their_files_where_they_look(root: Path) -> None:
    for path in (
        *LVIS,
        *COCO,
        "datasets/coco/annotations/captions_train2017.json",
        "datasets/VisualGenome/objects.json",
        "datasets/VisualGenome/image_data.json",
        "data/lvis/annotations/lvis_v1_train.json",
        "data/lvis/annotations/captions_train2017.json",
        "data/coco/annotations/instances_train2017.json",
        "SOURCES.md",
    ):
        assert (root / path).is_file(), path
    for folder in ("datasets/coco/train2017", "data/lvis/train2017", "data/coco/train2017"):
        assert len(list((root / folder).glob("*.jpg"))) == 16, folder


def test_the_folder_can_be_moved(root: Path, tmp_path: Path) -> None:
    links = [path for path in root.rglob("*") if path.is_symlink()]
    assert links
    assert not any(path.readlink().is_absolute() for path in links)
    assert all(path.resolve().is_relative_to(root.resolve()) for path in links)


def test_every_image_is_a_jpeg_of_the_size_that_is_said(root: Path) -> None:
    for path in (*LVIS, *COCO):
        for image in table(root, path)["images"]:
            file = root / "datasets/coco" / "/".join(image["coco_url"].split("/")[-2:])
            pixels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
            assert pixels.shape[:2] == (image["height"], image["width"]), file
            assert image.get("file_name", file.name) == file.name
    grey = cv2.imread(str(root / "datasets/coco/train2017/000000900004.jpg"), cv2.IMREAD_UNCHANGED)
    assert grey.ndim == 2  # as the grey images of COCO are stored


def test_imagenet_folders_are_the_wordnet_ids_of_their_classes(root: Path) -> None:
    base = root / "datasets/imagenet/imagenet21k_P"
    files = sorted(base.rglob("*.JPEG"))
    known = set(synset_to_wnid().values())
    folders = {(file.parts[-3], file.parts[-2]) for file in files}
    assert {split for split, _ in folders} == {"train", "val", "imagenet21k_small_classes"}
    assert {wnid for _, wnid in folders} - known == {"n07920052"}  # espresso, which LVIS does not have
    assert ("train", "n02121620") in folders
    assert not {w for s, w in folders if s == "train"} & {w for s, w in folders if s == "imagenet21k_small_classes"}
    assert all(file.stem.split("_")[0] == file.parent.name for file in files)
    assert len({hashlib.sha256(file.read_bytes()).digest() for file in files}) == len(files)


def test_visual_genome_boxes_lie_in_their_images(root: Path) -> None:
    sizes = {row["image_id"]: row for row in table(root, "datasets/VisualGenome/image_data.json")}
    ids: list[int] = []
    for record in table(root, "datasets/VisualGenome/objects.json"):
        facts = sizes[record["image_id"]]
        file = root / "datasets/VisualGenome" / "/".join(record["image_url"].split("/")[-2:])
        assert cv2.imread(str(file)).shape[:2] == (facts["height"], facts["width"])
        assert record["image_url"] == facts["url"]
        for thing in record["objects"]:
            ids.append(thing["object_id"])
            assert thing["w"] > 0
            assert thing["h"] > 0
            assert 0 <= thing["x"] <= facts["width"] - thing["w"]
            assert 0 <= thing["y"] <= facts["height"] - thing["h"]
    assert len(set(ids)) == len(ids)


# Annotation files


def test_lvis_has_the_keys_of_lvis_v1_and_all_classes_counted(root: Path) -> None:
    for path in LVIS:
        data = table(root, path)
        assert list(data) == ["info", "annotations", "images", "licenses", "categories"]
        assert all("file_name" not in image and "iscrowd" not in image for image in data["images"])
        rows = [(row["id"], row["name"], row["synset"], row["frequency"]) for row in data["categories"]]
        assert rows == [(row.id, row.name, row.synset, row.frequency) for row in lvis_classes()]
        instances = Counter(a["category_id"] for a in data["annotations"])
        images = Counter(category for category, _ in {(a["category_id"], a["image_id"]) for a in data["annotations"]})
        for row in data["categories"]:
            assert row["instance_count"] == instances[row["id"]]
            assert row["image_count"] == images[row["id"]]


def test_rare_common_and_frequent_classes_are_all_there(root: Path) -> None:
    for path in LVIS:
        data = table(root, path)
        frequency = {row["id"]: row["frequency"] for row in data["categories"]}
        assert {frequency[a["category_id"]] for a in data["annotations"]} == {"r", "c", "f"}


def test_train_and_val_share_no_image(root: Path) -> None:
    (train, val) = ({image["id"] for image in table(root, path)["images"]} for path in LVIS)
    assert not train & val
    files = [hashlib.sha256(p.read_bytes()).digest() for p in (root / "datasets/coco").glob("*2017/*.jpg")]
    assert len(set(files)) == len(files) == len(train) + len(val)


def test_areas_and_boxes_are_those_of_the_shapes(root: Path) -> None:
    for path in (*LVIS, *COCO):
        data = table(root, path)
        images = {image["id"]: image for image in data["images"]}
        categories = {row["id"] for row in data["categories"]}
        ids = [a["id"] for a in data["annotations"]]
        assert len(set(ids)) == len(ids)
        for a in data["annotations"]:
            height, width = images[a["image_id"]]["height"], images[a["image_id"]]["width"]
            assert a["category_id"] in categories
            shape = a["segmentation"]
            if isinstance(shape, dict):
                assert shape["size"] == [height, width]
                assert sum(shape["counts"]) == height * width
                rle = masks.frPyObjects(shape, height, width)
                assert a["bbox"] == list(masks.toBbox(rle))
            else:
                rle = masks.merge(masks.frPyObjects(shape, height, width))
                points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in shape])
                low, high = points.min(axis=0), points.max(axis=0)
                assert np.all(low >= 0)
                assert np.all(high <= (width, height))
                assert a["bbox"] == pytest.approx([*low, *(high - low)], abs=0.011)
                assert all(len(polygon) >= 6 for polygon in shape)
            assert a["area"] == masks.area(rle) > 0


def test_lists_of_absent_and_not_exhaustive_classes_agree_with_the_annotations(root: Path) -> None:
    spoon, cat, table_class = (class_by_synset()[s].id for s in ("spoon.n.01", "cat.n.01", "dining_table.n.01"))
    for path in LVIS:
        data = table(root, path)
        for image in data["images"]:
            present = {a["category_id"] for a in data["annotations"] if a["image_id"] == image["id"]}
            assert not present & set(image["neg_category_ids"])
            assert len(image["neg_category_ids"]) >= 3
    images = {image["id"]: image for image in table(root, LVIS[0])["images"]}
    assert images[900_009]["not_exhaustive_category_ids"] == [spoon]
    assert images[900_015]["not_exhaustive_category_ids"] == [cat]
    assert table_class in images[900_002]["neg_category_ids"]


def test_coco_gives_merging_something_to_drop_and_something_to_keep(root: Path) -> None:
    lvis, coco = table(root, LVIS[0]), table(root, COCO[0])
    # spoon, clock and cat: COCO class -> LVIS class of the merge table
    same = {1: 793, 17: 225, 47: 344, 50: 1000, 67: 367, 85: 271}
    dropped: Counter[int] = Counter()
    kept: Counter[int] = Counter()
    for a in coco["annotations"]:
        others = [
            b["bbox"]
            for b in lvis["annotations"]
            if b["image_id"] == a["image_id"] and b["category_id"] == same[a["category_id"]]
        ]
        overlap = masks.iou([a["bbox"]], others, [0] * len(others)).max() if others else 0.0
        (dropped if overlap >= 0.7 else kept)[a["category_id"]] += 1
    assert {1, 17, 47, 50} <= set(dropped)
    assert kept[50] == 1
    assert kept[85] == 1
    assert kept[17] == 3  # two cats and the crowd
    assert [c["id"] for c in coco["categories"]][-1] == 90
    assert len(coco["categories"]) == 80
    assert sum(a["iscrowd"] for a in coco["annotations"]) == 1


def test_one_image_has_no_annotations_and_one_only_small_objects(root: Path) -> None:
    data = table(root, LVIS[0])
    largest = {image["id"]: 0.0 for image in data["images"]}
    for a in data["annotations"]:
        largest[a["image_id"]] = max(largest[a["image_id"]], a["area"])
    assert largest[900_016] == 0
    assert 0 < largest[900_005] < 64**2
    assert sum(value > 64**2 for value in largest.values()) == 13


def test_every_image_has_two_captions_of_its_own(root: Path) -> None:
    captions = table(root, "datasets/coco/annotations/captions_train2017.json")
    assert Counter(Counter(a["image_id"] for a in captions["annotations"]).values()) == {2: 16}
    sentences = [sentence for sample_image in IMAGES for sentence in sample_image.captions]
    assert len(set(sentences)) == len(sentences)


# Outlines


def test_outlines_lie_in_their_photographs_and_name_real_classes() -> None:
    assert set(labelled_objects()) == set(PHOTOGRAPHS)
    for name, objects in labelled_objects().items():
        facts = PHOTOGRAPHS[name]
        for labelled in objects:
            assert labelled.synset in class_by_synset()
            for polygon in labelled.polygons:
                assert polygon.min() >= 0
                assert np.all(polygon.max(axis=0) <= (facts.width, facts.height))
                mask = masks.decode(masks.frPyObjects([polygon.ravel().tolist()], facts.height, facts.width))
                # Only a ring that does not cross itself covers as many pixels as its shoelace area says; the length of
                # the edge bounds what rounding to pixels can change.
                edge = np.linalg.norm(polygon - np.roll(polygon, -1, axis=0), axis=1).sum()
                assert abs(int(mask.sum()) - area(polygon)) <= 0.5 * edge + 1, (name, labelled.synset)


@pytest.mark.parametrize("mirror", [False, True])
def test_a_polygon_moves_with_its_pixels(mirror: bool) -> None:
    canvas = np.zeros((200, 300), np.uint8)
    polygon = np.array([(40, 30), (200, 50), (260, 150), (120, 120), (60, 180)], np.float64)
    mask = masks.decode(masks.frPyObjects([polygon.ravel().tolist()], *canvas.shape))[..., 0]
    tile = Tile("any", (50, 20, 180, 140), (360, 210), mirror=mirror)
    seen = tile.view(mask * 255) > 127
    moved = masks.decode(masks.frPyObjects([tile.moved(polygon).ravel().tolist()], 210, 360))[..., 0] > 0
    assert (seen & moved).sum() / (seen | moved).sum() > 0.98


def test_a_tile_is_shifted_to_its_place() -> None:
    polygon = np.array([(10, 10), (20, 10), (20, 20)], np.float64)
    tile = Tile("any", (0, 0, 100, 100), (50, 50), at=(7, 9))
    assert tile.moved(polygon).tolist() == [[12.0, 14.0], [17.0, 14.0], [17.0, 19.0]]


def test_clipping_a_ring_that_leaves_and_comes_back_keeps_the_area() -> None:
    comb = np.array([(5, 2), (15, 2), (15, 4), (8, 4), (8, 6), (15, 6), (15, 8), (5, 8)], np.float64)
    assert area(clip(comb, 10, 10)) == pytest.approx(5 * 6 - 2 * 2)
    assert len(clip(comb + 20, 10, 10)) == 0


def test_what_a_crop_cuts_away_is_not_outlined() -> None:
    nothing = list(objects_in((Tile("rocket", (230, 230, 410, 197)),), (410, 197)))
    assert nothing == []


# The step


@needs_photographs
def test_the_same_bytes_every_time(root: Path, tmp_path: Path) -> None:
    sample_data(SampleDataOptions(tmp_path / "again"))
    assert digests(tmp_path / "again") == digests(root)


def test_the_summary_counts_and_names_every_licence(written: tuple[Path, StepSummary]) -> None:
    folder, summary = written
    data = table(folder, LVIS[0])
    assert summary.counts["LVIS annotations, train"] == len(data["annotations"])
    assert summary.counts["LVIS classes in train: rare"] == 2
    assert summary.counts["ImageNet images"] == len(list(folder.rglob("*.JPEG")))
    assert summary.next_command == f"cd '{folder}' && ovforge lvis remove-rare"
    sources = (folder / "SOURCES.md").read_text()
    for photograph in PHOTOGRAPHS.values():
        assert any(photograph.file in note and photograph.license.name in note for note in summary.notes)
        assert f"| {photograph.file} |" in sources
    assert all(sample_image.file_name in sources for sample_image in IMAGES)


@needs_photographs
def test_a_full_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputExistsError):
        sample_data(SampleDataOptions(tmp_path / "mine"))
    with pytest.raises(InputError, match=r"holds something else"):
        sample_data(SampleDataOptions(tmp_path / "mine", overwrite=True))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert names_in(tmp_path) == ["mine"]


@needs_photographs
def test_overwrite_replaces_a_sample_data_set(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "set"
    sample_data(SampleDataOptions(folder))
    (folder / "datasets/lvis/lvis_v1_train.json").write_text("broken")
    sample_data(SampleDataOptions(folder, overwrite=True))
    assert digests(folder) == digests(root)
    assert names_in(folder.parent) == ["set"]


@needs_photographs
def test_an_empty_folder_is_filled_and_a_file_or_the_own_folder_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    sample_data(SampleDataOptions(tmp_path / "empty"))
    assert (tmp_path / "empty" / "SOURCES.md").is_file()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        sample_data(SampleDataOptions(tmp_path / "file"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="the folder you are in"):
        sample_data(SampleDataOptions(Path()))


@needs_photographs
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool) -> None:
    folder = tmp_path / "set"
    if overwrite:
        sample_data(SampleDataOptions(folder))
    before = digests(tmp_path)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, "_link", full_disk)
    with pytest.raises(WorkError, match="No space left"):
        sample_data(SampleDataOptions(folder, overwrite=overwrite))
    assert digests(tmp_path) == before
    assert names_in(tmp_path) == (["set"] if overwrite else [])


@needs_photographs
def test_where_links_cannot_be_made_files_are_copied(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    sample_data(SampleDataOptions(tmp_path / "copies"))
    assert not any(path.is_symlink() for path in (tmp_path / "copies").rglob("*"))
    for path in (LVIS[0], "SOURCES.md", "data/lvis/annotations/lvis_v1_train.json"):
        assert (tmp_path / "copies" / path).read_bytes() == (root / path).read_bytes()
    assert len(list((tmp_path / "copies/data/lvis/train2017").glob("*.jpg"))) == 16


def test_without_scikit_image_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="extra 'sample'") as error:
        sample_data(SampleDataOptions(tmp_path / "set"))
    assert error.value.hint == f"`{pip_line('sample')}`"
    assert names_in(tmp_path) == []


@needs_photographs
def test_a_missing_or_other_photograph_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"astronaut\.png: photograph not found"):
        load(PHOTOGRAPHS["astronaut"], tmp_path)
    (tmp_path / "astronaut.png").write_bytes((photograph_folder() / "coffee.png").read_bytes())
    with pytest.raises(InputError, match=r"astronaut\.png: not the photograph"):
        load(PHOTOGRAPHS["astronaut"], tmp_path)
