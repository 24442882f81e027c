"""A run of ovforge: shards to partitions to merged files to the annotation file, and what may go wrong on the way."""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ovforge import parallel
from ovforge.annotation_io import edited_records
from ovforge.errors import InputError, WorkError
from ovforge.image_io.hdf5 import ImageReader, ImageWriter
from ovforge.options.tracks import AnnotateOptions, MergeOptions
from ovforge.records.pairs import PairRecord, VariantRecord
from ovforge.records.reporting import Drop
from ovforge.records.run_layout import RECORDS, partition_files
from ovforge.runs.ledger import Ledger, LedgerEntry
from ovforge.runs.plan import Plan, file_sha256, freeze, input_file
from ovforge.runs.task import Shard, ShardReport
from ovforge.synthesis import pair_columns
from ovforge.synthesis.merge import merge_pairs
from ovforge.synthesis.partitions import partition_sizes, publish_partition, publish_partitions
from ovforge.synthesis.tracks import annotate_pairs

NAME = "my_pairs"
IMAGES = 10
PARTITIONS = 3
VARIANTS = 2
BROKEN = 4  # the image that could not be used
POLYGON = [[1.5, 2.5, 100.0, 2.5, 100.0, 100.0]]


def _annotation_file() -> dict[str, Any]:
    images = [
        {"id": n, "width": 640, "height": 480, "coco_url": f"http://x/train2017/{n:012d}.jpg", "x": [1e-7, "{}, {"]}
        for n in range(1, IMAGES + 1)
    ]
    annotations = []
    for image in images:
        for number, (area, crowd) in enumerate([(9000.0, 0), (100.5, 0), (8000, 0), (9999, 1)]):
            annotations.append(
                {
                    "bbox": [1, 2, 100, 90],
                    "id": image["id"] * 10 + number,
                    "image_id": image["id"],
                    "category_id": 3,
                    "area": area,
                    "segmentation": POLYGON,
                    "iscrowd": crowd,
                    "note": "id and image_id stay in strings",
                }
            )
    return {"info": {}, "images": images, "annotations": annotations, "categories": [{"id": 3, "name": "x"}]}


def _record(n: int, annotations: list[dict[str, Any]], *, masks: bool) -> PairRecord:
    name = f"{n:012d}.jpg"
    if n == BROKEN:
        return PairRecord(n, name, [], (Drop("image", "is not an image", 1, (name,)),))
    usable = [a for a in annotations if a["image_id"] == n and a["area"] > 4096 and not a["iscrowd"]]
    variants = []
    for r in range(VARIANTS):
        view = f"{n:012d}_v{r}.jpg"
        entries = [
            {**a, "bbox": [5, 6, 50, 40], "area": 2000 - r, "image_name": view, "fidelity": 0.25 + 0.5 * k}
            | ({"mask": {"size": [480, 640], "counts": "abc"}} if masks else {})
            for k, a in enumerate(usable)
        ]
        variants.append(VariantRecord(view, {"kind": "affine", "flip": r == 1}, f'a "cat" no. {n}', 7, {}, entries))
    return PairRecord(n, name, variants)


def _image(name: str) -> bytes:
    return name.encode() * 500


def make_run(folder: Path, *, masks: bool = False, shard_size: int = 2) -> Path:
    """A run whose shards are all done; its folder."""
    run = folder / NAME
    run.mkdir(parents=True)
    path = folder / "annotations.json"
    data = _annotation_file()
    path.write_text(json.dumps(data))
    plan = Plan(
        task="pairs",
        items=IMAGES,
        shard_size=shard_size,
        groups=partition_sizes(IMAGES, PARTITIONS),
        seed=7,
        options={"variants": VARIANTS, "min_area": 4096.0},
        inputs={"annotations": input_file(path)},
    )
    ledger = Ledger(run, freeze(plan, run))
    (run / "shards").mkdir()
    for shard in plan.shards():
        _make_shard(ledger, shard, data["annotations"], masks=masks)
    return run


def _make_shard(ledger: Ledger, shard: Shard, annotations: list[dict[str, Any]], *, masks: bool) -> None:
    path = ledger.shard_path(shard, ".h5")
    records = [_record(n, annotations, masks=masks) for n in range(shard.start + 1, shard.stop + 1)]
    with ImageWriter(path) as writer:
        for record in records:
            for name in [record.file_name, *(v.file_name for v in record.variants)] if record.variants else []:
                writer.add(name, _image(name))
        writer.add(RECORDS, msgspec.json.encode(records))
    ledger.write(
        LedgerEntry(
            shard=shard.index,
            plan=ledger.plan_id,
            file=f"shards/{path.name}",
            size=path.stat().st_size,
            sha256=file_sha256(path),
            report=ShardReport(shard.stop - shard.start),
            seconds=0.0,
            host="",
            worker="",
        )
    )


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _finish(folder: Path, **options: Any) -> dict[str, Any]:
    publish_partitions(folder / NAME)
    merge_pairs(MergeOptions(NAME, folder, overwrite=True))
    out = folder / "annotations" / f"{NAME}.json"
    annotate_pairs(AnnotateOptions(NAME, folder, overwrite=True, **options))
    result: dict[str, Any] = json.loads(out.read_bytes())
    return result


def test_partitions_hold_images_entries_and_records_and_shards_go(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert publish_partitions(run) == [0, 1, 2]
    assert not list((run / "shards").iterdir())
    assert publish_partitions(run) == []
    names = []
    for index in range(PARTITIONS):
        files = partition_files(run, index, PARTITIONS)
        with ImageReader(files.h5) as reader:
            names += reader.names()
            assert all(reader.read(name) == _image(name) for name in reader.names())
        assert json.loads(files.pairs.read_bytes())["about"]["options"]["seed"] == 7
    assert names == [f"{n:012d}{v}.jpg" for n in range(1, 11) if n != BROKEN for v in ("", "_v0", "_v1")]
    entries = pickle.loads(partition_files(run, 0, PARTITIONS).pkl.read_bytes())
    assert entries[0]["segmentation"] == POLYGON
    assert [entry["image_name"] for entry in entries[:3]] == ["000000000001_v0.jpg"] * 2 + ["000000000001_v1.jpg"]


def test_the_same_files_whatever_the_size_of_the_shards(tmp_path: Path) -> None:
    for size in (1, 2, 100):
        run = make_run(tmp_path / str(size), shard_size=size)
        publish_partitions(run)
    one, two, all_ = (
        {name: data for name, data in _files(tmp_path / str(size) / NAME).items() if "split" in name}
        for size in (1, 2, 100)
    )
    assert one == two == all_
    assert len(one) == 3 * PARTITIONS


def test_an_unfinished_partition_keeps_its_shards(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    lost = sorted((run / "shards").iterdir())[-1]
    lost.unlink()
    assert publish_partitions(run) == [0, 1]
    assert [path.name for path in (run / "shards").iterdir()] == ["000004.h5"]
    with pytest.raises(InputError, match=r"1 of 3 partitions are not finished: my_pairs_total_p_3_split_2\.h5"):
        merge_pairs(MergeOptions(NAME, tmp_path))


def test_a_shard_without_a_image_of_its_records_is_named(tmp_path: Path) -> None:
    shard = tmp_path / "000000.h5"
    record = _record(1, _annotation_file()["annotations"], masks=False)
    with ImageWriter(shard) as writer:
        writer.add(record.file_name, b"x")
        writer.add(RECORDS, msgspec.json.encode([record]))
    files = partition_files(tmp_path / NAME, 0, 1)
    with pytest.raises(WorkError, match=r"000000\.h5: has a record of 000000000001_v0\.jpg, but not the image"):
        publish_partition(files, [shard])
    assert not list((tmp_path / NAME).iterdir())


def test_the_annotation_file_says_what_the_run_knows(tmp_path: Path) -> None:
    make_run(tmp_path, masks=True)
    data = _finish(tmp_path, original=True)
    used = IMAGES - 1
    assert len(data["videos"]) == 2 * used
    assert len(data["images"]) == used + 3 * used
    assert BROKEN not in [image["id"] for image in data["images"]]  # it is in no file of images
    second = next(image for image in data["images"] if image["file_name"] == "000000000002_v1.jpg")
    assert (second["caption"], second["seed"]) == ('a "cat" no. 2', 7)
    assert second["motion"] == {"kind": "affine", "flip": True}
    assert second["x"] == [1e-7, "{}, {"]
    assert "caption" not in data["images"][0]
    assert data["images"][0]["file_name"] == "000000000001.jpg"  # LVIS v1 has none
    on_it = [a for a in data["annotations"] if a["image_id"] == second["id"]]
    assert [a["fidelity"] for a in on_it] == [0.25, 0.75]
    assert on_it[0]["segmentation"] == {"size": [480, 640], "counts": "abc"}
    assert "mask" not in on_it[0]
    assert on_it[0]["note"] == "id and image_id stay in strings"
    original = next(a for a in data["annotations"] if a.get("ori_ann_id") == 20)
    assert original["track_id"] == on_it[0]["track_id"]
    assert original["segmentation"] == POLYGON


def test_workers_write_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path, masks=True)
    _finish(tmp_path)
    out = tmp_path / "annotations" / f"{NAME}.json"
    before = out.read_bytes()
    monkeypatch.setattr(parallel, "SMALL_BYTES", 0)
    monkeypatch.setattr(parallel, "cpu_count", lambda: 2)
    monkeypatch.setattr(edited_records, "BATCH_BYTES", 1000)
    monkeypatch.setattr(pair_columns, "_RANGE_BYTES", 1000)
    annotate_pairs(AnnotateOptions(NAME, tmp_path, overwrite=True))
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [(b'"seed":7', b'"seed":"', r"record 3 cannot be read"), (b"0000003.jpg", b"0000033.jpg", "image 3 is 0000")],
)
def test_a_record_that_does_not_fit_is_named(tmp_path: Path, before: bytes, after: bytes, problem: str) -> None:
    make_run(tmp_path)
    _finish(tmp_path)
    path = tmp_path / f"{NAME}.pairs.json"
    lines = path.read_bytes().split(b"\n")
    assert before in lines[3]
    lines[3] = lines[3].replace(before, after, 1)
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(InputError, match=problem):
        annotate_pairs(AnnotateOptions(NAME, tmp_path, overwrite=True))


def test_every_reference_in_the_annotation_file_holds(tmp_path: Path) -> None:
    make_run(tmp_path)
    data = _finish(tmp_path, original=True)
    images = {image["id"]: image for image in data["images"]}
    assert len(images) == len(data["images"])
    assert len({a["id"] for a in data["annotations"]}) == len(data["annotations"])
    videos = {video["id"] for video in data["videos"]}
    for annotation in data["annotations"]:
        assert images[annotation["image_id"]]["video_id"] == annotation["video_id"]
        assert annotation["video_id"] in videos
    tracks: dict[int, list[int]] = {}
    for annotation in data["annotations"]:
        tracks.setdefault(annotation["track_id"], []).append(images[annotation["image_id"]]["frame_id"])
    assert sorted({tuple(frames) for frames in tracks.values()}) == [(0,), (0, 1, 2)]


def test_objects_below_a_fidelity_are_left_out_and_counted(tmp_path: Path) -> None:
    make_run(tmp_path)
    publish_partitions(tmp_path / NAME)
    merge_pairs(MergeOptions(NAME, tmp_path))
    summary = annotate_pairs(AnnotateOptions(NAME, tmp_path, min_fidelity=0.5, original=True))
    data = json.loads((tmp_path / "annotations" / f"{NAME}.json").read_bytes())
    assert {a["fidelity"] for a in data["annotations"] if "fidelity" in a} == {0.75}
    drops = {(drop.kind, drop.reason): drop.count for drop in summary.drops}
    assert drops == {("object", "has a fidelity below 0.5"): 9 * VARIANTS, ("image", "is not an image"): 1}
    # The ids of those skipped stay unused, so that files with other limits compare.
    whole = _finish(tmp_path, original=True)
    by_id = {a["id"]: a for a in whole["annotations"]}
    assert all(by_id[a["id"]] == a for a in data["annotations"])


@pytest.mark.parametrize("where", ["image", "pkl", "records"])
def test_a_damaged_partition_is_found_before_anything_is_published(tmp_path: Path, where: str) -> None:
    run = make_run(tmp_path)
    publish_partitions(run)
    files = partition_files(run, 1, PARTITIONS)
    path = {"image": files.h5, "pkl": files.pkl, "records": files.pairs}[where]
    data = bytearray(path.read_bytes())
    if where == "records":
        del data[-300:]
    else:
        spot = data.index(b"_v1.jpg", len(data) // 2) if where == "image" else len(data) // 2
        data[spot] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=path.name.replace(".", r"\.")) as caught:
        merge_pairs(MergeOptions(NAME, tmp_path))
    assert caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations.json", NAME]


def test_a_repacked_partition_is_still_read_by_name(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    publish_partitions(run)
    merge_pairs(MergeOptions(NAME, tmp_path))
    before = (tmp_path / f"{NAME}.h5").read_bytes()
    files = partition_files(run, 1, PARTITIONS)
    with ImageReader(files.h5) as reader:
        image_list = {name: reader.read(name) for name in reversed(reader.names())}
    with ImageWriter(files.h5) as writer:
        writer.add("another.jpg", b"x")
        for name, data in image_list.items():
            writer.add(name, data)
    merge_pairs(MergeOptions(NAME, tmp_path, overwrite=True))
    assert (tmp_path / f"{NAME}.h5").read_bytes() == before


def test_another_annotation_file_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    publish_partitions(run)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(_annotation_file()).replace("640", "641"))
    with pytest.raises(InputError, match=r"other\.json: is not the file that the run was started with"):
        merge_pairs(MergeOptions(NAME, tmp_path, annotations=other))
    merge_pairs(MergeOptions(NAME, tmp_path))
    with pytest.raises(InputError, match=r"other\.json: is not the file that the run was started with"):
        annotate_pairs(AnnotateOptions(NAME, tmp_path, annotations=other))


_KILLED = """
import os, signal, sys
from pathlib import Path
from ovforge.options.tracks import MergeOptions
from ovforge.files import atomic
from ovforge.synthesis import pair_columns
from ovforge.synthesis.merge import merge_pairs
from ovforge.synthesis.partitions import publish_partitions
publish, left = atomic._publish, int(sys.argv[2])
def dying(*arguments, **options):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    publish(*arguments, **options)
atomic._publish = dying
folder = Path(sys.argv[1])
if sys.argv[3] == "merge":
    merge_pairs(MergeOptions("my_pairs", folder, overwrite=sys.argv[4] == "overwrite"))
else:
    publish_partitions(folder / "my_pairs")
"""


def _killed(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("after", range(9))
def test_a_kill_between_the_files_of_a_partition_is_made_good(tmp_path: Path, after: int) -> None:
    whole = make_run(tmp_path / "whole")
    publish_partitions(whole)
    run = make_run(tmp_path / "killed")
    _killed(str(run.parent), str(after), "publish")
    publish_partitions(run)
    expected = {name: data for name, data in _files(whole).items() if "split" in name}
    left = {name: data for name, data in _files(run).items() if "split" in name and ".part-" not in name}
    assert left == expected
    assert not list((run / "shards").iterdir())


@pytest.mark.parametrize("before", ["nothing", "overwrite"])
@pytest.mark.parametrize("after", range(3))
def test_a_kill_between_the_merged_files_is_made_good(tmp_path: Path, after: int, before: str) -> None:
    run = make_run(tmp_path)
    publish_partitions(run)
    if before == "overwrite":
        merge_pairs(MergeOptions(NAME, tmp_path, variants=1))
    _killed(str(tmp_path), str(after), "merge", before)
    assert not (tmp_path / f"{NAME}.h5").exists()  # no merged file: nobody takes the others for whole
    merge_pairs(MergeOptions(NAME, tmp_path))
    reference = tmp_path / "reference"
    merge_pairs(MergeOptions(NAME, tmp_path, out=reference / f"{NAME}.h5"))
    for suffix in (".h5", ".pkl", ".pairs.json"):
        assert (tmp_path / f"{NAME}{suffix}").read_bytes() == (reference / f"{NAME}{suffix}").read_bytes()


_FULL = """
import sys
from pathlib import Path
from ovforge.errors import OvforgeError
from ovforge.options.tracks import AnnotateOptions, MergeOptions
from ovforge.synthesis import pair_columns
from ovforge.synthesis.merge import merge_pairs
from ovforge.synthesis.tracks import annotate_pairs
try:
    if sys.argv[2] == "merge":
        merge_pairs(MergeOptions("my_pairs", Path(sys.argv[1]), overwrite=True))
    else:
        annotate_pairs(AnnotateOptions("my_pairs", Path(sys.argv[1]), overwrite=True))
except OvforgeError as error:
    print(error.message)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(("step", "limit"), [("merge", 100_000), ("merge", 2_000), ("annotate", 5_000)])
def test_a_full_disk_leaves_the_old_files(tmp_path: Path, step: str, limit: int) -> None:
    make_run(tmp_path)
    _finish(tmp_path)
    before = _files(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path), step],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1, done.stderr
    assert "no space left to write it" in done.stdout
    assert _files(tmp_path) == before
