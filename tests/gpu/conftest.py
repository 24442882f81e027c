"""What needs a GPU is skipped where there is none; what takes longest, compiling, comes last."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A GPU's time may be over before all tests are: those that compile are put behind the others."""
    items.sort(key=lambda item: "tests/gpu" in item.path.as_posix() and "compile" in item.name)


@pytest.fixture(scope="package", autouse=True)
def gpu() -> None:
    """Skips everything here without a GPU that torch can use."""
    torch = pytest.importorskip("torch", reason="needs the extra 'diffusion'")
    pytest.importorskip("diffusers", reason="needs the extra 'diffusion'")
    if not torch.cuda.is_available():
        pytest.skip("no GPU that torch can use (CUDA)")
