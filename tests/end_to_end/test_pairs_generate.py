"""`pairs generate` on real photographs: what comes out, what is named, and that nothing but the inputs decides it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from pycocotools import mask as coco_mask

import ovforge
from ovforge.cli.common import run_app
from ovforge.cli.pairs import app
from ovforge.files.restricted_pickle import load
from ovforge.image_io.codec import decode_rgb
from ovforge.image_io.drawing import number_colour
from ovforge.image_io.hdf5 import ImageReader, ImageWriter
from ovforge.records.pairs import PairRecord, VariantRecord
from ovforge.synthesis.contact_sheet import CAPTION, CELL, GAP, HEADER, contact_sheet
from ovforge.synthesis.motion import from_record

ANNOTATIONS = Path("data/lvis/annotations/lvis_v1_train+coco_mask_v1_base.json")
CAPTIONS = Path("data/lvis/annotations/captions_train2017.json")
IMAGES = Path("data/lvis/train2017")
RUNS = Path("data/tao/ovtrack")


@pytest.fixture
def root(mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, with the mini set in its default places; the images are links."""
    monkeypatch.chdir(tmp_path)
    ANNOTATIONS.parent.mkdir(parents=True)
    IMAGES.mkdir()
    shutil.copy(mini / "lvis/lvis_v1_train.json", ANNOTATIONS)
    shutil.copy(mini / "coco/annotations/captions_train2017.json", CAPTIONS)
    for path in (mini / "coco/train2017").iterdir():
        (IMAGES / path.name).symlink_to(path)
    return tmp_path


def generate(name: str, *options: object, code: int = 0) -> None:
    assert run_app(app, ["generate", name, "--quiet", *map(str, options)]) == code


def records(name: str, total: int = 1) -> list[PairRecord]:
    """All pairs' records; the partitions hold them without polygons."""
    found = []
    for index in range(total):
        text = (RUNS / name / f"{name}_total_p_{total}_split_{index}.pairs.json").read_bytes()
        found += msgspec.convert(json.loads(text)["pairs"], list[PairRecord])
    return found


def files(name: str) -> dict[str, bytes]:
    return {path.name.removeprefix(name): path.read_bytes() for path in (RUNS / name).glob(f"{name}_total_p_*")}


def test_what_a_run_writes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate("demo", "--partitions", 3, "--variants", 2, "--workers", 2, "--masks", "--json")
    summary = json.loads(capsys.readouterr().out)
    assert summary["counts"]["images"] == 40
    assert summary["counts"]["second views"] == 80
    content = json.loads(ANNOTATIONS.read_bytes())
    images = content["images"]
    names = [image["coco_url"].rsplit("/")[-1] for image in images]
    pairs = records("demo", 3)
    assert [pair.image_id for pair in pairs] == [image["id"] for image in images]
    sizes = {image["id"]: (image["width"], image["height"]) for image in images}
    usable = 0
    for index, (start, stop) in enumerate(((0, 13), (13, 26), (26, 40))):
        with ImageReader(RUNS / "demo" / f"demo_total_p_3_split_{index}.h5") as reader:
            stems = [name[:-4] for name in names[start:stop]]
            assert reader.names() == sorted(f"{stem}{end}.jpg" for stem in stems for end in ("", "_v0", "_v1"))
            for pair in pairs[start:stop]:
                original = (IMAGES / pair.file_name).read_bytes()
                assert reader.read(pair.file_name) == original
                for variant in pair.variants:
                    view = reader.read(variant.file_name)
                    if variant.motion == {"kind": "none"}:
                        assert view == original
                        assert variant.annotations == []
                    else:
                        usable += 1
                        check_second_view(variant, view, original, sizes[pair.image_id])
        entries = load(RUNS / "demo" / f"demo_total_p_3_split_{index}.pkl")
        assert [e["id"] for e in entries] == [
            a["id"] for pair in pairs[start:stop] for v in pair.variants for a in v.annotations
        ]
    assert usable == summary["counts"]["second views with objects"] > 60


def check_second_view(variant: VariantRecord, view: bytes, original: bytes, size: tuple[int, int]) -> None:
    image = decode_rgb(view, variant.file_name)
    assert image.shape[1::-1] == size
    for entry in variant.annotations:
        mask = coco_mask.decode(entry["mask"])
        x, y, width, height = entry["bbox"]
        assert mask.shape == image.shape[:2]
        assert entry["area"] == mask.sum() == mask[y : y + height, x : x + width].sum()
        assert entry["image_name"] == variant.file_name
        assert entry["fidelity"] == (1.0 if entry["area"] else 0.0)
        assert entry["area"] == 0 or coco_mask.toBbox(entry["mask"]).tolist() == entry["bbox"]
        assert (coco_mask.decode(variant.keep_mask)[mask > 0] == 1).all()
    # The recorded motion, applied anew, gives the image that was stored, but for the JPEG.
    motion = from_record(variant.motion)
    warped = cv2.warpPerspective(
        decode_rgb(original, "original"), motion.array(), size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    warped = np.clip(warped * motion.contrast + 255 * motion.brightness, 0, 255)
    union = np.zeros(image.shape[:2], bool)
    for entry in variant.annotations:
        union |= coco_mask.decode(entry["mask"]) > 0
    if union.any():
        assert np.abs(warped[union] - image[union]).mean() < 8


def test_captions_are_drawn_from_the_image_s_own(root: Path) -> None:
    generate("captioned", "--variants", 4)
    generate("named", "--captions", write_empty_captions(root))
    captions: dict[int, set[str]] = {}
    for caption in json.loads(CAPTIONS.read_bytes())["annotations"]:
        captions.setdefault(caption["image_id"], set()).add(caption["caption"])
    drawn = [(pair.image_id, v.caption) for pair in records("captioned") for v in pair.variants if v.annotations]
    assert all(caption in captions[image_id] for image_id, caption in drawn)
    assert any(len({c for i, c in drawn if i == image_id}) == 2 for image_id in captions)
    prompts = {pair.file_name: v.caption for pair in records("named") for v in pair.variants if v.annotations}
    assert prompts["000000000025.jpg"] == "a photo of a giraffe"
    assert all(prompt.startswith("a photo of a") and "_" not in prompt for prompt in prompts.values())


def write_empty_captions(root: Path) -> Path:
    (root / "none.json").write_text('{"images": [], "annotations": []}')
    return root / "none.json"


def test_nothing_but_inputs_seed_and_options_decides_the_result(root: Path) -> None:
    generate("one", "--workers", 1, "--partitions", 2, "--shard-size", 40)
    generate("two", "--workers", 2, "--partitions", 2, "--shard-size", 3)
    generate("other", "--seed", 1, "--partitions", 2)
    with ImageWriter(Path("data/lvis/train_imgs.hdf5")) as writer:
        for path in sorted(IMAGES.iterdir()):
            writer.add(path.name, path.read_bytes())
    generate("packed", "--partitions", 2, "--shard-size", 7)
    first, second, packed, other = (files(name) for name in ("one", "two", "packed", "other"))
    assert len(first) == 6
    for suffix in first:
        if suffix.endswith((".h5", ".pkl")):
            assert second[suffix] == first[suffix] == packed[suffix]
            assert other[suffix] != first[suffix]
    assert records("one", 2) == records("two", 2) == records("packed", 2)


def test_an_image_s_result_does_not_depend_on_the_other_images(root: Path) -> None:
    generate("all")
    content = json.loads(ANNOTATIONS.read_bytes())
    random.Random(0).shuffle(content["images"])
    content["images"] = content["images"][:10]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in kept]
    ANNOTATIONS.write_text(json.dumps(content))
    generate("few")
    everything = {pair.image_id: pair for pair in records("all")}
    few = records("few")
    assert [pair.image_id for pair in few] == [image["id"] for image in content["images"]]
    with (
        ImageReader(RUNS / "all/all_total_p_1_split_0.h5") as a,
        ImageReader(RUNS / "few/few_total_p_1_split_0.h5") as b,
    ):
        for pair in few:
            assert pair == everything[pair.image_id]
            for variant in pair.variants:
                assert a.read(variant.file_name) == b.read(variant.file_name)


def test_images_that_cannot_be_used_are_named_and_the_run_goes_on(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace("000000000009.jpg", None)
    whole = (IMAGES / "000000000025.jpg").read_bytes()
    replace("000000000025.jpg", whole[: len(whole) // 2])
    replace("000000000030.jpg", b"<html>404</html>")
    replace("000000000034.jpg", b"")
    replace("000000000036.jpg", whole)  # another image, of another size
    generate("holes", "--json")
    summary = json.loads(capsys.readouterr().out)
    reasons = {drop["reason"]: drop["examples"] for drop in summary["drops"] if drop["kind"] == "image"}
    assert reasons.pop("has no usable object: its second view is the image itself")
    assert reasons == {
        "is missing": ["000000000009.jpg"],
        "is cut short": ["000000000025.jpg"],
        "is a web page (HTML), not an image": ["000000000030.jpg"],
        "is empty": ["000000000034.jpg"],
        "is another image than the annotations'": ["000000000036.jpg"],
    }
    assert summary["counts"]["images"] == 35
    pairs = {pair.file_name: pair for pair in records("holes")}
    assert len(pairs) == 40  # every planned image has its record
    assert pairs["000000000009.jpg"].variants == []
    with ImageReader(RUNS / "holes/holes_total_p_1_split_0.h5") as reader:
        assert len(reader.names()) == 70
        assert "000000000025.jpg" not in reader


def replace(name: str, data: bytes | None) -> None:
    (IMAGES / name).unlink()
    if data is not None:
        (IMAGES / name).write_bytes(data)


def test_odd_annotations_are_named_and_the_others_go_on(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(ANNOTATIONS.read_bytes())
    image = next(i for i in content["images"] if i["id"] == 25)
    far = {"image_id": 25, "category_id": 1, "area": 9000.0, "bbox": [0, 0, 9, 9]}
    rectangle = np.zeros((image["height"], image["width"]), np.uint8, order="F")
    rectangle[100:200, 50:250] = 1
    rle = coco_mask.encode(rectangle)
    odd = [
        {"id": 9001, **far, "segmentation": [[5000, 1, 6000, 1, 6000, 900]]},
        {"id": 9002, **far, "segmentation": [[700, 10, 800, 10, 800, 200, 700, 200]]},
        {"id": 9003, **far, "segmentation": []},
        {"id": 9004, **far, "segmentation": [[1, 1, 2, 2]]},
        {"id": 9005, **far, "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()}},
        {"id": 9006, **far, "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()}, "iscrowd": 1},
        {"id": 9007, **far, "segmentation": {"size": [1, 1], "counts": "1"}},
    ]
    content["annotations"] += odd
    ANNOTATIONS.write_text(json.dumps(content))
    generate("odd", "--json")
    drops = {d["reason"]: d["examples"] for d in json.loads(capsys.readouterr().out)["drops"]}
    boxed = ": its box is an ignore region"
    assert drops[f"polygon far outside the image{boxed}"] == ["annotation 9001"]
    assert drops[f"mask without a pixel inside the image{boxed}"] == ["annotation 9002"]
    assert drops[f"no segmentation{boxed}"] == ["annotation 9003"]
    assert drops[f"polygon of fewer than three points{boxed}"] == ["annotation 9004"]
    assert drops[f"RLE of another image size{boxed}"] == ["annotation 9007"]
    assert "annotation 9006" not in [name for names in drops.values() for name in names]
    (pair,) = (p for p in records("odd") if p.image_id == 25)
    regions = {entry["id"]: entry.get("iscrowd", 0) for entry in pair.variants[0].annotations}
    assert [regions[number] for number in range(9001, 9008)] == [1, 1, 1, 1, 0, 1, 1]


def test_objects_of_any_size_are_kept_and_a_smallest_area_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for engine in ("fill", "warp"):
        generate("small", "--min-area", 1024, "--engine", engine, code=2)
        assert f"--min-area 1024: the engine {engine} keeps and labels every object" in capsys.readouterr().err
    generate("all")
    objects = {entry["id"] for pair in records("all") for entry in pair.variants[0].annotations}
    assert objects == {a["id"] for a in json.loads(ANNOTATIONS.read_bytes())["annotations"]}


def test_what_is_seen_outside_has_to_be_what_the_engine_can_do(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate("demo", "--outside", "original", code=2)
    assert "--engine warp" in capsys.readouterr().err
    generate("demo", "--engine", "warp", "--outside", "completed", code=2)
    assert "--engine fill" in capsys.readouterr().err


def test_the_summary_says_what_is_seen_and_what_is_a_preview(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    CAPTIONS.unlink()
    notes = {}
    for engine in ("fill", "warp"):
        generate(engine, "--engine", engine, "--json")
        summary = json.loads(capsys.readouterr().out)
        notes[engine] = " ".join(summary["notes"])
        entries = [e for pair in records(engine) for v in pair.variants for e in v.annotations]
        old = sum(e["old_copy"] > 0 for e in entries)
        hidden = sum(bool(e["area"]) and e["visibility"] < 0.5 for e in entries)
        assert summary["counts"]["objects still seen at their old place"] == old
        assert summary["counts"]["objects less than half visible"] == hidden > 0
        assert f"{hidden / len(entries):.1%} by less" in notes[engine]
        assert f"{old / len(entries):.1%} are still seen at their old place" in notes[engine]
        assert "caption" not in notes[engine]
        assert (old == 0) is (engine == "fill")
    assert "preview" in notes["warp"]
    assert "preview" not in notes["fill"]
    manifest = json.loads((RUNS / "warp/manifest.json").read_bytes())
    assert "not to train on" in manifest["plan"]["options"]["engine"]["note"]
    assert run_app(app, ["status", "warp"]) == 0
    assert "are still seen at their old place" in " ".join(capsys.readouterr().out.split())


def test_a_second_call_has_nothing_to_do_and_another_plan_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate("demo", "--limit", 10)
    before = files("demo")
    generate("demo", "--limit", 10)
    assert files("demo") == before
    assert "done by an earlier call" in capsys.readouterr().out
    generate("demo", "--limit", 10, "--seed", 5, code=2)
    assert "seed`: 0 in the run, 5 now" in capsys.readouterr().err
    assert files("demo") == before
    generate("demo", "--limit", 10, "--seed", 5, "--overwrite")
    assert files("demo").keys() == before.keys()
    assert files("demo") != before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["a/b"], "'a/b' is not a name for a run"),
        ([".."], "not a name for a run"),
        (["two\nlines"], "not a name for a run"),
        (["n" * 151], "too long a name for a run: at most 150 bytes"),
        (["demo", "--partitions", "0"], "--partitions 0: must be at least 1"),
        (["demo", "--partitions", "41"], "there are only 40 images"),
        (["demo", "--variants", "0"], "--variants 0"),
        (["demo", "--quality", "101"], "--quality 101"),
        (["demo", "--shards", "5/4"], "--shards 5/4"),
        (["demo", "--images", "nowhere"], "nowhere: folder or HDF5 file of images not found"),
        (["demo", "--ann", "nowhere.json"], "nowhere.json"),
        (["demo", "--captions", "nowhere.json"], "nowhere.json"),
        (["demo", "--engine", "magic"], "magic"),
        ([], "Missing argument"),
    ],
)
def test_bad_usage_is_one_line_that_helps(
    root: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run_app(app, ["generate", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not RUNS.exists()


def test_names_that_clash_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(ANNOTATIONS.read_bytes())
    content["images"][3]["file_name"] = content["images"][1]["coco_url"].rsplit("/")[-1][:-4] + "_v0.jpg"
    ANNOTATIONS.write_text(json.dumps(content))
    generate("demo", code=2)
    assert "needs the name" in capsys.readouterr().err
    content["images"][3]["file_name"] = "../../etc/passwd/.."
    ANNOTATIONS.write_text(json.dumps(content))
    generate("demo", code=2)
    assert "no usable file name ('..')" in capsys.readouterr().err


def test_partitions_of_another_origin_are_not_touched(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = RUNS / "theirs" / "theirs_total_p_1_split_0.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weeks of work")
    generate("theirs", code=2)
    assert f"{path}: already exists" in capsys.readouterr().err
    assert path.read_bytes() == b"weeks of work"


COMMAND = (
    "import sys; from ovforge.cli.common import run_app; from ovforge.cli.pairs import app; sys.exit(run_app(app))"
)


def test_kills_in_the_middle_and_a_resume_give_the_same_files(root: Path) -> None:
    options = ["--partitions", "2", "--variants", "2", "--shard-size", "4", "--quiet"]
    generate("whole", *options)
    rng = random.Random(7)
    kills = 0
    for _ in range(40):
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "generate", "killed", *options, "--workers", "2"],
            env={**os.environ, "PYTHONPATH": str(Path(ovforge.__file__).parents[1])},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if kills < 4:
            wait_for_work(process, done_shards("killed") + 1)
            time.sleep(rng.random() * 0.1)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
        error = process.communicate()[1]
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, error
    generate("killed", *options)
    assert kills >= 3
    first, second = files("whole"), files("killed")
    assert first.keys() == second.keys()
    assert all(first[suffix] == second[suffix] for suffix in first if suffix.endswith((".h5", ".pkl")))
    assert records("whole", 2) == records("killed", 2)
    for name in ("whole", "killed"):
        assert run_app(app, ["merge", name, "--quiet"]) == 0
        assert run_app(app, ["annotate", name, "--quiet"]) == 0
    assert (RUNS / "whole.h5").read_bytes() == (RUNS / "killed.h5").read_bytes()
    assert (RUNS / "annotations/whole.json").read_bytes() == (RUNS / "annotations/killed.json").read_bytes()
    assert not list(RUNS.rglob("*.part-*"))


def done_shards(name: str) -> int:
    return len(list((RUNS / name / "ledger").glob("*.json")))


def wait_for_work(process: subprocess.Popen[bytes], shards: int) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and done_shards("killed") < shards and time.monotonic() < deadline:
        time.sleep(0.005)


def test_the_contact_sheet_shows_pairs_with_their_tracks(root: Path) -> None:
    generate("demo", "--workers", 2)
    assert run_app(app, ["merge", "demo", "--quiet"]) == 0
    assert run_app(app, ["annotate", "demo", "--quiet"]) == 0
    h5, tracks, sheet = RUNS / "demo.h5", RUNS / "annotations/demo.json", root / "sheet.png"
    assert contact_sheet(h5, tracks, sheet, count=6, seed=3) == 6
    pixels = decode_rgb(sheet.read_bytes(), "sheet")
    high, wide = CAPTION + CELL[1], 2 * CELL[0] + GAP // 2
    assert pixels.shape == (HEADER + 3 * (high + 2 * GAP), 2 * (wide + 2 * GAP), 3)
    for top, left in [
        (0, GAP),
        *((HEADER + r * (high + 2 * GAP), GAP + c * (wide + 2 * GAP)) for r in (0, 1, 2) for c in (0, 1)),
    ]:
        assert pixels[top : top + CAPTION, left : left + 100].min() < 80  # a head line, and a file name above each pair
    contact_sheet(h5, tracks, root / "again.png", count=6, seed=3)
    assert (root / "again.png").read_bytes() == sheet.read_bytes()
    for column in (GAP, GAP + CELL[0] + GAP // 2):  # the first object of a pair has one colour in both of its views
        view = pixels[HEADER + CAPTION : HEADER + high, column : column + CELL[0]].reshape(-1, 3)
        assert number_colour(0) in {tuple(colour) for colour in view.tolist()}
    assert run_app(app, ["sheet", "demo", "--count", "6", "--seed", "3"]) == 0
    assert (RUNS / "demo.png").read_bytes() == sheet.read_bytes()
    assert run_app(app, ["sheet", "demo"]) == 2  # it is there
    assert run_app(app, ["sheet", "nowhere"]) == 2
