"""Exports read back by the libraries that score trackers: the truth against itself scores 1."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

trackeval = pytest.importorskip("trackeval", reason="TrackEval is not installed (requirements-readers.txt)")
motmetrics = pytest.importorskip("motmetrics", reason="py-motmetrics is not installed (extra 'test')")

Content = dict[str, Any]
NAMES = ("mini", "clips")


def shown(content: Content, *, crowds: bool = False) -> list[Content]:
    """The annotations that have a box, without regions to be ignored."""
    return [a for a in content["annotations"] if not a.get("outside") and (crowds or not a.get("iscrowd"))]


def scores(dataset: Any, *metrics: Any) -> dict[str, Any]:
    """TrackEval's results of the only tracker, all sequences together, by class."""
    quiet = {"PRINT_RESULTS": False, "PRINT_CONFIG": False, "TIME_PROGRESS": False, "OUTPUT_SUMMARY": False,
             "OUTPUT_DETAILED": False, "PLOT_CURVES": False, "LOG_ON_ERROR": None, "DISPLAY_LESS_PROGRESS": True,
             "BREAK_ON_ERROR": True, "RETURN_ON_ERROR": False, "OUTPUT_EMPTY_CLASSES": False}  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        results, _ = trackeval.Evaluator(quiet).evaluate([dataset], list(metrics))
    (of_dataset,) = results.values()
    (of_tracker,) = of_dataset.values()
    combined: dict[str, Any] = of_tracker["COMBINED_SEQ"]
    return combined


def quiet_metrics(*kinds: Any) -> list[Any]:
    quiet = {"PRINT_CONFIG": False}
    options = {trackeval.metrics.CLEAR: quiet, trackeval.metrics.Identity: quiet,
               trackeval.metrics.TrackMAP: quiet | {"USE_TIME_RANGES": False}}  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        return [kind(options.get(kind)) for kind in kinds]


@pytest.mark.parametrize("name", NAMES)
def test_motchallenge_by_trackeval(
    name: str, export: Callable[..., Path], content: Callable[[str], Content], tmp_path: Path
) -> None:
    folder = export(name, "mot")
    trackers = tmp_path / "trackers"
    for truth in folder.glob(f"{name}-train/*/gt/gt.txt"):
        own = trackers / f"{name}-train" / "truth" / "data" / f"{truth.parents[1].name}.txt"
        own.parent.mkdir(parents=True, exist_ok=True)
        rows = [line.split(",") for line in truth.read_text().splitlines()]
        # A tracker knows no regions to be ignored.
        own.write_text("".join(",".join([*row[:6], "1", "-1", "-1", "-1"]) + "\n" for row in rows if row[6] == "1"))
    config = {"GT_FOLDER": str(folder), "TRACKERS_FOLDER": str(trackers), "BENCHMARK": name, "SPLIT_TO_EVAL": "train",
              "PRINT_CONFIG": False}  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = trackeval.datasets.MotChallenge2DBox(config)
    metrics = quiet_metrics(trackeval.metrics.HOTA, trackeval.metrics.CLEAR, trackeval.metrics.Identity)
    result = scores(dataset, *metrics)["pedestrian"]
    objects = len(shown(content(name)))
    assert (result["HOTA"]["HOTA"] == 1).all()
    assert (result["CLEAR"]["MOTA"], result["CLEAR"]["CLR_TP"], result["CLEAR"]["IDSW"]) == (1, objects, 0)
    assert (result["Identity"]["IDF1"], result["Identity"]["IDTP"]) == (1, objects)
    assert dataset.seq_lengths == {
        path.name: len(list((path / "img1").iterdir())) for path in (folder / f"{name}-train").iterdir()
    }


@pytest.mark.parametrize("name", NAMES)
def test_motchallenge_by_motmetrics_value_by_value(
    name: str,
    export: Callable[..., Path],
    content: Callable[[str], Content],
    stored: Callable[[str, str], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # py-motmetrics 1.4 still calls what numpy 2 has taken away.
    monkeypatch.setattr(np, "asfarray", lambda values, dtype=np.float64: np.asarray(values, dtype), raising=False)
    folder, data = export(name, "mot"), content(name)
    images = {image["id"]: image for image in data["images"]}
    of_video = defaultdict(list)
    for annotation in shown(data, crowds=True):
        of_video[annotation["video_id"]].append(annotation)
    classes = {category["id"]: category["name"] for category in data["categories"]}
    listed = (folder / "seqmaps" / f"{name}-train.txt").read_text().splitlines()
    assert listed == ["name", *(video["name"].replace("/", "-") for video in data["videos"])]
    accumulators = []
    for video in data["videos"]:
        sequence = folder / f"{name}-train" / video["name"].replace("/", "-")
        table = motmetrics.io.loadtxt(sequence / "gt/gt.txt", fmt="mot15-2D", min_confidence=-1)
        rows = (sequence / "gt/tracks.csv").read_text().splitlines()[1:]
        tracks = {int(row.split(",")[0]): row.split(",") for row in rows}
        expected = of_video[video["id"]]
        assert len(table) == len(expected)
        for annotation in expected:
            (number,) = [n for n, row in tracks.items() if int(row[1]) == annotation["track_id"]]
            assert tracks[number][2:] == [str(annotation["category_id"]), classes[annotation["category_id"]]]
            row = table.loc[(images[annotation["image_id"]]["frame_id"] + 1, number)]
            # motmetrics counts pixels from 0, the files of the benchmark from 1: it takes 1 away.
            assert [row.X + 1, row.Y + 1, row.Width, row.Height] == pytest.approx(annotation["bbox"])
            assert row.Visibility == pytest.approx(annotation.get("visibility", 1.0))
            assert (row.Confidence, row.ClassId) == ((0, 8) if annotation["iscrowd"] else (1, 1))
        counting = table[table.Confidence == 1]
        accumulators.append(motmetrics.utils.compare_to_groundtruth(counting, counting))
        for image in (image for image in data["images"] if image["video_id"] == video["id"]):
            path = sequence / "img1" / f"{image['frame_id'] + 1:06d}.jpg"
            assert path.read_bytes() == stored(name, image["file_name"])
    metrics = motmetrics.metrics.create()
    summary = metrics.compute_many(accumulators, metrics=["mota", "idf1", "num_switches"], generate_overall=True)
    assert summary.loc["OVERALL"].tolist() == [1.0, 1.0, 0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", ["export", "the pairs JSON as it is"])
def test_tao_by_trackeval(
    name: str, which: str, export: Callable[..., Path], content: Callable[[str], Content], tmp_path: Path
) -> None:
    gt = tmp_path / "gt"
    gt.mkdir()
    if which == "export":
        shutil.copy(export(name, "tao") / "annotations/train.json", gt)
    elif name == "clips":
        pytest.skip("the clips' JSON has what is out of sight, and regions to be ignored, which TAO has not")
    else:
        (gt / "train.json").write_text(json.dumps(content(name)))
    data = json.loads((gt / "train.json").read_bytes())
    # TAO knows no regions to be ignored: in the pairs JSON it takes them for objects.
    expected = shown(content(name), crowds=which != "export")
    assert {a["id"] for a in data["annotations"]} == {a["id"] for a in expected}
    own = tmp_path / "trackers/truth/data/results.json"
    own.parent.mkdir(parents=True)
    keys = ("image_id", "category_id", "bbox", "track_id", "video_id")
    own.write_text(json.dumps([{key: a[key] for key in keys} | {"score": 1.0} for a in data["annotations"]]))
    config = {"GT_FOLDER": str(gt), "TRACKERS_FOLDER": str(tmp_path / "trackers"), "PRINT_CONFIG": False}
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = trackeval.datasets.TAO(config)
    metrics = quiet_metrics(trackeval.metrics.HOTA, trackeval.metrics.CLEAR, trackeval.metrics.Identity)
    if which == "export":  # TrackMAP stops at boxes whose sums are rounded
        metrics += quiet_metrics(trackeval.metrics.TrackMAP)
    result = scores(dataset, *metrics)
    evaluated = {category["id"]: category["name"] for category in data["categories"]}
    evaluated = {one: evaluated[one] for one in {a["category_id"] for a in data["annotations"]}}
    assert len(evaluated) > 1
    for one in evaluated.values():
        assert (result[one]["HOTA"]["HOTA"] == 1).all()
        assert result[one]["CLEAR"]["MOTA"] == result[one]["Identity"]["IDF1"] == 1
        assert which != "export" or result[one]["TrackMAP"]["AP_all"] == pytest.approx(1)
    assert sum(result[one]["CLEAR"]["CLR_TP"] for one in evaluated.values()) == len(expected)


@pytest.mark.parametrize("name", NAMES)
def test_tao_value_by_value(
    name: str, export: Callable[..., Path], content: Callable[[str], Content], stored: Callable[[str, str], bytes]
) -> None:
    folder, before = export(name, "tao"), content(name)
    data = json.loads((folder / "annotations/train.json").read_bytes())
    assert list(data) == ["info", "licenses", "videos", "images", "tracks", "annotations", "categories"]
    old = {image["id"]: image for image in before["images"]}
    assert {image["id"] for image in data["images"]} == old.keys()
    videos = {video["id"]: video for video in data["videos"]}
    for image in data["images"]:
        assert image["file_name"] == f"{videos[image['video_id']]['name']}/frame{image['frame_index']:04d}.jpg"
        assert image["video"] == videos[image["video_id"]]["name"]
        assert image["frame_index"] == old[image["id"]]["frame_id"]
        assert (folder / "frames" / image["file_name"]).read_bytes() == stored(name, old[image["id"]]["file_name"])
    by_id = {a["id"]: a for a in data["annotations"]}
    expected = {a["id"]: a for a in shown(before)}
    assert by_id.keys() == expected.keys()
    for number, annotation in by_id.items():
        assert annotation["bbox"] == pytest.approx(expected[number]["bbox"], abs=1e-9)
        assert annotation | {"bbox": expected[number]["bbox"]} == expected[number]
    tracks = {a["track_id"]: (a["category_id"], a["video_id"]) for a in shown(before)}
    assert {t["id"]: (t["category_id"], t["video_id"]) for t in data["tracks"]} == tracks
    assert data["categories"] == before["categories"]
    for video in before["videos"]:
        assert videos[video["id"]]["neg_category_ids"] == video["neg_category_ids"]


@pytest.mark.parametrize("name", NAMES)
def test_youtube_vis_by_trackeval(
    name: str, export: Callable[..., Path], content: Callable[[str], Content], tmp_path: Path
) -> None:
    folder, before = export(name, "youtube-vis"), content(name)
    data = json.loads((folder / "train/instances.json").read_bytes())
    gt, own = tmp_path / "gt/youtube_vis_train", tmp_path / "trackers/youtube_vis_train/truth/data/results.json"
    gt.mkdir(parents=True)
    own.parent.mkdir(parents=True)
    shutil.copy(folder / "train/instances.json", gt)
    from pycocotools import mask as coco_mask

    def packed(mask: Content | None) -> Content | None:
        if mask is None:
            return None
        rle = coco_mask.frPyObjects(mask, *mask["size"])
        return {"size": rle["size"], "counts": rle["counts"].decode()}

    own.write_text(
        json.dumps(
            [
                {"video_id": a["video_id"], "category_id": a["category_id"], "score": 1.0,
                 "segmentations": [packed(mask) for mask in a["segmentations"]]}
                for a in data["annotations"]
            ]
        )
    )  # fmt: skip
    config = {"GT_FOLDER": f"{gt.parent}/", "TRACKERS_FOLDER": f"{tmp_path}/trackers/", "SPLIT_TO_EVAL": "train",
              "PRINT_CONFIG": False}  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = trackeval.datasets.YouTubeVIS(config)
    result = scores(dataset, *quiet_metrics(trackeval.metrics.HOTA, trackeval.metrics.TrackMAP))
    names = {category["id"]: category["name"] for category in before["categories"]}
    evaluated = {names[a["category_id"]] for a in shown(before)}
    for one in evaluated:
        assert (result[one]["HOTA"]["HOTA"] == 1).all()
        assert result[one]["TrackMAP"]["AP_all"] == pytest.approx(1)


@pytest.mark.parametrize("name", NAMES)
def test_youtube_vis_value_by_value(
    name: str, export: Callable[..., Path], content: Callable[[str], Content], stored: Callable[[str, str], bytes]
) -> None:
    from pycocotools import mask as coco_mask

    folder, before = export(name, "youtube-vis"), content(name)
    data = json.loads((folder / "train/instances.json").read_bytes())
    images = {image["id"]: image for image in before["images"]}
    lengths = {video["id"]: video["length"] for video in data["videos"]}
    tracks = {track["id"]: track for track in data["annotations"]}
    seen = 0
    for annotation in shown(before, crowds=True):
        frame, track = images[annotation["image_id"]]["frame_id"], tracks[annotation["track_id"]]
        assert len(track["bboxes"]) == len(track["segmentations"]) == len(track["areas"]) == lengths[track["video_id"]]
        assert (track["category_id"], track["video_id"], track["iscrowd"]) == (
            annotation["category_id"], annotation["video_id"], annotation["iscrowd"],
        )  # fmt: skip
        assert track["bboxes"][frame] == annotation["bbox"]
        assert track["areas"][frame] == annotation["area"]
        rle = coco_mask.frPyObjects(track["segmentations"][frame], track["height"], track["width"])
        assert np.array_equal(coco_mask.decode(rle), coco_mask.decode(annotation["segmentation"]))
        seen += 1
    assert seen == sum(mask is not None for track in tracks.values() for mask in track["segmentations"])
    for video in data["videos"]:
        frames = sorted((i for i in images.values() if i["video_id"] == video["id"]), key=lambda i: i["frame_id"])
        assert len(frames) == video["length"]
        for image, file_name in zip(frames, video["file_names"], strict=True):
            path = folder / "train/JPEGImages" / file_name
            assert path.read_bytes() == stored(name, image["file_name"])


@pytest.mark.parametrize("name", NAMES)
def test_burst_by_trackeval_and_value_by_value(
    name: str,
    export: Callable[..., Path],
    content: Callable[[str], Content],
    stored: Callable[[str, str], bytes],
    tmp_path: Path,
) -> None:
    folder, before = export(name, "burst"), content(name)
    path = folder / "annotations/train/train.json"
    data = json.loads(path.read_bytes())
    images = {(image["video_id"], image["frame_id"]): image for image in before["images"]}
    of_image = defaultdict(dict)
    for annotation in shown(before):
        of_image[annotation["image_id"]][annotation["segmentation"]["counts"]] = annotation["category_id"]
    seen = 0
    for sequence in data["sequences"]:
        assert len(sequence["segmentations"]) == len(sequence["annotated_image_paths"])
        for frame, (masks, file_name) in enumerate(
            zip(sequence["segmentations"], sequence["annotated_image_paths"], strict=True)
        ):
            image = images[sequence["id"], frame]
            stored_at = folder / "frames/train" / sequence["dataset"] / sequence["seq_name"] / file_name
            assert stored_at.read_bytes() == stored(name, image["file_name"])
            found = {mask["rle"]: sequence["track_category_ids"][track] for track, mask in masks.items()}
            assert found == of_image[image["id"]]
            seen += len(found)
    assert seen == len(shown(before))
    assert data["categories"] == before["categories"]

    results = {**data, "sequences": [
        {**sequence, "segmentations": [
            {track: {"rle": mask["rle"], "score": 1.0} for track, mask in masks.items()}
            for masks in sequence["segmentations"]
        ]} for sequence in data["sequences"]
    ]}  # fmt: skip
    own = tmp_path / "trackers/truth/data/results.json"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps(results))
    config = {"GT_FOLDER": str(path.parent), "TRACKERS_FOLDER": str(tmp_path / "trackers"), "PRINT_CONFIG": False}
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = trackeval.datasets.BURST(config)
    result = scores(dataset, *quiet_metrics(trackeval.metrics.HOTA))
    # TrackEval has TAO's classes in place of the file's, and leaves some out.
    evaluated = [one for one in dataset.class_list if one in result]
    assert evaluated
    for one in evaluated:
        assert (result[one]["HOTA"]["HOTA"] == 1).all()
