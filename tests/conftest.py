"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
