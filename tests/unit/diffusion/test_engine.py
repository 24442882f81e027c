"""The engine as the making of pairs uses it: on the tiny model, loaded from its folder."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ovforge.errors import InputError, WorkError
from ovforge.options.diffusion import DiffusionOptions, Foreground, Precision, Sampler
from ovforge.synthesis.diffusion import DiffusionEngine, batches
from ovforge.synthesis.diffusion.attempts import GIVEN_UP, Attempt
from ovforge.synthesis.diffusion.latents import FEATHER, keep_cells, paste_kept
from ovforge.synthesis.diffusion.repainter import DiffusionRepainter
from ovforge.synthesis.repaint import Repainted, RepaintJob

MakeJob = Callable[..., RepaintJob]


@pytest.fixture
def open_engine(tiny_model: Path) -> Callable[..., DiffusionRepainter]:
    """`open_engine(**options)`: the engine on the tiny model, with few steps."""

    def open_(model: Path = tiny_model, **options: object) -> DiffusionRepainter:
        defaults = {"steps": 4, "batch_size": 2, "scheduler": Sampler.DDIM, "device": "cpu", "cpu_threads": 1}
        repainter = DiffusionEngine(DiffusionOptions(model=model, **{**defaults, **options})).open(None)
        assert isinstance(repainter, DiffusionRepainter)
        return repainter

    return open_


def _images(results: list[Repainted]) -> list[np.ndarray]:
    return [result.image for result in results]


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def test_an_image_depends_neither_on_its_neighbours_nor_on_its_place(open_engine, make_job: MakeJob) -> None:
    engine = open_engine(batch_size=4)
    jobs = [
        make_job(i, prompt=f"a photo of a {word}") for i, word in enumerate(["cat", "dog", "cup", "cat", "dog", "cup"])
    ]
    together = _images(engine.repaint(jobs))
    backwards = _images(engine.repaint(jobs[::-1]))[::-1]
    alone = [engine.repaint([job])[0].image for job in jobs]
    for one, other, single in zip(together, backwards, alone, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, single)
    assert len({image.tobytes() for image in together}) == len(jobs)


def test_across_batch_sizes_images_differ_by_at_most_one_level(open_engine, make_job: MakeJob) -> None:
    jobs = [make_job(i, 64, 128) for i in range(4)]
    runs = [_images(open_engine(batch_size=size).repaint(jobs)) for size in (1, 2, 3, 4)]
    for run in runs[1:]:
        for one, other in zip(runs[0], run, strict=True):
            difference = np.abs(one.astype(int) - other)
            assert difference.max() <= 1
            assert (difference == 0).mean() > 0.999


def test_noise_is_pinned() -> None:
    """The same on every machine and in every release: these numbers must never change."""
    job = RepaintJob(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), bool), (64, 64), "", 7, variant=1, seed=3)
    first = Attempt(job, 0).noise((8, 8), "latent noise")
    assert first.shape == (4, 8, 8) and first.dtype == np.float32
    np.testing.assert_array_equal(first, Attempt(job, 0).noise((8, 8), "latent noise"))
    others = [
        Attempt(job, 1).noise((8, 8), "latent noise"),
        Attempt(job, 0).noise((8, 8), "vae noise"),
        Attempt(dataclasses.replace(job, variant=0), 0).noise((8, 8), "latent noise"),
        Attempt(dataclasses.replace(job, image_id=8), 0).noise((8, 8), "latent noise"),
        Attempt(dataclasses.replace(job, seed=4), 0).noise((8, 8), "latent noise"),
    ]
    assert all(np.abs(first - other).max() > 0.1 for other in others)


def test_the_prompt_changes_the_repainted_cells_and_no_kept_one(open_engine, make_job: MakeJob) -> None:
    """Seen at the U-Net's second call, after one step and one blend; the VAE smears kept pixels in any case."""
    engine = open_engine()
    seen = []
    engine.model.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    jobs = [make_job(1, 128, 128, prompt=prompt) for prompt in ("a photo of a cat", "a dog")]
    engine.repaint(jobs)
    changes = (seen[1][2] - seen[1][3]).abs().amax(dim=0).numpy()
    kept = keep_cells(jobs[0].keep_mask)
    assert (changes[kept] == 0).all()
    assert (changes[~kept] > 0).all()


def test_prompts_matter_unless_there_are_none(open_engine, make_job: MakeJob) -> None:
    cat, dog = make_job(1, prompt="a photo of a cat"), make_job(1, prompt="a dog")
    one, other = _images(open_engine().repaint([cat, dog]))
    assert not np.array_equal(one, other)
    silent = open_engine(no_captions=True)
    without = silent.repaint([cat, dog])
    np.testing.assert_array_equal(*_images(without))
    assert [result.prompt for result in without] == ["", ""]  # so that no record names a caption that was not used


def test_out_of_memory_halves_the_batch_and_goes_on(open_engine, make_job: MakeJob) -> None:
    engine = open_engine(batch_size=4)
    _limit_rows(engine, 4)  # guidance doubles the rows: two images fit, four do not
    jobs = [make_job(i) for i in range(5)]
    results = engine.repaint(jobs)
    assert [result.record["batch_size"] for result in results] == [2] * 5
    reference = open_engine(batch_size=2).repaint(jobs)
    for one, other in zip(_images(results), _images(reference), strict=True):
        np.testing.assert_array_equal(one, other)
    assert engine.batches.sizes == {(64, 64): 2}


def test_an_image_that_never_fits_is_a_clear_error(open_engine, make_job: MakeJob) -> None:
    engine = open_engine(batch_size=2)
    _limit_rows(engine, 1)
    with pytest.raises(WorkError, match="a single image of 64x64 does not fit") as caught:
        engine.repaint([make_job(1)])
    assert "--vae-tiling" in caught.value.hint


def test_auto_probes_each_size_once(open_engine, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(batches.LARGEST_AUTO, "cpu", 8)
    engine = open_engine(batch_size=None)
    calls = _limit_rows(engine, 4)
    assert engine.batch_size == 8
    engine.repaint([make_job(1)])
    assert engine.batches.sizes == {(64, 64): 2}
    assert calls == [16, 8, 4] + [4] * len(engine.schedule.calls)
    engine.repaint([make_job(2, 64, 128), make_job(3, 64, 128)])
    assert engine.batches.sizes == {(64, 64): 2, (64, 128): 2}


def test_other_errors_are_not_taken_for_a_lack_of_memory(open_engine, make_job: MakeJob) -> None:
    engine = open_engine()
    engine.model.unet.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("a defect")))
    with pytest.raises(RuntimeError, match="a defect"):
        engine.repaint([make_job(1)])


def test_nan_weights_give_the_composed_image_and_are_counted(open_engine, make_job: MakeJob) -> None:
    engine = open_engine()
    engine.model.unet.conv_out.weight.fill_(float("nan"))
    jobs = [make_job(i) for i in range(3)]
    for job, result in zip(jobs, engine.repaint(jobs), strict=True):
        np.testing.assert_array_equal(result.image, job.image)
        assert result.drops == (("repainted image", GIVEN_UP),)
        assert result.record["given_up"] is True


def test_black_images_are_never_handed_out(open_engine, make_job: MakeJob) -> None:
    engine = open_engine()
    engine.model.vae.decoder.conv_out.weight.zero_()
    engine.model.vae.decoder.conv_out.bias.fill_(-5)
    (result,) = engine.repaint([make_job(1)])
    assert result.image.max() > 100
    assert result.drops


def test_a_spoilt_image_is_tried_again_with_other_noise(open_engine, make_job: MakeJob) -> None:
    engine = open_engine()
    jobs = [make_job(i) for i in range(2)]
    expected = _images(engine.repaint(jobs))
    calls = len(engine.schedule.calls)
    done = []

    def spoil_the_first_image_once(_module, _inputs, outputs):
        done.append(1)
        if len(done) == calls:
            outputs[0][[0, 2]] = float("nan")  # the first of two images, without and with its prompt
        return outputs

    engine.model.unet.register_forward_hook(spoil_the_first_image_once)
    results = engine.repaint(jobs)
    assert [result.record["attempt"] for result in results] == [1, 0]
    np.testing.assert_array_equal(results[1].image, expected[1])
    assert not np.array_equal(results[0].image, expected[0])
    assert not any(result.drops for result in results)


@pytest.mark.parametrize(("precision", "lowest"), [(Precision.FP16, 50), (Precision.BF16, 34)])
def test_half_precision_stays_close(open_engine, make_job: MakeJob, precision: Precision, lowest: float) -> None:
    jobs = [make_job(i) for i in range(2)]
    exact = _images(open_engine(steps=10).repaint(jobs))
    half = _images(open_engine(steps=10, precision=precision).repaint(jobs))
    assert min(_psnr(one, other) for one, other in zip(exact, half, strict=True)) > lowest


def test_exact_foreground_keeps_the_objects_own_pixels(open_engine, make_job: MakeJob) -> None:
    job = make_job(1, 128, 128)
    job.keep_mask[:] = False
    job.keep_mask[20:90, 20:90] = True
    generated = open_engine().repaint([job])[0].image
    exact = open_engine(foreground=Foreground.EXACT).repaint([job])[0].image
    inner = slice(20 + FEATHER, 90 - FEATHER)
    np.testing.assert_array_equal(exact[inner, inner], job.image[inner, inner])
    np.testing.assert_array_equal(exact[~job.keep_mask], generated[~job.keep_mask])
    assert not np.array_equal(generated[inner, inner], job.image[inner, inner])


def test_pasting_fades_and_ignores_the_images_own_border() -> None:
    composed, generated = np.full((64, 64, 3), 200, np.uint8), np.full((64, 64, 3), 100, np.uint8)
    keep = np.zeros((64, 64), bool)
    keep[:, :40] = True
    pasted = paste_kept(generated, composed, keep, (64, 48))[..., 0]
    assert (pasted[:48, : 40 - FEATHER] == 200).all()
    assert (np.diff(pasted[0, 40 - FEATHER - 1 : 41].astype(int)) < 0).all()
    assert (pasted[:48, 40:] == 100).all() and (pasted[48:] == 100).all()
    np.testing.assert_array_equal(paste_kept(generated, composed, np.zeros_like(keep), (64, 64)), generated)
    np.testing.assert_array_equal(paste_kept(generated, composed, np.ones_like(keep), (64, 64)), composed)


def test_a_cell_is_kept_if_any_of_its_pixels_is() -> None:
    keep = np.zeros((64, 128), bool)
    keep[3, 17] = keep[63, 127] = True
    kept = keep_cells(keep)
    assert kept.shape == (8, 16)
    assert list(zip(*np.nonzero(kept), strict=True)) == [(0, 2), (7, 15)]


def test_an_inpainting_unet_gets_its_mask(build_tiny_model, tmp_path: Path, open_engine, make_job: MakeJob) -> None:
    engine = open_engine(model=build_tiny_model(tmp_path / "model", in_channels=9))
    seen = []
    engine.model.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    job = make_job(1)
    assert engine.repaint([job])[0].image.shape == job.image.shape
    assert {tuple(inputs.shape) for inputs in seen} == {(4, 9, 8, 8)}
    np.testing.assert_array_equal(seen[0][0, 4].numpy(), 1.0 - keep_cells(job.keep_mask))


def test_tiling_and_resampling_and_partial_guidance_run(open_engine, make_job: MakeJob) -> None:
    job = make_job(1, 128, 128)
    plain = open_engine().repaint([job])[0].image
    tiled = open_engine(vae_tiling=True).repaint([job])[0].image
    assert tiled.shape == plain.shape and not np.array_equal(plain, tiled)
    again = open_engine(jump_length=1, jump_n_sample=2).repaint([job])[0].image
    less = open_engine(guidance_until=0.5).repaint([job])[0].image
    assert not np.array_equal(plain, again) and not np.array_equal(plain, less)


def test_each_prompt_is_encoded_once(open_engine, make_job: MakeJob) -> None:
    engine = open_engine()
    encoded = []
    engine.model.text_encoder.register_forward_pre_hook(lambda *_: encoded.append(1))
    engine.repaint([make_job(i) for i in range(4)])
    engine.repaint([make_job(i) for i in range(4)])
    assert len(encoded) == 2  # the caption they share, and the empty one


def test_threads_are_the_engines_own_not_the_executors(open_engine) -> None:
    before = torch.get_num_threads()
    engine = open_engine(cpu_threads=before + 1)
    assert torch.get_num_threads() == before + 1
    engine.close()
    assert torch.get_num_threads() == before


def test_the_working_size_follows_the_unet(open_engine) -> None:
    size = open_engine(width=512, height=384).working_size
    assert size is not None and (size.width, size.height, size.multiple) == (512, 384, 64)


def test_the_description_says_what_decides_a_image(tiny_model: Path) -> None:
    options = DiffusionOptions(model=tiny_model, device="cpu")
    engine = pickle.loads(pickle.dumps(DiffusionEngine(options)))
    described = engine.describe()
    assert described == DiffusionEngine(options).describe() == json.loads(json.dumps(described))
    assert described["unet_calls"] == 39 and described["first_timestep"] == 741
    assert described["precision"] == "fp32"
    assert len(described["weights"]) == 3
    assert set(described["versions"]) == {"torch", "diffusers", "transformers"}
    faster = dataclasses.replace(options, scheduler=Sampler.DPMPP, steps=20, guidance_until=0.5)
    described = DiffusionEngine(faster).describe()
    assert (described["unet_calls"], described["guided_unet_calls"]) == (15, 8)


def test_a_wrong_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    engine = DiffusionEngine(DiffusionOptions(model=tmp_path / "nothing", device="cpu"))
    for step in (engine.describe, lambda: engine.open(None)):
        with pytest.raises(InputError, match="model folder not found"):
            step()


def _limit_rows(engine: DiffusionRepainter, most: int) -> list[int]:
    """Give the U-Net a memory that holds `most` rows; returns the list of rows it is called with."""
    rows: list[int] = []

    def check(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        rows.append(len(inputs[0]))
        if len(inputs[0]) > most:
            raise torch.OutOfMemoryError("out of memory (a limit of the test)")

    engine.model.unet.register_forward_pre_hook(check)
    return rows
