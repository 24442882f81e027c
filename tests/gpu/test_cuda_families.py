"""Every family's tiny model on a GPU, in the number format that its weights are published in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'diffusion'")
pytest.importorskip("diffusers", reason="needs the extra 'diffusion'")

from ovforge.options.diffusion import DiffusionOptions, Foreground  # noqa: E402
from ovforge.synthesis.diffusion import DiffusionEngine  # noqa: E402
from ovforge.synthesis.diffusion.latents import FEATHER  # noqa: E402
from ovforge.synthesis.repaint import RepaintJob  # noqa: E402

KINDS = (
    "stable-diffusion-xl",
    "stable-diffusion-xl-inpainting",
    "stable-diffusion-3",
    "flux-dev",
    "flux-schnell",
    "flux-fill",
    "flux-kontext",
    "flux2-klein",
    "qwen-image",
    "z-image",
)


@pytest.fixture(params=KINDS)
def open_kind(request: pytest.FixtureRequest, tiny_family: Callable[[str], Path]) -> Iterator[Callable[..., Any]]:
    """`open_kind(**options)`: the engine on the tiny model of one family, on the GPU."""
    opened = []

    def open_(**options: object) -> Any:
        defaults = {"steps": 3, "width": 128, "height": 128, "device": "cuda"}
        engine = DiffusionEngine(DiffusionOptions(model=tiny_family(request.param), **{**defaults, **options}))
        opened.append(engine.open(None))
        return opened[-1]

    yield open_
    for repainter in opened:
        repainter.close()


def make_jobs(count: int) -> list[RepaintJob]:
    jobs = []
    for number in range(count):
        image = np.random.default_rng(number).integers(0, 256, (128, 128, 3), dtype=np.uint8)
        keep = np.zeros((128, 128), np.bool_)
        keep[16:96, 16:96] = True
        prompt = ("a photo of a cat", "a dog")[number % 2]
        jobs.append(RepaintJob(image, keep, (128, 128), prompt, number, variant=0, seed=3))
    return jobs


def test_neighbours_change_no_bit_and_kept_pixels_come_through(open_kind: Callable[..., Any]) -> None:
    engine, jobs = open_kind(foreground=Foreground.EXACT), make_jobs(3)
    together = engine.repaint(jobs)
    backwards = engine.repaint(jobs[::-1])[::-1]
    assert not any(result.drops for result in together)
    inner = slice(16 + FEATHER, 96 - FEATHER)
    for job, one, other in zip(jobs, together, backwards, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.image[inner, inner], job.image[inner, inner])
        assert one.image[100:].std() > 5  # something was painted


def test_offloading_paints_the_same(open_kind: Callable[..., Any]) -> None:
    (job,) = make_jobs(1)
    resident = open_kind(batch_size=1).repaint([job])[0].image
    offloaded = open_kind(batch_size=1, cpu_offload=True).repaint([job])[0].image
    np.testing.assert_array_equal(resident, offloaded)
