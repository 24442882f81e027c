"""What is said where something is not as it should be: what, where, and the next command, whole."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from ovforge.cli.common import run_app
from ovforge.cli.main import app
from ovforge.records.reporting import Drop
from ovforge.synthesis.generate import _small_text
from ovforge.synthesis.pairs import PairSettings


@pytest.fixture
def here(sample_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return sample_folder


def generate(here: Path, *more: str) -> list[str]:
    inputs = [
        "--images",
        str(here / "data/lvis/train2017"),
        "--ann",
        str(here / "data/lvis/annotations/lvis_v1_train.json"),
    ]
    return ["pairs", "generate", "my shop", *inputs, "--engine", "warp", "--limit", "1", "--workers", "1", *more]


@pytest.mark.parametrize("command", ["status", "merge", "annotate", "sheet", "view", "replay", "export", "score"])
def test_every_command_says_that_there_is_no_such_run(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/manifest.json").touch()
    more = {"replay": ["1"], "export": ["--to", "tao"]}.get(command, [])
    assert run_app(app, ["pairs", command, "nosuch", *more, "--folder", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"nosuch: there is no run of this name in {tmp_path}; the runs there are other" in said
    assert "--folder DIR" in said


def test_next_commands_are_quoted_and_whole(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--folder", "my runs"]
    assert run_app(app, generate(here, "--out", "my runs")) == 0
    assert capsys.readouterr().out.endswith("next: ovforge pairs merge 'my shop' --folder 'my runs'\n")
    assert run_app(app, ["pairs", "export", "my shop", "--to", "tao", *folder]) == 2
    said = capsys.readouterr().err
    assert "`ovforge pairs merge 'my shop' --folder 'my runs'`, then `ovforge pairs annotate 'my shop' --folder" in said
    assert run_app(app, ["pairs", "merge", "my shop", *folder]) == 0
    assert capsys.readouterr().out.endswith("next: ovforge pairs annotate 'my shop' --folder 'my runs'\n")
    assert run_app(app, ["pairs", "sheet", "my shop", *folder]) == 2
    assert "  `ovforge pairs annotate 'my shop' --folder 'my runs'` writes it\n" in capsys.readouterr().err
    assert run_app(app, ["pairs", "annotate", "my shop", *folder]) == 0
    assert capsys.readouterr().out.endswith("next: ovforge pairs view 'my shop' --folder 'my runs'\n")


def test_where_no_image_can_be_used_the_reason_is_given(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File("strings.h5", "w") as file:
        file.create_dataset("000000900001.jpg", data="abc", dtype=h5py.string_dtype())
    assert run_app(app, generate(here, "--images", "strings.h5")) == 2
    said = capsys.readouterr().err
    assert "there is no image that can be used" in said
    assert "  1 image is not stored as bytes (000000900001.jpg)\n" in said


def test_a_default_annotation_file_that_is_missing_is_said_with_what_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_app(app, ["pairs", "generate", "shop", "--images", ".", "--no-captions"]) == 2
    said = capsys.readouterr().err
    assert "lvis_v1_train+coco_mask_v1_base.json: annotation file not found\n" in said
    assert "  give your own with --annotations FILE, or `ovforge prepare` makes this one from LVIS and COCO\n" in said
    assert not Path("data").exists()


def test_small_objects_are_told_with_their_share() -> None:
    def told(reason: str, variants: int = 1) -> str:
        drops = (Drop("annotation", reason, 311), Drop("annotation", "has no box", 5))
        settings = PairSettings(variants=variants, min_area=4096.0)
        return _small_text(settings, drops, 185 * variants)

    expected = (
        "311 of 496 objects (63%) have an area of 4,096 square pixels or less: they are not kept and not labelled; "
        "--min-area=0 keeps all"
    )
    assert told("area not above 4096 square pixels: removed") == expected
    assert told("area not above 4096 square pixels: removed", variants=2) == expected
    assert told("is a crowd region") == ""


def test_a_list_of_exemplars_that_is_missing_is_made_by_the_command_that_is_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(app, ["exemplars", "crop"]) == 2
    assert "`ovforge exemplars sample -k 30` makes them" in capsys.readouterr().err
    assert run_app(app, ["exemplars", "crop", "--exemplars", "my list.json"]) == 2
    assert "`ovforge exemplars sample --out 'my list.json'` makes them" in capsys.readouterr().err


def test_the_program_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, []) == 2
    said = capsys.readouterr()
    assert said.out.startswith("Usage: ")
    assert said.err == ""


def test_the_help_of_generate_is_in_groups_and_breaks_no_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, ["pairs", "generate", "--help"]) == 0
    shown = capsys.readouterr().out
    heads = [line for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert heads == [
        "Arguments:",
        "Inputs:",
        "Second views:",
        "Engine:",
        "Engine diffusion:",
        "Run:",
        "What is printed:",
    ]
    assert "data/lvis/annotations/lvis_v1_train+coco_mask_v1_base.json" in shown
