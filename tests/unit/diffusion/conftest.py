"""Fixtures of the diffusion engine's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'diffusion'")
pytest.importorskip("diffusers", reason="needs the extra 'diffusion'")

from ovforge.options.diffusion import Precision  # noqa: E402
from ovforge.synthesis.diffusion.model import StableDiffusion  # noqa: E402
from ovforge.synthesis.repaint import RepaintJob  # noqa: E402


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors are computed faster by one thread than by many."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model(tiny_model: Path) -> StableDiffusion:
    """The tiny model, loaded."""
    return StableDiffusion(tiny_model, device=torch.device("cpu"), precision=Precision.FP32)


@pytest.fixture
def make_job() -> Callable[..., RepaintJob]:
    """`make_job(image_id, height=64, width=64, prompt=...)`: a noisy image with a kept square."""

    def make(image_id: int, height: int = 64, width: int = 64, prompt: str = "a photo of a cat") -> RepaintJob:
        rng = np.random.default_rng(image_id)
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        keep = np.zeros((height, width), dtype=bool)
        keep[8:40, 8:40] = True
        return RepaintJob(image, keep, (width, height), prompt, image_id, variant=0, seed=3)

    return make
