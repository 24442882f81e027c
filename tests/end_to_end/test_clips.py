"""Clips from photographs: through generate, merge, annotate, export and the loader, whoever does the work."""

from __future__ import annotations

import contextlib
import io
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ovforge.cli.common import run_app
from ovforge.cli.main import app as whole_app
from ovforge.cli.pairs import app
from ovforge.errors import InputError
from ovforge.exports import export_pairs
from ovforge.files.review_file import change_review
from ovforge.image_io.codec import decode_rgb
from ovforge.image_io.hdf5 import ImageReader
from ovforge.options.diffusion import DiffusionOptions
from ovforge.options.exports import ExportFormat, ExportOptions
from ovforge.options.pairs import ClipMotion, GenerateOptions
from ovforge.records.pairs import PairRecord
from ovforge.records.review import ReviewChange
from ovforge.records.run_layout import frame_name
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.synthesis.clips.plate import Plate, replace_missing
from ovforge.synthesis.generate import generate_pairs
from ovforge.synthesis.warp import FillEngine

FRAMES, LIMIT = 5, 14
FILES = ("out/{}.h5", "out/{}.pkl", "out/{}.pairs.json")


def run(*arguments: object, code: int = 0) -> None:
    assert run_app(app, [*map(str, arguments), "--quiet"]) == code


def generate(name: str, mini: Path, *options: object, code: int = 0) -> None:
    run(
        "generate", name, "--folder", "out", "--ann", mini / "lvis/lvis_v1_train.json",
        "--images", mini / "coco/train2017", "--frames", FRAMES, "--limit", LIMIT, *options, code=code,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the merged and annotated run `clips`."""
    folder = tmp_path_factory.mktemp("clips")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        generate("clips", mini, "--workers", 2, "--partitions", 2, "--motion", "hard", "--gap", 30)
        run("merge", "clips", "--folder", "out")
        run("annotate", "clips", "--folder", "out")
    return folder


@pytest.fixture
def content(made: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The annotation file; the current folder is that of the run."""
    monkeypatch.chdir(made)
    loaded: dict[str, Any] = json.loads(Path("out/annotations/clips.json").read_bytes())
    return loaded


def test_a_clip_is_a_video_of_its_image_and_frames(content: dict[str, Any], mini: Path) -> None:
    frames = defaultdict(list)
    for image in content["images"]:
        frames[image["video_id"]].append(image)
    assert [video["id"] for video in content["videos"]] == sorted(frames)
    with ImageReader(Path("out/clips.h5")) as reader:
        for video in content["videos"]:
            images = frames[video["id"]]
            stem = video["name"]
            assert [image["frame_id"] for image in images] == list(range(FRAMES))
            assert [image["file_name"] for image in images] == [
                f"{stem}.jpg", *(f"{stem}_v0_f{frame:03d}.jpg" for frame in range(1, FRAMES))
            ]  # fmt: skip
            assert len({tuple(image) for image in images}) == 1, "images of a video have different keys"
            original = (mini / "coco/train2017" / f"{stem}.jpg").read_bytes()
            assert reader.read(f"{stem}.jpg") == original
            for image in images:
                pixels = decode_rgb(reader.read(image["file_name"]), image["file_name"])
                assert pixels.shape[:2] == (image["height"], image["width"])


def test_boxes_masks_and_tracks_agree(content: dict[str, Any]) -> None:
    first = {image["id"] for image in content["images"] if image["frame_id"] == 0}
    track_of: dict[int, int] = {}
    seen = defaultdict(set)
    for annotation in content["annotations"]:
        assert annotation["area"] > 0
        assert min(annotation["bbox"][2:]) >= 1
        assert track_of.setdefault(annotation["ori_ann_id"], annotation["track_id"]) == annotation["track_id"]
        assert annotation["image_id"] not in seen[annotation["track_id"]]
        seen[annotation["track_id"]].add(annotation["image_id"])
        if annotation["image_id"] in first:
            continue
        mask = annotation["segmentation"]
        assert coco_mask.toBbox(mask).tolist() == annotation["bbox"]
        assert coco_mask.area(mask) == annotation["area"]
        assert 0 < annotation["visibility"] <= 1
        assert not annotation["outside"]
        x, y, width, height = annotation["amodal_bbox"]
        left, top, box_width, box_height = annotation["bbox"]
        # Pixels go to the nearest: a pixel more at each side.
        assert x - 1.5 <= left
        assert y - 1.5 <= top
        assert left + box_width <= x + width + 1.5
        assert top + box_height <= y + height + 1.5
    assert {track["id"] for track in content["tracks"]} == set(seen)
    # Some object is out of sight for a while, and comes back as the same track.
    frame_of = {image["id"]: image["frame_id"] for image in content["images"]}
    gaps = [sorted(frame_of[image] for image in images) for images in seen.values()]
    assert any(frames[-1] - frames[0] + 1 > len(frames) for frames in gaps)


def test_every_annotated_object_that_is_seen_has_its_box(content: dict[str, Any]) -> None:
    """By the records: what is seen is annotated, what is not seen is nowhere a box; small objects, too."""
    boxes = {
        (image["file_name"], annotation["ori_ann_id"])
        for image in content["images"]
        for annotation in content["annotations"]
        if annotation["image_id"] == image["id"]
    }
    records = msgspec.convert(json.loads(Path("out/clips.pairs.json").read_bytes())["pairs"], list[PairRecord])
    clips = {image["file_name"] for image in content["images"]}
    small = hidden = 0
    for record in records:
        if record.file_name not in clips:
            continue
        times_seen: dict[int, int] = defaultdict(int)
        for view in record.variants:
            for entry in view.annotations:
                times_seen[entry["id"]] += entry["area"] > 0
        for view in record.variants:
            assert [entry["id"] for entry in view.annotations] == list(times_seen)
            for entry in view.annotations:
                key = (view.file_name, entry["id"])
                assert (key in boxes) == (entry["area"] > 0 and not entry.get("iscrowd"))
                assert entry["outside"] == (coco_mask.area(entry["mask"]) == 0 and not entry["occluded"])
                small += 0 < entry["area"] < 32**2
                hidden += not entry["area"]
    assert small
    assert hidden


def test_a_crowd_region_moves_with_the_camera_and_stays_a_region(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = json.loads((mini / "coco/annotations/instances_train2017.json").read_bytes())
    given["images"] = [image for image in given["images"] if image["id"] == 149]
    given["annotations"] = [one for one in given["annotations"] if one["image_id"] == 149]
    (crowd,) = [one["id"] for one in given["annotations"] if one["iscrowd"]]
    Path("ann.json").write_text(json.dumps(given))
    run(
        "generate", "crowd", "--folder", "out", "--ann", "ann.json", "--images", mini / "coco/train2017", "--frames", 4,
        "--workers", 1,
    )  # fmt: skip
    run("merge", "crowd", "--folder", "out")
    run("annotate", "crowd", "--folder", "out")
    content = json.loads(Path("out/annotations/crowd.json").read_bytes())
    regions = [one for one in content["annotations"] if one["ori_ann_id"] == crowd]
    assert [one["iscrowd"] for one in regions] == [1] * 4
    assert len({one["track_id"] for one in regions}) == 1
    assert all(image["motion"]["kind"] == "clip" for image in content["images"][1:])


@pytest.mark.parametrize("workers", [1, 3])
def test_a_run_does_not_depend_on_who_does_it(
    made: Path, mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--partitions", 2, "--motion", "hard", "--gap", 30, "--shard-size", 3)
    if workers == 1:  # in two parts, the second after the first
        generate("clips", mini, *options, "--workers", 1, "--shards", "1/2")
        generate("clips", mini, *options, "--workers", 1)
    else:
        generate("clips", mini, *options, "--workers", workers)
    run("merge", "clips", "--folder", "out")
    for file in FILES:
        name = file.format("clips")
        ours, theirs = (tmp_path / name).read_bytes(), (made / name).read_bytes()
        if name.endswith("pairs.json"):  # the annotation file's end says where the run was
            ours, theirs = (data.split(b'], "about": ')[0] for data in (ours, theirs))
        assert ours == theirs, name


def test_another_seed_makes_other_clips(mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        generate(f"seed{seed}", mini, "--limit", 2, "--seed", seed)
    first, second = (
        json.loads(Path(f"out/seed{seed}/seed{seed}_total_p_1_split_0.pairs.json").read_bytes()) for seed in (0, 1)
    )
    motions = [[view["motion"] for view in run["pairs"][0]["variants"]] for run in (first, second)]
    assert motions[0] != motions[1]


def test_replay_makes_the_same_frames(content: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    image = content["images"][2]["file_name"]
    assert image.endswith("_v0_f002.jpg")
    assert run_app(app, ["replay", "clips", image, "--folder", "out", "--out", "again", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert counts["equal to the run's, byte for byte"] == counts["second views"] == FRAMES - 1


def test_only_pairs_are_scored(content: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    del content
    assert run_app(whole_app, ["pairs", "score", "clips", "--folder", "out"]) == 2
    assert "only pairs can be scored" in capsys.readouterr().err


def test_a_run_with_other_options_is_refused(
    content: dict[str, Any], mini: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate("clips", mini, "--partitions", 2, "--motion", "hard", "--gap", 15, code=2)
    assert "gap" in capsys.readouterr().err


def test_the_truth_against_itself_scores_1(content: dict[str, Any], tmp_path: Path) -> None:
    trackeval = pytest.importorskip("trackeval", reason="TrackEval is not installed")
    run("export", "clips", "--folder", "out", "--to", "mot", "--out", tmp_path / "mot")
    trackers = tmp_path / "trackers/clips-train/truth/data"
    trackers.mkdir(parents=True)
    visible = []
    for truth in (tmp_path / "mot/clips-train").glob("*/gt/gt.txt"):
        rows = [line.split(",") for line in truth.read_text().splitlines()]
        visible += [float(row[8]) for row in rows]
        lines = (",".join([*row[:6], "1", "-1", "-1", "-1"]) for row in rows)
        (trackers / f"{truth.parents[1].name}.txt").write_text("".join(f"{line}\n" for line in lines))
    assert len(visible) == len(content["annotations"])
    assert min(visible) < 0.5
    quiet = {"PRINT_CONFIG": False}
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = trackeval.datasets.MotChallenge2DBox(
            {"GT_FOLDER": str(tmp_path / "mot"), "TRACKERS_FOLDER": str(tmp_path / "trackers"), "BENCHMARK": "clips",
             "SPLIT_TO_EVAL": "train", **quiet}
        )  # fmt: skip
        metrics = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(quiet), trackeval.metrics.Identity(quiet)]
        results, _ = trackeval.Evaluator(
            {"PRINT_RESULTS": False, "OUTPUT_SUMMARY": False, "OUTPUT_DETAILED": False, "PLOT_CURVES": False,
             "LOG_ON_ERROR": None, "BREAK_ON_ERROR": True, **quiet}
        ).evaluate([dataset], metrics)  # fmt: skip
    scores = results["MotChallenge2DBox"]["truth"]["COMBINED_SEQ"]["pedestrian"]
    assert (scores["HOTA"]["HOTA"] == 1).all()
    assert (scores["CLEAR"]["MOTA"], scores["Identity"]["IDF1"]) == (1, 1)
    assert scores["CLEAR"]["CLR_TP"] == len(content["annotations"])


def test_one_rejected_frame_rejects_the_clip(content: dict[str, Any], tmp_path: Path) -> None:
    """In `annotate --review` and in exports of a file that has it still; a kept or tagged clip stays."""
    folder = tmp_path / "runs"
    folder.mkdir()
    for path in Path("out").resolve().iterdir():
        (folder / path.name).symlink_to(path)
    names = [video["name"] for video in content["videos"]]
    changes = [
        ReviewChange(frame_name(f"{names[0]}.jpg", 3), "reject"),
        ReviewChange(frame_name(f"{names[1]}.jpg", 1), "keep", add_tags=("odd",)),
    ]
    change_review(folder / "clips.review.json", changes)
    run("annotate", "clips", "--folder", folder, "--review", "--out", tmp_path / "reviewed.json")
    reviewed = json.loads((tmp_path / "reviewed.json").read_bytes())
    assert [video["name"] for video in reviewed["videos"]] == names[1:]
    left = {image["file_name"] for image in content["images"]} - {image["file_name"] for image in reviewed["images"]}
    assert left == {f"{names[0]}.jpg", *(frame_name(f"{names[0]}.jpg", frame) for frame in range(1, FRAMES))}
    files = {image["id"]: image["file_name"] for image in content["images"]}
    assert len(reviewed["annotations"]) == sum(files[one["image_id"]] not in left for one in content["annotations"])
    for review, expected in ((True, names[1:]), (False, names)):
        export_pairs(
            ExportOptions(
                "clips", ExportFormat.TAO, folder=folder, out=tmp_path / "tao", copy_images=False, review=review,
                overwrite=True,
            )
        )  # fmt: skip
        (file,) = (tmp_path / "tao/annotations").glob("*.json")
        exported = json.loads(file.read_bytes())
        assert [video["name"].rpartition("/")[2] for video in exported["videos"]] == expected


def test_the_loader_gives_clips(content: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
    from ovforge.data import ClipDataset, collate_clips

    dataset = ClipDataset("out/clips.h5", "out/annotations/clips.json", masks=True)
    assert len(dataset) == len(content["videos"])
    frames, targets = dataset[0]
    images = [image for image in content["images"] if image["video_id"] == content["videos"][0]["id"]]
    assert frames.shape == (FRAMES, 3, images[0]["height"], images[0]["width"])
    with ImageReader(Path("out/clips.h5")) as reader:
        for number, (image, target) in enumerate(zip(images, targets, strict=True)):
            pixels = decode_rgb(reader.read(image["file_name"]), "frame")
            assert np.array_equal(frames[number].permute(1, 2, 0).numpy(), pixels)
            own = [a for a in content["annotations"] if a["image_id"] == image["id"]]
            assert target["file_name"] == image["file_name"]
            assert target["track_ids"].tolist() == [a["track_id"] for a in own]
            assert target["visibility"].tolist() == pytest.approx([a.get("visibility", 1.0) for a in own])
            assert target["occluded"].tolist() == [a.get("occluded", False) for a in own]
            x, y, width, height = own[0]["bbox"]
            assert target["boxes"][0].tolist() == pytest.approx([x, y, x + width, y + height])
            assert target["masks"].flatten(1).sum(1).tolist()[1:] == pytest.approx(
                [a["area"] for a in own][1:], rel=0.2 if number == 0 else 0
            )
    tracks, seen = dataset.visibility(0)
    for number, target in enumerate(targets):
        expected = dict(zip(target["track_ids"].tolist(), target["visibility"].tolist(), strict=True))
        assert seen[number].tolist() == [expected.get(track, 0.0) for track in tracks.tolist()]
    visible = ClipDataset("out/clips.h5", "out/annotations/clips.json", min_visibility=0.5)
    hidden = 0
    for clip in range(len(visible)):
        for frame, target in enumerate(visible[clip][1]):
            assert not len(target["visibility"]) or target["visibility"].min() >= 0.5
            shares = dataset.visibility(clip)[1][frame]
            assert len(target["track_ids"]) == len(target["occluded"]) == (shares >= 0.5).sum()
            hidden += ((shares > 0) & (shares < 0.5)).sum()
            assert len(target["ignore"]) >= ((shares > 0) & (shares < 0.5)).sum()
    assert hidden
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, collate_fn=collate_clips)
    batch, _ = next(iter(loader))
    assert [clip.shape[0] for clip in batch] == [FRAMES, FRAMES]


def test_strips_and_videos(content: dict[str, Any], tmp_path: Path) -> None:
    sheet, videos = tmp_path / "clips.png", tmp_path / "videos"
    run("sheet", "clips", "--folder", "out", "--count", 2, "--out", sheet, "--mp4", videos)
    drawn = cv2.imread(str(sheet))
    assert drawn is not None
    assert drawn.shape[1] > FRAMES * 400
    files = sorted(videos.iterdir())
    assert len(files) == 2
    for file in files:
        video = cv2.VideoCapture(str(file))
        (image,) = (i for i in content["images"] if i["file_name"] == f"{file.stem}.jpg")
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
        assert video.get(cv2.CAP_PROP_FRAME_WIDTH) == image["width"]


def test_diffusion_repaints_one_background_for_all_frames(
    mini: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from ovforge.synthesis.diffusion import DiffusionEngine
    from ovforge.synthesis.diffusion.repainter import DiffusionRepainter

    repainted = []
    original = DiffusionRepainter.start

    def counted(self: Any, jobs: Any) -> Any:
        repainted.extend(jobs)
        return original(self, jobs)

    monkeypatch.setattr(DiffusionRepainter, "start", counted)
    options = GenerateOptions(
        "painted",
        Path("out"),
        images=mini / "coco/train2017",
        annotations=mini / "lvis/lvis_v1_train.json",
        frames=FRAMES,
        limit=3,
    )
    engine = DiffusionEngine(DiffusionOptions(model=tiny_model, device="cpu", steps=2))
    generate_pairs(options, engine, InProcessExecutor())
    generate_pairs(replace(options, name="filled"), FillEngine(), InProcessExecutor())
    clips = [
        json.loads(Path(f"out/{name}/{name}_total_p_1_split_0.pairs.json").read_bytes())["pairs"]
        for name in ("painted", "filled")
    ]
    assert len(repainted) == sum(1 for record in clips[0] if record["variants"])
    for painted, filled in zip(*clips, strict=True):
        assert [v["motion"] for v in painted["variants"]] == [v["motion"] for v in filled["variants"]]
        assert [v["annotations"] for v in painted["variants"]] == [v["annotations"] for v in filled["variants"]]
    # What is not missing stays the photograph's, to the pixel.
    rng = np.random.default_rng(0)
    image, other = (rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(2))
    hole = np.zeros((60, 80), np.uint8)
    hole[20:40, 20:60] = 255
    replaced = replace_missing(Plate(image, (0, 0), hole), other).image
    assert np.array_equal(replaced[hole == 0], image[hole == 0])
    assert np.array_equal(replaced[25:35, 25:55], other[25:35, 25:55])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"frames": 1}, "frames="),
        ({"frames": 65}, "frames="),
        ({"motion": ClipMotion.HARD}, "motion="),
        ({"gap": 5}, "gap="),
        ({"frames": 5, "gap": 0.5}, "gap="),
        ({"frames": 5, "gap": float("nan")}, "gap="),
        ({"frames": 5, "gap": 5, "motion": ClipMotion.OVTRACK}, "gap="),
        ({"frames": 5, "variants": 2}, "variants="),
        ({"frames": 5, "min_area": 100}, "min_area="),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        GenerateOptions("clips", **options)


def test_an_engine_that_shows_the_original_is_refused(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    generate("clips", mini, "--engine", "warp", code=2)
    assert "the engine warp shows the original" in capsys.readouterr().err


def test_a_check_says_of_which_images_no_clip_is_made(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    content = json.loads((mini / "lvis/lvis_v1_train.json").read_bytes())
    content["images"] = content["images"][:3]
    lonely = content["images"][1]["id"]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] != lonely]
    known = {image["id"] for image in content["images"]}
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in known]
    Path("ann.json").write_text(json.dumps(content))
    arguments = ["check", "some", "--ann", "ann.json", "--images", mini / "coco/train2017", "--frames", 3]
    assert run_app(app, [*map(str, arguments), "--json"]) == 0
    drops = [drop for drop in json.loads(capsys.readouterr().out)["drops"] if drop["kind"] == "image"]
    assert [(drop["reason"], drop["count"]) for drop in drops] == [
        ("without a usable object: no clip is made of it", 1)
    ]
