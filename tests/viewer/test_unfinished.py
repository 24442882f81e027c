"""A run that is going on: finished shards, partitions that take them in, damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ovforge.errors import AnnotationFileError, InputError, MissingInputError, OvforgeError
from ovforge.options.pairs import GenerateOptions
from ovforge.options.viewer import PairsViewOptions
from ovforge.runs.executors.local import LocalExecutor
from ovforge.runs.run import ShardSelection
from ovforge.synthesis.generate import generate_pairs
from ovforge.synthesis.warp import WarpEngine
from ovforge.viewer.merged_source import MergedSource
from ovforge.viewer.step import open_pairs
from ovforge.viewer.unfinished_source import UnfinishedSource


def generate(root: Path, folder: Path, part: str | None) -> None:
    generate_pairs(
        GenerateOptions(
            "demo",
            out=folder,
            images=root / "data/lvis/train2017",
            annotations=root / "data/lvis/annotations/lvis_v1_train.json",
            captions=root / "data/lvis/annotations/captions_train2017.json",
            variants=2,
            partitions=2,
            masks=True,
            seed=1,
            shard_size=2,
        ),
        WarpEngine(),
        LocalExecutor(1),
        shards=ShardSelection.parse(part) if part else None,
    )


def look_now(source: UnfinishedSource) -> None:
    source._look_next = float("-inf")


def test_grows_while_the_run_goes_on_and_equals_the_merged_run(
    sample_root: Path, pairs_folder: Path, tmp_path: Path
) -> None:
    generate(sample_root, tmp_path, "1/4")
    source = open_pairs(PairsViewOptions("demo", tmp_path))
    assert isinstance(source, UnfinishedSource)
    first = source.snapshot()
    assert (first.done, first.planned, first.unfinished) == (4, 16, True)
    names = [first.arrays.file_name(int(row)) for row in first.arrays.pairs[:, 1]]
    assert len(names) == 8
    assert [source.details(pair).caption for pair in range(8)] != [""] * 8
    image_list = [source.image(int(row)) for row in first.arrays.pairs[:, 1]]

    generate(sample_root, tmp_path, None)
    assert not list((tmp_path / "demo/shards").glob("*.h5"))
    # The snapshot is an old one; its images are in the partitions by now.
    assert [source.image(int(row)) for row in first.arrays.pairs[:, 1]] == image_list
    look_now(source)
    last = source.snapshot()
    assert (last.done, last.unfinished) == (16, False)
    assert [last.arrays.file_name(int(row)) for row in last.arrays.pairs[:8, 1]] == names

    merged = MergedSource(PairsViewOptions("demo", pairs_folder))
    expected = merged.snapshot().arrays
    assert len(last.arrays) == len(expected) == 32
    for pair in range(len(expected)):
        name = expected.file_name(int(expected.pairs[pair, 1]))
        mine = last.arrays.find(name)
        assert mine is not None
        row, mine_row = int(expected.pairs[pair, 1]), int(last.arrays.pairs[mine, 1])
        assert source.image(mine_row) == merged.image(row)
        theirs, ours = merged.details(pair), source.details(mine)
        assert (theirs.caption, theirs.seed, theirs.motion, theirs.keep_mask) == (
            ours.caption,
            ours.seed,
            ours.motion,
            ours.keep_mask,
        )
        # Of the preview, either says that it is one.
        if theirs.motion["kind"] != "none":
            assert theirs.engine == ours.engine
            assert "not to train on" in theirs.engine["note"]
        np.testing.assert_array_equal(last.arrays.pair_motion[mine], expected.pair_motion[pair])
        # The JSON leaves out what became too small; the run's own records have all that is still in sight.
        boxes = {tuple(box) for box in last.arrays.box[last.arrays.objects(mine_row)].tolist()}
        assert {tuple(box) for box in expected.box[expected.objects(row)].tolist()} <= boxes
        originals = last.arrays.objects(int(last.arrays.pairs[mine, 0]))
        assert {tuple(b) for b in expected.box[expected.objects(int(expected.pairs[pair, 0]))].tolist()} == {
            tuple(b) for b in last.arrays.box[originals].tolist()
        }
    assert source.drops() == merged.drops()


def test_without_the_annotation_file_sizes_come_from_the_images(sample_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "data-that-goes"
    shutil.copytree(sample_root / "data/lvis", root / "data/lvis")
    generate(root, tmp_path, "1/4")
    shutil.rmtree(root)
    arrays = UnfinishedSource(PairsViewOptions("demo", tmp_path)).snapshot().arrays
    assert len(arrays) == 8
    assert arrays.image_size.min() > 100
    assert arrays.categories == ()


def test_a_run_without_a_finished_shard(sample_root: Path, tmp_path: Path) -> None:
    generate(sample_root, tmp_path, "1/4")
    shutil.rmtree(tmp_path / "demo/ledger")
    snapshot = UnfinishedSource(PairsViewOptions("demo", tmp_path)).snapshot()
    assert (len(snapshot.arrays), snapshot.done) == (0, 0)


def test_damage_is_named(sample_root: Path, tmp_path: Path) -> None:
    generate(sample_root, tmp_path, "1/4")
    shard = next((tmp_path / "demo/shards").glob("*.h5"))
    content = shard.read_bytes()
    shard.write_bytes(content[:300] + bytes(len(content) - 300))
    with pytest.raises(OvforgeError, match=shard.name):
        UnfinishedSource(PairsViewOptions("demo", tmp_path)).snapshot()
    (tmp_path / "demo/manifest.json").write_text("{}")
    with pytest.raises(OvforgeError, match=r"manifest\.json"):
        UnfinishedSource(PairsViewOptions("demo", tmp_path)).snapshot()


def test_what_is_missing_says_the_next_command(pairs_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no run of this name in .*holds no run"):
        open_pairs(PairsViewOptions("nothing", tmp_path))
    shutil.copy(pairs_folder / "demo.h5", tmp_path)
    with pytest.raises(MissingInputError, match=r"pairs\.annotate\(.demo."):
        open_pairs(PairsViewOptions("demo", tmp_path))
    (tmp_path / "old").mkdir()
    with pytest.raises(MissingInputError, match=r"pairs\.merge\(.old."):
        open_pairs(PairsViewOptions("old", tmp_path))


def test_a_json_that_is_replaced_is_read_anew(pairs_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(pairs_folder, tmp_path / "pairs")
    json = tmp_path / "pairs/annotations/demo.json"
    source = MergedSource(PairsViewOptions("demo", tmp_path / "pairs"))
    before = source.snapshot()
    json.write_bytes(json.read_bytes().replace(b'"motion": {"kind"', b'"motion":  {"kind"'))
    source._looked = float("-inf")
    assert source.snapshot().generation != before.generation
    json.write_text('{"images": [], "annotations": [], "categories": []}')
    source._looked = float("-inf")
    with pytest.raises(AnnotationFileError, match="no pairs JSON"):
        source.snapshot()
