"""The index of the LVIS images of ImageNet: equal to the originals' on good input, helpful on bad."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ovforge.errors import (
    ArchiveError,
    ImageError,
    InputError,
    MissingInputError,
    OutputExistsError,
    PlanMismatchError,
    WorkError,
)
from ovforge.imagenet import index
from ovforge.options.imagenet import IndexOptions
from ovforge.records.reporting import StepSummary
from ovforge.runs import worker
from ovforge.runs.executors.base import Executor, Outcome
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.runs.executors.local import LocalExecutor
from ovforge.runs.run import ShardSelection
from ovforge.runs.task import Shard
from ovforge.runs.worker import Job
from ovforge.sources.imagenet21k import ImageNet21k

index_step = importlib.import_module("ovforge.imagenet.index")  # the package's name `index` is the function
SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "create_imagenetlvis_json.py"


@pytest.fixture
def tree(mini: Path, tmp_path: Path) -> Path:
    """A copy of the small tree that a test may spoil."""
    copy = tmp_path / "imagenet21k_P"
    shutil.copytree(mini / "imagenet" / "imagenet21k_P", copy, copy_function=shutil.copyfile)
    for folder, _, _ in os.walk(copy):
        Path(folder).chmod(0o755)
    return copy


def run_index(
    mini: Path, tree: Path, tmp_path: Path, executor: Executor | None = None, **options: Any
) -> tuple[dict[str, Any], StepSummary]:
    """In this process, unless told otherwise."""
    out = tmp_path / "made" / "index.json"
    lvis = options.pop("lvis", mini / "lvis" / "lvis_v1_val.json")
    summary = index(IndexOptions(imagenet=tree, lvis=lvis, out=out, **options), executor or InProcessExecutor())
    return json.loads(out.read_bytes()), summary


def expected(mini_expected: Path, name: str) -> bytes:
    return gzip.decompress((mini_expected / "create_imagenetlvis_json" / f"{name}.sorted.json.gz").read_bytes())


def drop(summary: StepSummary, kind: str, reason: str) -> tuple[int, tuple[str, ...]]:
    return next(((d.count, d.examples) for d in summary.drops if (d.kind, d.reason) == (kind, reason)), (0, ()))


def flat(tree: Path, out: Path) -> Path:
    """The flat form: one folder per class with the files of all parts."""
    for part in tree.iterdir():
        for class_ in part.iterdir():
            shutil.copytree(class_, out / class_.name, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return out


@pytest.mark.parametrize("executor", [InProcessExecutor(), LocalExecutor(2)], ids=["here", "processes"])
def test_byte_for_byte_the_reference(
    mini: Path, mini_expected: Path, tmp_path: Path, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_step, "HEAD_START_SECONDS", 0.0)
    root = mini / "imagenet" / "imagenet21k_P"
    _, summary = run_index(mini, root, tmp_path, executor)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["index.json"]
    assert (tmp_path / "made" / "index.json").read_bytes() == expected(mini_expected, "imagenet_lvis_image_info")
    assert summary.counts["images"] == 342
    assert summary.counts["with images"] == 25


def test_flat_form_of_ovmr(mini: Path, mini_expected: Path, tree: Path, tmp_path: Path) -> None:
    run_index(mini, flat(tree, tmp_path / "imagenet22k"), tmp_path)
    assert (tmp_path / "made" / "index.json").read_bytes() == expected(mini_expected, "imagenet_lvis_image_info_22k")


def test_class_tars_give_the_same_as_the_flat_form(mini: Path, mini_expected: Path, tree: Path, tmp_path: Path) -> None:
    tars = tmp_path / "tars"
    tars.mkdir()
    for class_ in flat(tree, tmp_path / "imagenet22k").iterdir():
        with tarfile.open(tars / f"{class_.name}.tar", "w") as archive:
            for file in sorted(class_.iterdir(), reverse=True):
                archive.add(file, file.name)
    run_index(mini, tars, tmp_path)
    assert (tmp_path / "made" / "index.json").read_bytes() == expected(mini_expected, "imagenet_lvis_image_info_22k")


def test_files_that_are_no_images_are_named_and_left_out(mini: Path, tree: Path, tmp_path: Path) -> None:
    good, _ = run_index(mini, tree, tmp_path)
    dogs = tree / "train" / "n02084071"
    (dogs / "README.txt").write_text("dogs")
    (dogs / "n02084071_0.JPEG").write_bytes(b"")
    (dogs / "n02084071_00.JPEG").symlink_to(tmp_path / "nowhere")
    (dogs / "more").mkdir()
    (tree / "train" / "README.txt").write_text("a tree")
    (tree / "train" / "n99999999").mkdir()
    spoiled, summary = run_index(mini, tree, tmp_path, overwrite=True)
    assert spoiled == good
    count, names = drop(summary, "file", "no readable image")
    assert count == 3
    assert "README.txt: is not an image" in names[0]
    assert "n02084071_0.JPEG: is empty" in names[1]
    assert "n02084071_00.JPEG: is missing" in names[2]
    assert drop(summary, "entry", "is not a folder or tar of an ImageNet class") == (1, ("train/README.txt",))


def test_strict_stops_at_the_first_file_that_is_no_image(mini: Path, tree: Path, tmp_path: Path) -> None:
    (tree / "train" / "n02084071" / "README.txt").write_text("dogs")
    with pytest.raises(ImageError, match=r"n02084071/README\.txt"):
        run_index(mini, tree, tmp_path, strict=True)
    assert not list((tmp_path / "made").iterdir())


def test_an_image_in_two_parts_counts_once(mini: Path, tree: Path, tmp_path: Path) -> None:
    good, _ = run_index(mini, tree, tmp_path)
    source = sorted((tree / "train" / "n02084071").iterdir())[0]
    target = tree / "imagenet21k_small_classes" / "n02084071" / source.name
    target.parent.mkdir()
    shutil.copyfile(source, target)
    doubled, summary = run_index(mini, tree, tmp_path, overwrite=True)
    assert doubled == good
    assert drop(summary, "file", "in two parts of the tree, taken once")[0] == 1


def test_names_that_are_not_utf8_are_left_out(mini: Path, tree: Path, tmp_path: Path) -> None:
    dogs = tree / "train" / "n02084071"
    source = sorted(dogs.iterdir())[0]
    shutil.copyfile(source, os.fsdecode(os.fsencode(dogs) + b"/\xff.JPEG"))
    shutil.copyfile(source, dogs / 'é".JPEG')
    made, summary = run_index(mini, tree, tmp_path)
    assert drop(summary, "file", "its name is not UTF-8")[0] == 1
    assert 'train/n02084071/é".JPEG' in [image["file_name"] for image in made["images"]]


def write_categories(path: Path, categories: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps({"images": [], "categories": categories, "annotations": []}))
    return path


CATEGORIES = [
    {"id": 7, "name": "cat", "synset": "cat.n.01", "frequency": "f", "image_count": 5, "extra": [1]},
    {"id": 3, "name": "zeppelin", "synset": "zeppelin.n.99", "frequency": "r", "image_count": 5},
    {"id": 9, "name": "stop_sign", "synset": "stop_sign.n.01", "frequency": "f", "image_count": 5},
    {"id": 4, "name": "dog", "synset": "dog.n.01", "frequency": "f", "image_count": 5},
]


def test_the_data_set_s_categories_win(mini: Path, tree: Path, tmp_path: Path) -> None:
    lvis = write_categories(tmp_path / "lvis.json", CATEGORIES)
    made, summary = run_index(mini, tree, tmp_path, lvis=lvis)
    order = list(dict.fromkeys(image["pos_category_ids"][0] for image in made["images"]))
    assert order == [7, 4]  # the file's order and the file's ids
    assert [image["id"] for image in made["images"]] == list(range(1, len(made["images"]) + 1))
    assert made["categories"][0]["extra"] == [1]
    assert made["categories"][1]["image_count"] == 0
    assert drop(summary, "category", "its synset has no ImageNet id") == (
        2,
        ("zeppelin (zeppelin.n.99)", "stop_sign (stop_sign.n.01)"),
    )
    assert any("zeppelin.n.99 is in no packaged table" in note or "more differences" in note for note in summary.notes)


def test_strict_stops_at_an_unknown_synset_but_not_at_stop_sign(mini: Path, tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"category 3 \(zeppelin\)"):
        run_index(mini, tree, tmp_path, lvis=write_categories(tmp_path / "a.json", CATEGORIES), strict=True)
    without = [category for category in CATEGORIES if category["id"] != 3]
    run_index(mini, tree, tmp_path, lvis=write_categories(tmp_path / "b.json", without), strict=True)


def test_notes_say_what_is_missing_and_what_winter_21_lacks(mini: Path, tree: Path, tmp_path: Path) -> None:
    _, summary = run_index(mini, tree, tmp_path)
    text = "\n".join(summary.notes)
    assert "have none in any release" in text
    assert "974 classes are in ImageNet-21K, but not here: aerosol.n.02" in text
    assert "Winter 2021 lacks" in text
    assert "pipe_smoker.n.01 (for bowl.n.08)" in text
    (tree / "train" / "n10435169").mkdir()
    _, summary = run_index(mini, tree, tmp_path, overwrite=True)
    assert "Winter 2021" not in "\n".join(summary.notes)


def test_a_broken_class_tar_is_reported_and_the_rest_goes_on(mini: Path, tree: Path, tmp_path: Path) -> None:
    shutil.rmtree(tree / "train" / "n02084071")
    (tree / "train" / "n02084071.tar").write_bytes(b"cut")
    made, summary = run_index(mini, tree, tmp_path)
    assert made["images"]
    assert drop(summary, "file", "class folder or tar that cannot be used")[0] == 1
    with pytest.raises(ArchiveError, match=r"n02084071\.tar"):
        run_index(mini, tree, tmp_path, overwrite=True, strict=True)


def test_inputs_and_outputs_are_checked_first(mini: Path, tree: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        run_index(mini, tmp_path / "none", tmp_path)
    with pytest.raises(InputError, match="lvis"):
        run_index(mini, tree, tmp_path, lvis=tmp_path / "no_lvis.json")
    bad = write_categories(tmp_path / "bad.json", [{"name": "cat", "synset": "cat.n.01"}])
    with pytest.raises(InputError, match=r"category number 1 .* has no id: it needs a whole number"):
        run_index(mini, tree, tmp_path, lvis=bad)
    run_index(mini, tree, tmp_path)
    with pytest.raises(OutputExistsError):
        run_index(mini, tree, tmp_path)


@dataclass(frozen=True)
class Killed:
    """Does some shards and is then stopped, as by Ctrl-C."""

    after: int
    workers: int = 1

    def execute(self, job: Job, shards: Sequence[Shard], report: Callable[[Outcome], None]) -> None:
        InProcessExecutor().execute(job, shards[: self.after], report)
        raise KeyboardInterrupt


@pytest.fixture
def no_head_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_step, "HEAD_START_SECONDS", 0.0)


@pytest.mark.usefixtures("no_head_start")
class TestGoingOn:
    """An index that was stopped, and what is in its folder."""

    def test_it_goes_on_and_leaves_no_trace(self, mini: Path, mini_expected: Path, tmp_path: Path) -> None:
        root = mini / "imagenet" / "imagenet21k_P"
        with pytest.raises(KeyboardInterrupt):
            run_index(mini, root, tmp_path, Killed(3))
        run = tmp_path / "made" / "index.json.run"
        assert len(list((run / "shards").iterdir())) == 3
        before = {path.name: path.stat().st_ino for path in (run / "shards").iterdir()}
        with pytest.raises(KeyboardInterrupt):
            run_index(mini, root, tmp_path, Killed(2))
        after = {path.name: path.stat().st_ino for path in (run / "shards").iterdir()}
        assert len(after) == 5
        assert before.items() <= after.items()
        run_index(mini, root, tmp_path)
        assert (tmp_path / "made" / "index.json").read_bytes() == expected(mini_expected, "imagenet_lvis_image_info")
        assert not run.exists()

    @pytest.mark.parametrize(
        ("change", "told"), [("strict", "option strict"), ("categories", "categories"), ("tree", "classes")]
    )
    def test_other_options_or_another_tree_are_refused_unless_overwritten(
        self, mini: Path, tree: Path, tmp_path: Path, change: str, told: str
    ) -> None:
        with pytest.raises(KeyboardInterrupt):
            run_index(mini, tree, tmp_path, Killed(3))
        options: dict[str, Any] = {}
        if change == "strict":
            options["strict"] = True
        elif change == "categories":
            options["lvis"] = write_categories(tmp_path / "lvis.json", CATEGORIES)
        else:
            dogs = tree / "train" / "n02084071"
            sorted(dogs.iterdir())[0].rename(dogs / "n02084071_99.JPEG")
        with pytest.raises(PlanMismatchError, match=told):
            run_index(mini, tree, tmp_path, **options)
        made, _ = run_index(mini, tree, tmp_path, overwrite=True, **options)
        assert made["images"]
        if change == "tree":
            assert "train/n02084071/n02084071_99.JPEG" in [image["file_name"] for image in made["images"]]

    def test_replacing_an_index_goes_on_too_and_the_old_one_stays_until_then(
        self, mini: Path, mini_expected: Path, tmp_path: Path
    ) -> None:
        root, out = mini / "imagenet" / "imagenet21k_P", tmp_path / "made" / "index.json"
        out.parent.mkdir()
        out.write_text("old")
        with pytest.raises(KeyboardInterrupt):
            run_index(mini, root, tmp_path, Killed(3), overwrite=True)
        assert out.read_text() == "old"
        first = out.with_name("index.json.run") / "shards" / "000000.json"
        first.write_bytes(first.read_bytes().replace(b"train/", b"TRAIN/"))  # not read again: it is done
        run_index(mini, root, tmp_path, overwrite=True)
        assert out.read_bytes().replace(b"TRAIN/", b"train/") == expected(mini_expected, "imagenet_lvis_image_info")
        assert b"TRAIN/" in out.read_bytes()

    def test_two_parts_equal_one_run(self, mini: Path, mini_expected: Path, tmp_path: Path) -> None:
        out = tmp_path / "made" / "index.json"
        options = IndexOptions(
            imagenet=mini / "imagenet" / "imagenet21k_P", lvis=mini / "lvis/lvis_v1_val.json", out=out
        )
        first = index(options, InProcessExecutor(), shards=ShardSelection(2, 2))
        assert "still to be done, by other parts" in first.notes[0]
        assert not out.exists()
        last = index(options, InProcessExecutor(), shards=ShardSelection(1, 2))
        assert last.counts["images"] == 342
        assert out.read_bytes() == expected(mini_expected, "imagenet_lvis_image_info")
        with pytest.raises(OutputExistsError):
            index(options, InProcessExecutor(), shards=ShardSelection(1, 2))
        with pytest.raises(InputError, match="exclude each other"):
            index(replace(options, overwrite=True), InProcessExecutor(), shards=ShardSelection(1, 2))

    def test_a_part_that_comes_late_finds_the_index_put_together(self, mini: Path, tmp_path: Path) -> None:
        """Another process does the same shards, is faster, and takes the folder away."""
        out = tmp_path / "made" / "index.json"
        options = IndexOptions(
            imagenet=mini / "imagenet" / "imagenet21k_P", lvis=mini / "lvis/lvis_v1_val.json", out=out
        )

        class Overtaken:
            workers = 1

            def execute(self, job: Job, shards: Sequence[Shard], report: Callable[[Outcome], None]) -> None:
                InProcessExecutor().execute(job, shards, report)
                index(options, InProcessExecutor())
                (job.folder / "ledger").mkdir(parents=True)  # what a worker of this process may still write
                (job.folder / "ledger" / "000001.json").write_text("{}")

        summary = index(options, Overtaken(), shards=ShardSelection(1, 2))
        assert summary.notes == ("another process has put the index together",)
        assert [path.name for path in out.parent.iterdir()] == ["index.json"]

    def test_a_shard_that_fails_fails_the_run_and_is_tried_again(
        self, mini: Path, mini_expected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = mini / "imagenet" / "imagenet21k_P"
        real = ImageNet21k.read_size

        def read_size(self: ImageNet21k, name: str) -> tuple[int, int]:
            if "n02084071" in name:
                raise OSError(5, "Input/output error")
            return real(self, name)

        with monkeypatch.context() as patch:
            patch.setattr(ImageNet21k, "read_size", read_size)
            patch.setattr(worker, "STORAGE_PAUSE_SECONDS", 0.01)
            with pytest.raises(WorkError, match="failed 3 times and was given up"):
                run_index(mini, root, tmp_path)
        run_index(mini, root, tmp_path)
        assert (tmp_path / "made" / "index.json").read_bytes() == expected(mini_expected, "imagenet_lvis_image_info")


def test_the_original_command_line_from_another_folder(mini: Path, mini_expected: Path, tmp_path: Path) -> None:
    (tmp_path / "datasets").symlink_to(mini)
    arguments = ["--imagenet-path", "datasets/imagenet/imagenet21k_P", "--out-path", "out/index.json", "--workers", "2"]
    result = subprocess.run([sys.executable, SCRIPT, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "index.json").read_bytes() == expected(mini_expected, "imagenet_lvis_image_info")
    again = subprocess.run([sys.executable, SCRIPT, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 2
    assert "already exists" in again.stderr
