"""What needs a GPU is skipped where there is none."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="package", autouse=True)
def gpu() -> None:
    """Skips everything here without a GPU that torch can use."""
    torch = pytest.importorskip("torch", reason="needs the extra 'diffusion'")
    pytest.importorskip("diffusers", reason="needs the extra 'diffusion'")
    if not torch.cuda.is_available():
        pytest.skip("no GPU that torch can use (CUDA)")
