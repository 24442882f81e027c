"""Fixtures that every test may use."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# A shell that starts the tests in the background has them ignore Ctrl-C, and every process that they start: some of
# the tests are about Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = Path(os.environ.get("OVFORGE_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def _data_folder(name: str) -> Path:
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"{name}: the shared test data is not here (set OVFORGE_TEST_DATA to the folder that holds it)")
    return folder


@pytest.fixture(scope="session")
def mini() -> Path:
    """Real COCO photographs and LVIS annotations in the exact layout; read only."""
    return _data_folder("mini")


@pytest.fixture(scope="session")
def mini_expected() -> Path:
    """What the original scripts give on `mini`; read only."""
    return _data_folder("mini_expected")


@pytest.fixture(scope="session")
def diffusion_data() -> Path:
    """A tiny Stable Diffusion builder and the latents of the original sampling loop; read only."""
    return _data_folder("diffusion")


@pytest.fixture(scope="session")
def mini_pairs(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two merged runs over `mini`, `mini` with one second view each, `mini2` with two; read only.

    The annotation file is a copy in it, `annotations.json`; nothing is annotated yet.
    """
    from ovforge.options.pairs import GenerateOptions
    from ovforge.options.tracks import MergeOptions
    from ovforge.runs.executors.in_process import InProcessExecutor
    from ovforge.synthesis.generate import generate_pairs
    from ovforge.synthesis.merge import merge_pairs
    from ovforge.synthesis.warp import WarpEngine

    folder = tmp_path_factory.mktemp("pairs")
    annotations = folder / "annotations.json"
    annotations.write_bytes((mini / "lvis/lvis_v1_train.json").read_bytes())
    for name, variants in (("mini", 1), ("mini2", 2)):
        options = GenerateOptions(
            name,
            out=folder,
            images=mini / "coco/train2017",
            annotations=annotations,
            captions=mini / "coco/annotations/captions_train2017.json",
            variants=variants,
        )
        generate_pairs(options, WarpEngine(), InProcessExecutor())
        merge_pairs(MergeOptions(name, folder))
    return folder


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `ovforge sample-data` writes; read only."""
    pytest.importorskip("skimage", reason="the sample data's photographs come with scikit-image (extra 'sample')")
    from ovforge.options.sample_data import SampleDataOptions
    from ovforge.sample_data import sample_data

    folder = tmp_path_factory.mktemp("sample") / "root"
    sample_data(SampleDataOptions(folder=folder))
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Stable Diffusion of random weights, as diffusers lays it out; read only."""
    return _build_tiny_model(tmp_path_factory.mktemp("tiny_model"))


@pytest.fixture(scope="session")
def build_tiny_model() -> Callable[..., Path]:
    """`build(folder, seed=0, in_channels=4, prediction_type="epsilon") -> folder`: other tiny models."""
    return _build_tiny_model


@pytest.fixture(scope="session")
def tiny_family(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`tiny_family(kind) -> folder`: the tiny model of one of `KINDS` in tests/tiny_families.py; read only."""
    made: dict[str, Path] = {}

    def build(kind: str) -> Path:
        if kind not in made:
            made[kind] = _builder("tiny_families").build_tiny_family(tmp_path_factory.mktemp(kind), kind)
        return made[kind]

    return build


@pytest.fixture(scope="session")
def tiny_family_builder() -> Callable[..., Path]:
    """`build(folder, kind, **changes) -> folder`: other tiny models of a family."""
    return _builder("tiny_families").build_tiny_family


def _build_tiny_model(folder: Path, **options: Any) -> Path:
    built: Path = _builder("tiny_stable_diffusion").build_tiny_stable_diffusion(folder, **options)
    return built


def _builder(name: str) -> Any:
    pytest.importorskip("diffusers", reason="needs the extra 'diffusion'")
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
