"""The way from still images to tracks with the engine `diffusion`, on the tiny model, by the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ovforge.cli.common import run_app
from ovforge.cli.main import app
from ovforge.image_io.codec import decode_rgb
from ovforge.image_io.hdf5 import ImageReader
from ovforge.records.pairs import PairRecord
from ovforge.runs.executors.in_process import InProcessExecutor

TOOLS = Path(__file__).resolve().parents[2] / "tools"
RUNS = Path("data/tao/ovtrack")
# On the CPU even a tiny U-Net needs a second a call at 768x512: its attention is as wide as the image.
QUICK = ["--steps", "4", "--scheduler", "ddim", "--working-size", "128x128", "--cpu-threads", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def root(sample_folder: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's folder: the sample data and the tiny model in their default places, and the run `demo`.

    Made once: a worker takes seconds to load three libraries.
    """
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("diffusion") / "root"
        shutil.copytree(sample_folder, folder, symlinks=True)
        patch.chdir(folder)
        Path("saved_models").mkdir()
        shutil.copytree(tiny_model, "saved_models/stable-diffusion-v1-4")
        assert run_app(app, ["lvis", "merge-coco"]) == 0
        assert run_app(app, ["lvis", "base-classes"]) == 0
        generate("demo", "--batch-size", 2, "--workers", 1)
        yield folder


def pairs(*arguments: object, code: int = 0) -> None:
    assert run_app(app, ["pairs", *(str(argument) for argument in arguments)]) == code


def generate(name: str, *options: object, code: int = 0) -> None:
    pairs("generate", name, "--engine", "diffusion", "--quiet", "--limit", 4, *QUICK, *options, code=code)


def records(name: str) -> list[PairRecord]:
    text = (RUNS / name / f"{name}_total_p_1_split_0.pairs.json").read_bytes()
    return msgspec.convert(json.loads(text)["pairs"], list[PairRecord])


def repainted() -> list[PairRecord]:
    return [record for record in records("demo") if record.variants[0].engine]


def test_every_pair_says_how_it_was_made(root: Path) -> None:
    made = repainted()
    assert len(made) >= 2
    for record in made:
        assert record.variants[0].engine == {"engine": "diffusion", "batch_size": 2, "attempt": 0}
        assert record.variants[0].caption
    described = json.loads((RUNS / "demo/manifest.json").read_text())["plan"]["options"]["engine"]
    assert described["model"] == str(Path("saved_models/stable-diffusion-v1-4").absolute())
    assert described["unet_calls"] == 4 and len(described["weights"]) == 3


def test_merging_and_tracks(root: Path) -> None:
    pairs("merge", "demo", "--quiet")
    pairs("annotate", "demo", "--quiet")
    tracks = json.loads((RUNS / "annotations/demo.json").read_text())
    assert {view["file_name"] for view in tracks["images"]} >= {r.variants[0].file_name for r in repainted()}
    with ImageReader(RUNS / "demo.h5") as reader:
        for record in repainted():
            original, view = (reader.read(name) for name in (record.file_name, record.variants[0].file_name))
            assert decode_rgb(view, "second view").shape == decode_rgb(original, "original").shape


def test_one_pair_again(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = repainted()[0]
    pairs("replay", "demo", one.image_id, "--json")
    shown = json.loads(capsys.readouterr().out)
    assert shown["counts"] == {"second views": 1, "equal to the run's, byte for byte": 1}
    view = (RUNS / "demo/replay" / one.variants[0].file_name).read_bytes()
    with ImageReader(RUNS / "demo/demo_total_p_1_split_0.h5") as reader:
        assert view == reader.read(one.variants[0].file_name)
    pairs("replay", "demo", one.file_name, code=2)  # is there already
    pairs("replay", "demo", one.file_name, "--overwrite")
    pairs("replay", "demo", "nothing.jpg", code=2)
    pairs("replay", "nothing", one.file_name, code=2)


def test_a_pair_again_with_the_model_moved_or_changed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("saved_models/stable-diffusion-v1-4", "elsewhere")
    one = repainted()[0].image_id
    pairs("replay", "demo", one, "--out", "look", "--model", "nowhere", code=2)
    pairs("replay", "demo", one, "--out", "look", "--model", "elsewhere")
    weights = Path("elsewhere/vae/diffusion_pytorch_model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\x80?")
    capsys.readouterr()
    pairs("replay", "demo", one, "--out", "other", "--model", "elsewhere", code=2)
    assert "engine's weights" in capsys.readouterr().err
    pairs("replay", "demo", one, "--out", "other", "--model", "elsewhere", "--anyway")


def test_workers_and_shards_change_no_pixel(root: Path) -> None:
    generate("two", "--batch-size", 2, "--workers", 2, "--shard-size", 2)
    one, two = (ImageReader(RUNS / name / f"{name}_total_p_1_split_0.h5") for name in ("demo", "two"))
    with one, two:
        assert one.names() == two.names()
        assert all(one.read(name) == two.read(name) for name in one.names())
    assert records("demo") == records("two")


def test_another_batch_size_is_another_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate("demo", "--batch-size", 1, code=2)
    assert "`--batch-size`: 2 in the run, 1 now" in capsys.readouterr().err


def test_refusals_before_any_work(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate("new", "--model", "nothing", code=2)
    assert "nothing: model folder not found" in capsys.readouterr().err
    generate("new", "--working-size", "wide", code=2)
    generate("new", "--batch-size", "some", code=2)
    generate("new", "--strength", "2", code=2)
    pairs("generate", "new", "--quiet", "--steps", "20", code=2)
    assert "--steps belongs to --engine diffusion" in capsys.readouterr().err
    assert not (RUNS / "new").exists()


def test_the_originals_command_line_takes_this_engine_where_the_model_is(root: Path) -> None:
    command = ["bash", TOOLS / "run_ovtrack_generation.sh", "1", "by_script", "--limit", "2", *QUICK]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable})
    assert result.returncode == 0, result.stderr
    manifest = json.loads((RUNS / "by_script/manifest.json").read_text())
    assert manifest["plan"]["options"]["engine"]["model"] == str(Path("saved_models/stable-diffusion-v1-4").absolute())
    assert (RUNS / "by_script/by_script_total_p_1_split_0.h5").exists()


def test_only_the_holes_are_repainted_from_check_to_replay(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # In this process: another one takes seconds to load three libraries.
    monkeypatch.setattr("ovforge.cli.pairs.executor_of", lambda *_, **__: InProcessExecutor())
    options = ("holes", "--engine", "diffusion", "--limit", 4, *QUICK, "--repaint", "holes", "--batch-size", 2)
    options = (*options, "--seed", 3, "--variants", 2)
    pairs("check", *options, "--quiet")
    capsys.readouterr()
    pairs("generate", *options, "--json")
    counts = json.loads(capsys.readouterr().out)["counts"]
    views = [variant for record in records("holes") for variant in record.variants if variant.annotations]
    repainted = [variant for variant in views if variant.engine]
    assert 0 < len(repainted) == counts["second views with repainted holes"] < len(views)
    plan = json.loads((RUNS / "holes/manifest.json").read_text())["plan"]["options"]
    assert (plan["repaint"], plan["labels"], plan["outside"]) == ("holes", "all", "completed")
    assert (plan["engine"]["repaint"], plan["engine"]["strength"]) == ("holes", 1.0)
    pairs("generate", "holes", "--quiet")  # resumed with nothing but its name
    generate("holes", "--repaint", "background", code=2)
    assert "in the run" in capsys.readouterr().err
    one = next(record for record in records("holes") if any(variant.engine for variant in record.variants))
    pairs("replay", "holes", one.image_id, "--json")
    assert json.loads(capsys.readouterr().out)["counts"]["equal to the run's, byte for byte"] == 2
