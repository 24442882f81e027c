"""Merging and annotating the original scripts' partitions gives what the original scripts give, fixes aside."""

from __future__ import annotations

import gzip
import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ovforge.errors import InputError, MissingInputError, OutputExistsError
from ovforge.image_io.hdf5 import ImageWriter
from ovforge.options.tracks import AnnotateOptions, MergeOptions
from ovforge.synthesis.merge import merge_pairs
from ovforge.synthesis.tracks import annotate_pairs

NAME = "ovtrack_mini"
LOST = "000000000127_v0.jpg"  # its entries were skipped of the data on purpose


@pytest.fixture
def run(mini: Path, tmp_path: Path) -> Path:
    """A folder with the originals' partitions, as `data/tao/ovtrack`."""
    folder = tmp_path / "data" / "tao" / "ovtrack"
    (folder / NAME).mkdir(parents=True)
    for path in sorted((mini / "ovtrack" / NAME).iterdir()):
        (folder / NAME / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def annotations(mini: Path) -> Path:
    return mini / "ovtrack" / "lvis_v1_train+coco_mask_v1_base_named.json"


def _expected(path: Path) -> Any:
    with gzip.open(path) as file:
        return json.load(file)


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("variants", [1, 2])
def test_merged_files_equal_the_originals(
    run: Path, annotations: Path, mini_expected: Path, partitions: int, variants: int
) -> None:
    options = MergeOptions(NAME, run, annotations=annotations, partitions=partitions, variants=variants)
    summary = merge_pairs(options)
    case = f"total_p_{partitions}_repeat_{variants}"
    rows = _expected(mini_expected / "merge_hdf5" / f"{NAME}.h5.{case}.keys.json.gz")
    with h5py.File(run / f"{NAME}.h5") as file:
        assert list(file) == [row["name"] for row in rows]
        for row in rows:
            dataset = file[row["name"]]
            assert dataset.dtype == np.uint8 and dataset.ndim == 1  # 37: the original keeps byte strings
            assert dataset.size == row["bytes"]
            assert hashlib.sha256(dataset[()].tobytes()).hexdigest() == row["sha256"]
    entries = pickle.loads((run / f"{NAME}.pkl").read_bytes())
    assert json.dumps(entries) == json.dumps(_expected(mini_expected / "merge_hdf5" / f"{NAME}.pkl.{case}.json.gz"))
    assert not (run / f"{NAME}.pairs.json").exists()
    assert summary.counts["images"] == 7


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("variants", [1, 2])
def test_the_annotation_file_equals_the_originals(
    run: Path, annotations: Path, mini_expected: Path, partitions: int, variants: int
) -> None:
    merge_pairs(MergeOptions(NAME, run, annotations=annotations, partitions=partitions, variants=variants))
    summary = annotate_pairs(AnnotateOptions(NAME, run, annotations=annotations, original=True))
    ours = json.loads((run / "annotations" / f"{NAME}.json").read_bytes())  # 40: the document's place
    theirs = _expected(mini_expected / "generate_json_anno" / f"{NAME}.repeat_{variants}.json.gz")
    # 39: the original copies the image's own boxes onto a second view of which nothing is noted.
    lost = {image["id"] for image in theirs["images"] if image["file_name"] == LOST}
    assert len(lost) == 1
    copied = [a for a in theirs["annotations"] if a["image_id"] in lost]
    assert len(copied) == 7
    theirs["annotations"] = [a for a in theirs["annotations"] if a["image_id"] not in lost]
    assert list(ours) == list(theirs)
    for section in theirs:
        assert json.dumps(ours[section]) == json.dumps(theirs[section]), section  # values and key order
    drops = {(drop.kind, drop.reason): drop for drop in summary.drops}
    assert drops["second view", "has no boxes: nothing is noted of its objects"].examples == (LOST,)


def test_output_goes_where_it_is_asked_for(run: Path, annotations: Path, tmp_path: Path) -> None:
    merge_pairs(MergeOptions(NAME, run, annotations=annotations, partitions=1))
    out = tmp_path / "data" / "tao" / "annotations" / "ovtrack" / "x.json"
    annotate_pairs(AnnotateOptions(NAME, run, annotations=annotations, out=out))
    assert out.is_file()
    assert not (run / "annotations").exists()


def test_a_second_run_is_refused_and_overwrite_gives_the_same_bytes(run: Path, annotations: Path) -> None:
    options = MergeOptions(NAME, run, annotations=annotations, partitions=3)
    merge_pairs(options)
    annotate_pairs(AnnotateOptions(NAME, run, annotations=annotations))
    before = {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}
    with pytest.raises(OutputExistsError, match=r"ovtrack_mini\.h5: already exists"):
        merge_pairs(options)
    with pytest.raises(OutputExistsError, match=r"ovtrack_mini\.json: already exists"):
        annotate_pairs(AnnotateOptions(NAME, run, annotations=annotations))
    merge_pairs(MergeOptions(NAME, run, annotations=annotations, partitions=1, overwrite=True))
    annotate_pairs(AnnotateOptions(NAME, run, annotations=annotations, overwrite=True))
    after = {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}
    changed = [path.name for path in before if before[path] != after[path] and path.suffix != ".pkl"]
    assert not changed  # the divisions list the images in the same order
    assert before.keys() == after.keys()


def test_several_divisions_have_to_be_told_apart(run: Path, annotations: Path) -> None:
    with pytest.raises(InputError, match="several divisions, by 1 and by 3"):
        merge_pairs(MergeOptions(NAME, run, annotations=annotations))


@pytest.mark.parametrize("lost", ["split_1.h5", "split_2.pkl"])
def test_a_missing_partition_is_named(run: Path, annotations: Path, lost: str) -> None:
    (run / NAME / f"{NAME}_total_p_3_{lost}").unlink()
    with pytest.raises(InputError, match=lost.replace(".", r"\.")):
        merge_pairs(MergeOptions(NAME, run, annotations=annotations, partitions=3))
    assert [path.name for path in run.iterdir()] == [NAME]


@pytest.mark.parametrize("suffix", [".h5", ".pkl"])
def test_a_partition_cut_short_is_named_and_nothing_is_published(run: Path, annotations: Path, suffix: str) -> None:
    path = run / NAME / f"{NAME}_total_p_3_split_1{suffix}"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=path.name.replace(".", r"\.")):
        merge_pairs(MergeOptions(NAME, run, annotations=annotations, partitions=3))
    assert [path.name for path in run.iterdir()] == [NAME]


def test_missing_second_views_are_named(run: Path, annotations: Path) -> None:
    with h5py.File(run / NAME / f"{NAME}_total_p_3_split_0.h5", "a") as file:
        del file["000000000072_v1.jpg"]
    with pytest.raises(InputError, match=r"1 images are missing: 000000000072_v1\.jpg"):
        merge_pairs(MergeOptions(NAME, run, annotations=annotations, partitions=3))
    merge_pairs(MergeOptions(NAME, run, annotations=annotations, partitions=3, variants=1))


@pytest.mark.parametrize("kind", ["folder", "hdf5"])
def test_originals_come_from_the_image_store_when_partitions_lack_them(
    run: Path, annotations: Path, tmp_path: Path, kind: str
) -> None:
    """36: with images from a folder the original scripts do not store them, and their merge fails."""
    merge_pairs(MergeOptions(NAME, run, annotations=annotations, partitions=3))
    whole = (run / f"{NAME}.h5").read_bytes()
    image_list = {}
    for path in sorted((run / NAME).glob("*_total_p_3_*.h5")):
        with h5py.File(path, "a") as file:
            for name in [name for name in file if "_v" not in name]:
                image_list[name] = file[name][()].tobytes()
                del file[name]
    store = tmp_path / "store"
    options = MergeOptions(NAME, run, annotations=annotations, images=store, partitions=3, overwrite=True)
    with pytest.raises(MissingInputError, match="store"):
        merge_pairs(options)
    if kind == "folder":
        store.mkdir()
        for name, data in image_list.items():
            (store / name).write_bytes(data)
    else:
        with ImageWriter(store) as writer:
            for name, data in image_list.items():
                writer.add(name, data)
    merge_pairs(options)
    assert (run / f"{NAME}.h5").read_bytes() == whole


def test_a_pickle_that_runs_a_command_is_refused(run: Path, annotations: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    evil = run / NAME / f"{NAME}_total_p_1_split_0.pkl"
    evil.write_bytes(b"cposix\nsystem\n(X" + _text(f"touch {marker}") + b"tR.")
    with pytest.raises(InputError, match=r"asks for posix\.system"):
        merge_pairs(MergeOptions(NAME, run, annotations=annotations, partitions=1))
    assert not marker.exists()


def _text(text: str) -> bytes:
    return len(text).to_bytes(4, "little") + text.encode()


def test_a_file_name_that_is_a_path_does_not_leave_the_output(run: Path, annotations: Path, tmp_path: Path) -> None:
    data = json.loads(annotations.read_bytes())
    data["images"][0]["file_name"] = ".."
    evil = tmp_path / "evil.json"
    evil.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"has no usable file name \('\.\.'\)"):
        merge_pairs(MergeOptions(NAME, run, annotations=evil, partitions=1, variants=1))
    assert [path.name for path in run.iterdir()] == [NAME]


def test_the_original_command_lines_work_from_the_data_root(run: Path, annotations: Path, tmp_path: Path) -> None:
    place = tmp_path / "data" / "lvis" / "annotations" / "lvis_v1_train+coco_mask_v1_base.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(annotations.read_bytes())
    scripts = Path(__file__).resolve().parents[3] / "tools" / "post_processing_scripts"

    def call(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(scripts / script), "--h5_folder_name", NAME, *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    merged = call("merge_hdf5.py", "--total_p", "3", "--repeat_num", "1")
    assert merged.returncode == 0, merged.stderr
    written = call("generate_json_anno.py")
    assert written.returncode == 0, written.stderr
    assert (run / "annotations" / f"{NAME}.json").is_file()
    again = call("merge_hdf5.py", "--total_p", "3")
    assert again.returncode == 2
    assert "already exists" in again.stderr
    assert "Traceback" not in again.stderr
