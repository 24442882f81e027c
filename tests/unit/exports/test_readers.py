"""Exports, and the pairs JSON as it is, read back by the libraries that read such files, value by value."""

from __future__ import annotations

import base64
import contextlib
import copy
import io
import json
import logging
import zlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Content = dict[str, Any]
Load = Callable[[str], Content]
Export = Callable[..., Path]
Stored = Callable[[str, str], bytes]
NAMES = ("mini", "clips")


def shown(content: Content) -> list[Content]:
    """The annotations that have a box."""
    return [a for a in content["annotations"] if not a.get("outside")]


@pytest.fixture
def pairs_json(pairs: Path) -> Path:
    return pairs / "annotations/mini.json"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_coco_by_pycocotools(name: str, kind: str, export: Export, content: Load) -> None:
    path = export(name, "coco") / "annotations/instances_train.json"
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(path)
        results = [copy.deepcopy(a) | {"score": 1.0} for a in truth.dataset["annotations"] if not a["iscrowd"]]
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)
    data = json.loads(path.read_bytes())  # pycocotools adds to what it has read
    # FiftyOne keeps the name `instance_id` for itself.
    expected = [{key: value for key, value in a.items() if key != "instance_id"} for a in shown(content(name))]
    assert {a["id"]: a for a in data["annotations"]} == {a["id"]: a for a in expected}
    assert {i["id"]: i for i in data["images"]} == {i["id"]: i for i in content(name)["images"]}


def test_the_pairs_json_by_pycocotools(pairs_json: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(pairs_json)
        results = [copy.deepcopy(a) | {"score": 1.0} for a in truth.dataset["annotations"]]
        evaluation = COCOeval(truth, truth.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


@pytest.mark.parametrize("which", ["export", "the pairs JSON as it is", "the stills"])
def test_lvis_api(
    which: str, export: Export, pairs_json: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lvis = pytest.importorskip("lvis", reason="the LVIS API is not installed (requirements-readers.txt)")
    # lvis 0.5.3 still calls what numpy has taken away.
    monkeypatch.setattr(np, "float", float, raising=False)
    path = pairs_json.with_suffix(".stills.json") if which == "the stills" else pairs_json
    if which == "export":
        path = export("mini", "coco") / "annotations/instances_train.json"
    data = json.loads(path.read_bytes())
    api = lvis.LVIS(str(path))
    assert {a["id"] for a in data["annotations"]} == set(api.anns)
    for annotation in data["annotations"][:50]:
        mask = api.ann_to_mask(annotation)
        shape = annotation["segmentation"]
        if isinstance(shape, dict):
            assert np.array_equal(mask, coco_mask.decode(shape))
        assert mask.any()
    results = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 1.0}
        for a in data["annotations"]
    ]
    own = tmp_path / "results.json"
    own.write_text(json.dumps(results))
    logging.getLogger("lvis").setLevel(logging.ERROR)
    evaluation = lvis.LVISEval(api, str(own), "bbox")
    evaluation.params.area_rng = evaluation.params.area_rng[:1]
    evaluation.params.area_rng_lbl = evaluation.params.area_rng_lbl[:1]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"]
    assert precision[precision > -1].min() == pytest.approx(1.0)


@pytest.mark.parametrize("which", ["mini", "clips", "the pairs JSON as it is"])
def test_supervision(which: str, export: Export, content: Load, pairs_json: Path) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed (extra 'test')")
    name = "clips" if which == "clips" else "mini"
    folder = export(name, "coco")
    path = pairs_json if which.startswith("the") else folder / "annotations/instances_train.json"
    dataset = supervision.DetectionDataset.from_coco(str(folder / "images/train"), str(path), force_masks=True)
    data = content(name)
    images = {image["id"]: image["file_name"] for image in data["images"]}
    classes = {category["id"]: category["name"] for category in data["categories"]}
    expected = defaultdict(list)
    for annotation in shown(data):
        expected[images[annotation["image_id"]]].append(annotation)
    assert {Path(path).name for path in dataset.image_paths} == set(images.values())
    for image_path, image, detections in dataset:
        wanted = expected[Path(image_path).name]
        assert len(detections) == len(wanted)
        assert image.shape[:2] == cv2.imread(image_path).shape[:2]
        for annotation, box, mask, label in zip(
            wanted, detections.xyxy, detections.mask, detections.class_id, strict=True
        ):
            x, y, width, height = annotation["bbox"]
            assert box == pytest.approx([x, y, x + width, y + height], abs=1e-3)
            assert dataset.classes[label] == classes[annotation["category_id"]]
            assert np.array_equal(mask, coco_mask.decode(annotation["segmentation"]).astype(bool))


@pytest.mark.parametrize("which", ["mini", "clips", "the pairs JSON as it is"])
def test_globox(which: str, export: Export, content: Load, pairs_json: Path) -> None:
    globox = pytest.importorskip("globox", reason="globox is not installed (extra 'test')")
    name = "clips" if which == "clips" else "mini"
    path = pairs_json if which.startswith("the") else export(name, "coco") / "annotations/instances_train.json"
    found = globox.AnnotationSet.from_coco(path)
    data = content(name)
    images = {image["id"]: image["file_name"] for image in data["images"]}
    classes = {category["id"]: category["name"] for category in data["categories"]}
    expected = defaultdict(list)
    for annotation in shown(data):
        x, y, width, height = annotation["bbox"]
        label = classes[annotation["category_id"]]
        expected[images[annotation["image_id"]]].append((label, x, y, x + width, y + height))
    assert {one.image_id for one in found} == set(images.values())
    for one in found:
        boxes = sorted((box.label, box.xmin, box.ymin, box.xmax, box.ymax) for box in one.boxes)
        assert [box[0] for box in boxes] == [box[0] for box in sorted(expected[one.image_id])]
        assert [v for box in boxes for v in box[1:]] == pytest.approx(
            [v for box in sorted(expected[one.image_id]) for v in box[1:]]
        )


@pytest.fixture
def datumaro() -> Any:
    return pytest.importorskip("datumaro", reason="datumaro is not installed (requirements-readers.txt)")


@pytest.mark.parametrize("name", NAMES)
def test_coco_by_datumaro(name: str, datumaro: Any, export: Export, content: Load) -> None:
    dataset = datumaro.Dataset.import_from(str(export(name, "coco")), "coco")
    data = content(name)
    expected = {a["id"]: a for a in shown(data)}
    images = {image["id"]: image["file_name"] for image in data["images"]}
    classes = {category["id"]: category["name"] for category in data["categories"]}
    labels = dataset.categories()[datumaro.AnnotationType.label]
    seen = set()
    for item in dataset:
        for annotation in item.annotations:
            wanted = expected[annotation.id]
            assert images[wanted["image_id"]] == f"{item.id}.jpg"
            assert labels[annotation.label].name == classes[wanted["category_id"]]
            assert annotation.attributes["is_crowd"] == bool(wanted["iscrowd"])
            if annotation.type == datumaro.AnnotationType.mask:
                assert np.array_equal(annotation.image, coco_mask.decode(wanted["segmentation"]))
                seen.add(annotation.id)
    assert len(dataset) == len(images)
    assert seen == expected.keys()


@pytest.mark.parametrize("name", NAMES)
def test_cvat_by_datumaro(name: str, datumaro: Any, export: Export, content: Load, stored: Stored) -> None:
    folder, data = export(name, "cvat"), content(name)
    listed = [line.split(",") for line in (folder / "frames.csv").read_text().splitlines()[1:]]
    image_of = {image["file_name"]: image for image in data["images"]}
    assert [row[3] for row in listed] == [
        image["file_name"]
        for video in data["videos"]
        for image in sorted(data["images"], key=lambda image: image["frame_id"])
        if image["video_id"] == video["id"]
    ]
    for number, (frame, file, _, file_name) in enumerate(listed):
        assert int(frame) == number
        assert (folder / "images" / file).read_bytes() == stored(name, file_name)
    dataset = datumaro.Dataset.import_from(str(folder), "cvat")
    labels = dataset.categories()[datumaro.AnnotationType.label]
    classes = {category["id"]: category["name"] for category in data["categories"]}
    expected = defaultdict(dict)
    for annotation in shown(data):
        expected[annotation["image_id"]][str(annotation["track_id"])] = annotation
    items = {item.id: item for item in dataset}
    assert set(items) == {Path(row[1]).stem for row in listed}
    for _, file, _, file_name in listed:
        wanted = expected[image_of[file_name]["id"]]
        boxes = [box for box in items[Path(file).stem].annotations if not box.attributes["outside"]]
        assert len(boxes) == len(wanted)
        for box in boxes:
            annotation = wanted[str(box.attributes["track"])]
            x, y, width, height = annotation["bbox"]
            assert box.points == pytest.approx([x, y, x + width, y + height], abs=0.01)
            assert labels[box.label].name == classes[annotation["category_id"]]
            assert box.attributes["ignore"] is bool(annotation["iscrowd"])
            visibility = annotation.get("visibility", 1.0)
            assert box.attributes["visibility"] == round(100 * visibility)  # the format has whole per cent
            assert box.attributes["occluded"] is (visibility < 0.7)


def test_cvat_says_where_a_track_is_out_of_sight(export: Export) -> None:
    """CVAT draws a track in all frames after a box until it is told otherwise."""
    from xml.etree import ElementTree

    root = ElementTree.parse(export("clips", "cvat") / "annotations.xml").getroot()
    tracks = {
        track.find("box/attribute[@name='track']").text: [
            (int(box.get("frame")), box.get("outside")) for box in track.findall("box")
        ]
        for track in root.findall("track")
    }
    assert tracks["71"] == [(0, "0"), (1, "0"), (2, "1"), (3, "0"), (4, "0"), (5, "1")]
    assert tracks["72"] == [(0, "0"), (1, "0"), (2, "1")]
    assert tracks["73"] == [*((n, "0") for n in range(5)), (5, "1")]
    assert tracks["91"] == [(5, "0"), (6, "0"), (7, "0")]  # the last video's last frame: nothing comes after it
    assert tracks["99"] == [(6, "0"), (7, "1")]
    assert root.find("meta/task/size").text == "8"
    assert [label.text for label in root.findall("meta/task/labels/label/name")] == ["cat", "R&D <dog>"]


@pytest.mark.parametrize("name", NAMES)
def test_motchallenge_by_datumaro(name: str, datumaro: Any, export: Export, content: Load) -> None:
    folder, data = export(name, "mot") / f"{name}-train", content(name)
    for video in data["videos"]:
        sequence = folder / video["name"].replace("/", "-")
        dataset = datumaro.Dataset.import_from(str(sequence), "mot_seq")
        frames = {i["id"]: i["frame_id"] for i in data["images"] if i["video_id"] == video["id"]}
        expected = defaultdict(list)
        for annotation in shown(data):
            if annotation["video_id"] == video["id"]:
                expected[frames[annotation["image_id"]] + 1].append(annotation["bbox"])
        assert len(dataset) == len(frames)
        for item in dataset:
            boxes = sorted(box.get_bbox() for box in item.annotations)
            assert np.array(boxes).ravel() == pytest.approx(np.array(sorted(expected[int(item.id)])).ravel(), abs=1e-3)
            assert item.media.size == (video["height"], video["width"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shard_size", [1000, 1])
def test_webdataset(name: str, shard_size: int, export: Export, content: Load, stored: Stored) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed (extra 'test')")
    folder, data = export(name, "webdataset", shard_size=shard_size), content(name)
    shards = sorted(map(str, folder.glob("*.tar")))
    assert len(shards) == (1 if shard_size > 1 else len(data["videos"]))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"))
    assert [sample["json"]["video"]["id"] for sample in samples] == [video["id"] for video in data["videos"]]
    for sample in samples:
        content_of = sample["json"]
        video = content_of["video"]["id"]
        images = sorted((i for i in data["images"] if i["video_id"] == video), key=lambda image: image["frame_id"])
        assert content_of["images"] == images
        by_frame = {image["id"]: image["frame_id"] for image in images}
        wanted = [a for a in shown(data) if a["video_id"] == video]
        assert content_of["annotations"] == sorted(wanted, key=lambda a: by_frame[a["image_id"]])
        for image in images:
            pixels = sample[f"frame{image['frame_id']:04d}.jpg"]
            assert pixels.shape == (image["height"], image["width"], 3)
        assert len([key for key in sample if key.endswith(".jpg")]) == len(images)
    raw = list(webdataset.WebDataset(shards, shardshuffle=False))
    for sample, decoded in zip(raw, samples, strict=True):
        for image in decoded["json"]["images"]:
            assert sample[f"frame{image['frame_id']:04d}.jpg"] == stored(name, image["file_name"])
    assert json.loads((folder / "categories.json").read_bytes()) == data["categories"]


@pytest.mark.parametrize("name", NAMES)
def test_images_alone(name: str, export: Export, content: Load, stored: Stored) -> None:
    folder, data = export(name, "images"), content(name)
    names = {image["file_name"] for image in data["images"]}
    assert {path.name for path in (folder / "images").iterdir()} == names
    assert all((folder / "images" / file_name).read_bytes() == stored(name, file_name) for file_name in names)


@pytest.mark.parametrize("name", NAMES)
def test_fiftyones_files(name: str, export: Export, content: Load, stored: Stored) -> None:
    """FiftyOne wants a MongoDB server: here its files are checked by the structure that its own export writes.

    docs/readers.md says how its importer was run on them.
    """
    folder, data = export(name, "fiftyone"), content(name)
    meta = json.loads((folder / "metadata.json").read_bytes())
    samples = json.loads((folder / "samples.json").read_bytes())["samples"]
    longest = max(sum(i["video_id"] == video["id"] for i in data["images"]) for video in data["videos"])
    assert (meta["media_type"], meta["group_field"], meta["default_group_slice"]) == ("group", "group", "frame_0")
    assert meta["group_media_types"] == {f"frame_{n}": "image" for n in range(longest)}
    fields = {field["name"]: field for field in meta["sample_fields"]}
    assert fields["group"]["embedded_doc_type"] == "fiftyone.core.groups.Group"
    assert fields["ground_truth"]["embedded_doc_type"] == "fiftyone.core.labels.Detections"
    stored_as = {field["db_field"] for field in meta["sample_fields"]}
    (detections,) = fields["ground_truth"]["fields"]
    known = {field["db_field"] for field in detections["fields"]} | {"_cls"}
    images = {image["file_name"]: image for image in data["images"]}
    wanted = {a["id"]: a for a in shown(data)}
    classes = {category["id"]: category["name"] for category in data["categories"]}
    groups = defaultdict(set)
    ids = set()
    for sample in samples:
        assert set(sample) <= stored_as
        image = images[Path(sample["filepath"]).name]
        assert (folder / sample["filepath"]).read_bytes() == stored(name, image["file_name"])
        assert sample["group"]["name"] == f"frame_{image['frame_id']}"
        groups[sample["group"]["_id"]["$oid"]].add((image["video_id"], image["frame_id"]))
        assert 0 <= sample["_rand"] < 1
        ids.add(sample["_id"]["$oid"])
        for found in sample["ground_truth"]["detections"]:
            assert set(found) <= known
            annotation = wanted.pop(found["annotation_id"])
            assert annotation["image_id"] == image["id"]
            scale = [image["width"], image["height"]] * 2
            assert np.multiply(found["bounding_box"], scale) == pytest.approx(annotation["bbox"])
            assert (found["label"], found["index"]) == (classes[annotation["category_id"]], annotation["track_id"])
            assert found.get("visibility") == annotation.get("visibility")
            packed = base64.b64decode(found["mask"]["$binary"]["base64"])
            mask = np.load(io.BytesIO(zlib.decompress(packed)), allow_pickle=False)
            whole = coco_mask.decode(annotation["segmentation"])
            assert mask.dtype == bool
            # The box of an object may be a little smaller than its mask.
            assert whole.sum() - mask.sum() <= 0.01 * whole.sum() or annotation["iscrowd"]
    assert not wanted
    assert len(ids) == len(samples) == len(images)
    assert len(groups) == len(data["videos"])
    assert all(len({video for video, _ in members}) == 1 for members in groups.values())
