"""The original's shell script: from any folder, with and without a model."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import h5py
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "run_ovtrack_generation.sh"
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    import sys

    environment = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_says_how_it_is_used(tmp_path: Path) -> None:
    done = call(tmp_path, "8")
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_without_the_model_it_says_what_is_missing_and_what_runs_without(tmp_path: Path) -> None:
    done = call(tmp_path, "8", "my_pairs")
    assert done.returncode == 2
    assert "saved_models/stable-diffusion-v1-4/model_index.json: not found" in done.stderr
    assert "8 my_pairs --engine fill" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ((), "--engine diffusion --outside original"),
        (("--scheduler", "ovtrack"), "--engine diffusion --outside original --scheduler ovtrack"),
        (("--engine", "diffusion"), "--outside original --engine diffusion"),
        (("--engine=diffusion", "--outside", "completed"), "--engine=diffusion --outside completed"),
        (("--outside=completed",), "--engine diffusion --outside=completed"),
        (("--engine", "fill"), "--engine fill"),
        (("--engine=warp",), "--engine=warp"),
    ],
)
def test_repaints_over_the_original_as_ovtrack_does(tmp_path: Path, given: tuple[str, ...], passed: str) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", str(SCRIPT), "8", "my_pairs", "--model", "m", *given],
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(python)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    command = done.stdout.splitlines()[-1].replace("--model m ", "").replace(" --model m", "")
    assert command.endswith(f"pairs generate my_pairs --partitions 8 --workers 8 {passed}")


def test_makes_one_partition_per_gpu_and_hands_other_options_on(mini: Path, tmp_path: Path) -> None:
    lvis = tmp_path / "data/lvis"
    (lvis / "annotations").mkdir(parents=True)
    (lvis / "train2017").symlink_to(mini / "coco/train2017")
    shutil.copy(mini / "lvis/lvis_v1_train.json", lvis / "annotations/lvis_v1_train+coco_mask_v1_base.json")
    done = call(tmp_path, "2", "my_pairs", "--engine", "warp", "--limit", "9", "--variants", "2")
    assert done.returncode == 0, done.stderr
    sizes = []
    for index in range(2):
        with h5py.File(tmp_path / f"data/tao/ovtrack/my_pairs/my_pairs_total_p_2_split_{index}.h5") as file:
            sizes.append(len(file))
    assert sizes == [4 * 3, 5 * 3]
