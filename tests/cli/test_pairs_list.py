"""`pairs list` names the runs of a folder and says how each stands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ovforge.cli.common import run_app
from ovforge.cli.main import app
from ovforge.options import layout


@pytest.fixture
def folder(sample_folder: Path, tmp_path: Path) -> Path:
    """Runs in each state: begun, made, merged, annotated, and one whose plan is spoilt."""
    folder = tmp_path / "runs"
    images, annotations = sample_folder / layout.TRACKING_IMAGES, sample_folder / layout.TRACKING_LVIS_TRAIN
    inputs = ["--images", str(images), "--ann", str(annotations)]
    make = ["pairs", "generate", "made", "--engine", "warp", "--folder", str(folder), "--workers", "1", "--limit", "16"]
    assert run_app(app, [*make, *inputs, "--shard-size", "8", "-q"]) == 0
    begun = [*make[:2], "begun", *make[3:]]
    assert run_app(app, [*begun, *inputs, "--shard-size", "8", "--shards", "1/2", "-q"]) == 0
    for name in ("merged", "annotated", "spoilt"):
        shutil.copytree(folder / "made", folder / name)
    (folder / "spoilt" / "manifest.json").write_text("{")
    for name in ("merged", "annotated"):
        assert run_app(app, ["pairs", "merge", name, "--folder", str(folder), "-q"]) == 0
    assert run_app(app, ["pairs", "annotate", "annotated", "--folder", str(folder), "-q"]) == 0
    return folder


def test_every_run_with_its_state(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run_app(app, ["pairs", "list", "--folder", str(folder)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["annotated"] == "16 images by warp: merged and annotated"
    assert lines["begun"] == "16 images by warp: 1 of 2 shards done, nobody at work"
    assert lines["made"] == "16 images by warp: made, not merged"
    assert lines["merged"] == "16 images by warp: merged"
    assert "manifest" in lines["spoilt"]
    assert run_app(app, ["pairs", "list", "--folder", str(folder), "--json"]) == 0
    assert [run["name"] for run in json.loads(capsys.readouterr().out)] == sorted(lines)


def test_no_runs_and_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, ["pairs", "list", "--folder", str(tmp_path)]) == 0
    assert "no run in" in capsys.readouterr().out
    assert run_app(app, ["pairs", "list", "--folder", str(tmp_path / "nowhere")]) == 2
    assert "--folder" in capsys.readouterr().err
