"""`ovforge lvis` and the original command lines: exit codes, what is on stdout and stderr, where files go."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ovforge.cli.common import run_app
from ovforge.cli.lvis import app

REPOSITORY = Path(__file__).resolve().parents[2]


def tool(name: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script of `tools/` as the originals' documents print it, from the root of the user's data."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "tools" / name), *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def root(mini: Path, tmp_path: Path) -> Path:
    """The root of a user's data, in both layouts, without the images."""
    lvis, coco = (mini / "lvis/lvis_v1_train.json").read_bytes(), mini / "coco/annotations/instances_train2017.json"
    for name, data in {
        "datasets/lvis/lvis_v1_train.json": lvis,
        "data/lvis/annotations/lvis_v1_train.json": lvis,
        "data/coco/annotations/instances_train2017.json": coco.read_bytes(),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_the_original_command_lines_write_the_originals_files(root: Path, mini_expected: Path) -> None:
    ran = tool("remove_lvis_rare.py", "--ann", "datasets/lvis/lvis_v1_train.json", folder=root)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "lvis_v1_train_norare.json" in ran.stdout
    ran = tool("get_lvis_cat_info.py", "--ann", "datasets/lvis/lvis_v1_train.json", "--add_freq",
               "--r_thresh", "2", "--c_thresh", "4", folder=root)  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    ran = tool("convert_datasets/merge_lvisv1_coco.py", folder=root)
    assert (ran.returncode, ran.stderr) == (0, "")
    ran = tool("convert_datasets/create_base_lvis.py", folder=root)
    assert (ran.returncode, ran.stderr) == (0, "")

    def expected(name: str) -> object:
        return json.loads(gzip.decompress((mini_expected / name).read_bytes()))

    written = json.loads((root / "datasets/lvis/lvis_v1_train_norare.json").read_bytes())
    assert written == expected("remove_lvis_rare/lvis_v1_train_norare.json.gz")
    written = json.loads((root / "datasets/lvis/lvis_v1_train_cat_info.json").read_bytes())
    assert written == expected("get_lvis_cat_info/lvis_v1_train_cat_info.add_freq_r2_c4.json.gz")
    annotations = root / "data/lvis/annotations"
    assert sorted(path.name for path in annotations.iterdir()) == [
        "lvis_classes_v1.txt", "lvis_classes_v1_base.txt", "lvis_v1_train+coco_mask_v1.json",
        "lvis_v1_train+coco_mask_v1_base.json", "lvis_v1_train.json",
    ]  # fmt: skip


def test_a_second_run_is_refused_and_overwrite_allows_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    assert run_app(app, ["remove-rare"]) == 0
    assert run_app(app, ["remove-rare"]) == 2
    assert capsys.readouterr().err == (
        "error: datasets/lvis/lvis_v1_train_norare.json: already exists\n"
        "  --overwrite replaces it, or --out PATH writes elsewhere\n"
    )
    assert run_app(app, ["remove-rare", "--overwrite"]) == 0


def test_the_summary_as_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = root / "datasets/lvis/lvis_v1_train.json", root / "deep/er/out.json"
    assert run_app(app, ["remove-rare", "--ann", str(source), "--out", str(out), "--exclude", "rc", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["outputs"] == {"annotations": str(out)}
    assert summary["counts"]["annotations out"] == 228
    assert [(drop["reason"], drop["count"]) for drop in summary["drops"]] == [
        ("its class has frequency c", 20), ("its class has frequency r", 19),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["remove-rare", "category-info", "merge-coco", "base-classes"])
def test_a_missing_input_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_app(app, [name]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: dat") and "annotation file not found" in output.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["remove-rare", "--exclude", "x"], "not a frequency"),
        (["merge-coco", "--variant", "outline"], "--variant outline: must be mask or box"),
        (["merge-coco", "--iou-threshold", "7"], "must be above 0 and at most 1"),
        (["base-classes", "--mode", "renumber"], "--mode renumber: must be compact or keep-ids"),
        (["category-info", "--r_thresh", "many"], "should be a valid integer"),
        (["category-info", "--anno", "x"], "No such option"),
        (["count"], "No such command"),
    ],
)
def test_bad_usage_exits_2_with_one_line_that_helps(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(app, arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert len(error.splitlines()) <= 2


@pytest.mark.parametrize("name", ["remove-rare", "category-info", "merge-coco", "base-classes"])
def test_help_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, [name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"ovforge lvis {name}" in text
    assert "--overwrite" in text and "--json" in text


def test_a_class_list_that_was_downloaded_is_never_said_to_be_replaced(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    source = ["base-classes", "--ann", "datasets/lvis/lvis_v1_train.json", "--out", "base.json"]
    (root / "lvis_classes_v1.txt").write_text("downloaded\n")
    assert run_app(app, source) == 2
    told = capsys.readouterr().err
    assert "--out FILE writes all files to another folder" in told
    assert "--overwrite" not in told
    (root / "lvis_classes_v1.txt").unlink()
    (root / "lvis_classes_v1_base.txt").write_text("somebody's\n")
    assert run_app(app, source) == 2
    told = capsys.readouterr().err
    assert "--class-names FILE writes the class list elsewhere" in told
    assert "--overwrite" not in told


def test_all_that_was_skipped_can_be_had_in_full(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    assert run_app(app, ["remove-rare", "--json", "--skipped", "skipped.csv"]) == 0
    counted = sum(drop["count"] for drop in json.loads(capsys.readouterr().out)["drops"])
    lines = Path("skipped.csv").read_text().splitlines()
    assert lines[0] == "outcome,kind,reason,item,place"
    assert counted == len(lines) - 1 > 0
    before = json.loads(Path("datasets/lvis/lvis_v1_train.json").read_text())["annotations"]
    after = json.loads(Path("datasets/lvis/lvis_v1_train_norare.json").read_text())["annotations"]
    gone = {annotation["id"] for annotation in before} - {annotation["id"] for annotation in after}
    assert {int(line.split(",")[3]) for line in lines[1:]} == gone
