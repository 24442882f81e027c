"""`--scheduler ovtrack` against the latents and the image that the original's own code computed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ovforge.options.diffusion import DiffusionOptions, Precision, Sampler
from ovforge.synthesis.diffusion.model import StableDiffusion
from ovforge.synthesis.diffusion.sampling import sample_latents
from ovforge.synthesis.diffusion.schedulers import make_schedule

WEIGHTS_DIGEST = "1a461359b06a74bd3becdb5838f276f850db891994798af134c5d60eb49d67b8"
VAE_SCALE = 0.18215


@pytest.fixture(scope="module")
def oracle_model(diffusion_data: Path, tmp_path_factory: pytest.TempPathFactory) -> StableDiffusion:
    spec = importlib.util.spec_from_file_location("make_tiny_sd", diffusion_data / "make_tiny_sd.py")
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    folder = tmp_path_factory.mktemp("oracle_model")
    assert builder.build(str(folder)) == WEIGHTS_DIGEST
    return StableDiffusion(folder, device=torch.device("cpu"), precision=Precision.FP32)


@pytest.fixture(scope="module")
def case(diffusion_data: Path) -> dict[str, np.ndarray]:
    inputs = np.load(diffusion_data / "case_b_inputs.npz")
    outputs = np.load(diffusion_data / "case_b_g75.npz")
    return {**{name: inputs[name] for name in inputs.files}, **{name: outputs[name] for name in outputs.files}}


def _floor_to_32(image: Image.Image) -> Image.Image:
    """The original's size rule: both sides floored to multiples of 32."""
    return image.resize((image.width // 32 * 32, image.height // 32 * 32), Image.Resampling.LANCZOS)


def _original_repaint_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The original's mask rule: nearest pixel to latent size; white is kept. Ours is the max-pool of `keep_cells`."""
    small = Image.fromarray(mask).convert("L").resize((size[0] // 8, size[1] // 8), Image.Resampling.NEAREST)
    return 1 - np.asarray(small, dtype=np.float32) / 255


def _batch(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array, dtype=np.float32))[None]


def test_ovtrack_computes_what_the_original_computes(
    oracle_model: StableDiffusion, case: dict[str, np.ndarray]
) -> None:
    pixels = _floor_to_32(Image.fromarray(case["init_image"]))
    assert pixels.size == (320, 192)
    repaint = _original_repaint_mask(case["mask_image"], pixels.size)
    np.testing.assert_array_equal(repaint, case["latent_mask"])

    with torch.inference_mode():
        text = oracle_model.encode_text(str(case["prompt"]))
        empty = oracle_model.encode_text("")
        np.testing.assert_allclose(text[0].numpy(), case["text_embeddings"], atol=1e-5)
        np.testing.assert_allclose(empty[0].numpy(), case["empty_text_embeddings"], atol=1e-5)

        pixels = np.asarray(pixels, dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1
        mean, deviation = oracle_model.encode_images(_batch(pixels))
        np.testing.assert_allclose(mean[0].numpy(), VAE_SCALE * case["posterior_mean"], atol=1e-4)
        np.testing.assert_allclose(deviation[0].numpy(), VAE_SCALE * case["posterior_std"], atol=1e-4)

        schedule = make_schedule(oracle_model.noise_scale, DiffusionOptions(scheduler=Sampler.OVTRACK))
        assert [call.timestep for call in schedule.calls] == case["timesteps"].tolist()
        assert [call.blend for call in schedule.calls] == case["blended"].tolist()

        start = mean + deviation * _batch(case["posterior_noise"])
        noised = schedule.start.signal * start + schedule.start.noise * _batch(case["noise"])
        np.testing.assert_allclose(noised[0].numpy(), case["latents_start"], atol=1e-4)

        steps: list[tuple[np.ndarray, np.ndarray]] = []
        with oracle_model.noise_predictor() as predict:
            latents = sample_latents(
                predict,
                schedule,
                start,
                _batch(case["noise"]),
                repaint_mask=_batch(repaint)[None],
                text=text,
                empty_text=empty,
                guidance=7.5,
                watch=lambda _, before, after: steps.append((before[0].numpy(), after[0].numpy())),
            )
        decoded = oracle_model.decode_latents(latents)[0]

    for index, expected in zip(case["latents_after_index"], case["latents_after"], strict=True):
        np.testing.assert_allclose(steps[index][1], expected, rtol=0, atol=1e-3, err_msg=f"after step {index}")
    for index, expected in enumerate(case["latents_before_blend"]):
        np.testing.assert_allclose(steps[index][0], expected, rtol=0, atol=1e-3, err_msg=f"before blend {index}")

    image = decoded.clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    difference = np.abs(image.astype(int) - case["image"])
    assert difference.max() <= 1
    assert (difference == 0).mean() >= 0.999
