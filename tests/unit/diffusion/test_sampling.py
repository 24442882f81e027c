"""Every sampler against a plain loop on diffusers' own scheduler, and what the loop promises of kept latents."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, PNDMScheduler, UniPCMultistepScheduler

from ovforge.errors import InputError
from ovforge.options.diffusion import DiffusionOptions, Sampler, SettledOptions
from ovforge.synthesis.diffusion.model import StableDiffusion
from ovforge.synthesis.diffusion.sampling import sample_latents
from ovforge.synthesis.diffusion.schedule import Call, NoiseScale
from ovforge.synthesis.diffusion.schedulers import SAMPLERS, make_schedule

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
EVEN = {**NOISE, "steps_offset": 1, "set_alpha_to_one": False}
SCALE = NoiseScale.from_config(EVEN, where="test")


def _inputs(model: StableDiffusion, batch: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(batch)
    prompts = ["a photo of a cat", "a dog", "a cup of a cat", ""][:batch]
    return {
        "start": torch.from_numpy(rng.standard_normal((batch, 4, 8, 16), dtype=np.float32)),
        "noise": torch.from_numpy(rng.standard_normal((batch, 4, 8, 16), dtype=np.float32)),
        "repaint": torch.from_numpy((rng.random((batch, 1, 8, 16)) < 0.5).astype(np.float32)),
        "text": torch.cat([model.encode_text(prompt) for prompt in prompts]),
        "empty": torch.cat([model.encode_text("")] * batch),
    }


def _ours(model: StableDiffusion, inputs: dict[str, torch.Tensor], options: SettledOptions, **more: object):
    with torch.inference_mode(), model.noise_predictor() as predict:
        return sample_latents(
            predict,
            make_schedule(SCALE, options),
            inputs["start"],
            inputs["noise"],
            repaint_mask=inputs["repaint"],
            text=inputs["text"],
            empty_text=inputs["empty"],
            guidance=options.guidance,
            **more,
        )


def _diffusers_scheduler(sampler: Sampler, steps: int, strength: float):
    """diffusers' scheduler and the timesteps to call it with, one per U-Net call."""
    if sampler in (Sampler.DPMPP, Sampler.UNIPC):
        kind = DPMSolverMultistepScheduler if sampler is Sampler.DPMPP else UniPCMultistepScheduler
        scheduler = kind(**NOISE, solver_order=2)
        scheduler.set_timesteps(steps)
        return scheduler, scheduler.timesteps[steps - int(steps * strength) :].tolist()
    if sampler is Sampler.DDIM:
        scheduler = DDIMScheduler(**EVEN, clip_sample=False)
        scheduler.set_timesteps(steps)
        return scheduler, scheduler.timesteps[max(0, steps - int(steps * strength) - 1) :].tolist()
    scheduler = PNDMScheduler(**EVEN, skip_prk_steps=True)
    scheduler.set_timesteps(steps)
    # Its own timesteps hold the second one twice; started later on, the second of those that are left.
    distinct = sorted(set(scheduler.timesteps.tolist()), reverse=True)[max(0, steps - int(steps * strength) - 1) :]
    return scheduler, [*distinct[:2], *distinct[1:]]


def _plain_loop(
    model: StableDiffusion,
    inputs: dict[str, torch.Tensor],
    options: SettledOptions,
) -> torch.Tensor:
    scheduler, timesteps = _diffusers_scheduler(options.scheduler, options.steps, options.noise_share)

    def noised(timestep: int) -> torch.Tensor:
        alpha_bar = scheduler.alphas_cumprod[timestep]
        return alpha_bar.sqrt() * inputs["start"] + (1 - alpha_bar).sqrt() * inputs["noise"]

    latents = noised(timesteps[0])
    with torch.inference_mode():
        for i, timestep in enumerate(timesteps):
            prediction = model.unet(latents, timestep, inputs["text"]).sample
            if options.guidance:
                without = model.unet(latents, timestep, inputs["empty"]).sample
                prediction = without + options.guidance * (prediction - without)
            latents = scheduler.step(prediction, timestep, latents).prev_sample
            # PNDM's repeated call leads from the first timestep to the second, like the call before it.
            following = timesteps[i + 1] if i + 1 < len(timesteps) else 0
            if following > 20:
                latents = torch.where(inputs["repaint"] == 1, latents, noised(following))
    return latents


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("guidance", [0.0, 7.5])
@pytest.mark.parametrize("sampler", [Sampler.PNDM, Sampler.DDIM, Sampler.DPMPP, Sampler.UNIPC])
def test_agrees_with_a_plain_loop_on_diffusers_scheduler(
    model: StableDiffusion, sampler: Sampler, guidance: float, batch: int
) -> None:
    inputs = _inputs(model, batch)
    options = SettledOptions(scheduler=sampler, steps=20, guidance=guidance)
    ours, theirs = _ours(model, inputs, options), _plain_loop(model, inputs, options)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-4)
    assert theirs.std() > 0.5


@pytest.mark.parametrize("sampler", [Sampler.PNDM, Sampler.DDIM, Sampler.DPMPP, Sampler.UNIPC])
@pytest.mark.parametrize(("steps", "strength"), [(50, 1.0), (50, 0.75), (7, 0.6)])
def test_agrees_at_other_step_counts(model: StableDiffusion, sampler: Sampler, steps: int, strength: float) -> None:
    inputs = _inputs(model, 1)
    options = SettledOptions(scheduler=sampler, steps=steps, strength=strength, guidance=0)
    ours, theirs = _ours(model, inputs, options), _plain_loop(model, inputs, options)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-4)


def test_samplers_differ_by_far_more_than_the_tolerance(model: StableDiffusion) -> None:
    inputs = _inputs(model, 1)
    runs = [_ours(model, inputs, SettledOptions(scheduler=sampler, steps=20)) for sampler in SAMPLERS]
    for one, other in itertools.combinations(runs, 2):
        assert (one - other).abs().max() > 0.02


def test_timesteps_and_calls() -> None:
    def timesteps(**options: object) -> list[int]:
        return [call.timestep for call in make_schedule(SCALE, DiffusionOptions(**options)).calls]

    evenly = list(range(741, 0, -20))
    assert timesteps(scheduler=Sampler.OVTRACK) == timesteps(scheduler=Sampler.DDIM) == evenly
    assert len(evenly) == 38
    assert timesteps() == [741, 721, *evenly[1:]]
    assert timesteps(strength=1.0)[:4] == [981, 961, 961, 941]
    assert len(timesteps(scheduler=Sampler.DPMPP, steps=20)) == 15
    assert timesteps(scheduler=Sampler.UNIPC, steps=20)[0] == 749
    assert timesteps(steps=1, strength=0.01) == [1, 0]


def test_blending_stops_where_it_is_told_to() -> None:
    def blended(until: int) -> list[int]:
        schedule = make_schedule(SCALE, DiffusionOptions(scheduler=Sampler.DDIM, blend_until=until))
        return [call.next_timestep for call in schedule.calls if call.blend]

    assert blended(20) == list(range(721, 20, -20))
    assert blended(21) == list(range(721, 40, -20))
    assert blended(0)[-1] == 1
    assert blended(1000) == []


RESAMPLINGS = [{}, {"n_sample": 2}, {"jump_length": 3, "jump_n_sample": 2}]
STRAIGHT_ONLY = [(Sampler.OVTRACK, {})]


@pytest.mark.parametrize(
    ("sampler", "resampling"),
    STRAIGHT_ONLY + [(sampler, more) for sampler in SAMPLERS if sampler is not Sampler.OVTRACK for more in RESAMPLINGS],
)
def test_kept_latents_are_the_noised_originals_at_every_blended_step(
    model: StableDiffusion, sampler: Sampler, resampling: dict[str, int]
) -> None:
    inputs = _inputs(model, 2)
    seen = []

    def watch(call: Call, before: torch.Tensor, after: torch.Tensor) -> None:
        noised = call.next_level.signal * inputs["start"] + call.next_level.noise * inputs["noise"]
        kept = (inputs["repaint"] == 0).expand_as(after)
        if call.blend:
            assert torch.equal(after[kept], noised[kept])
            assert torch.equal(after[~kept], before[~kept])
        else:
            assert torch.equal(after, before)
        seen.append(call.blend)

    options = SettledOptions(scheduler=sampler, steps=10, guidance=0, **resampling)
    result = _ours(
        model,
        inputs,
        options,
        watch=watch,
        fresh_noise=lambda i: torch.from_numpy(np.random.default_rng(i).standard_normal((2, 4, 8, 16), np.float32)),
    )
    assert any(seen) and not seen[-1]
    assert torch.isfinite(result).all()


def test_ovtrack_refuses_resampling() -> None:
    with pytest.raises(InputError, match="ovtrack"):
        DiffusionOptions(scheduler=Sampler.OVTRACK, jump_n_sample=2)


def test_resampling_goes_through_the_levels_as_repaint_does() -> None:
    """jump_length 2, jump_n_sample 3 over 6 intervals: each stretch of two is done three times, but for the first."""
    schedule = make_schedule(
        SCALE, DiffusionOptions(scheduler=Sampler.DDIM, steps=6, strength=1.0, jump_length=2, jump_n_sample=3)
    )
    levels = list(itertools.chain([6], _remaining_levels(schedule.moves, schedule.start)))
    assert levels == [6, 5, 4, 3, 2, 4, 3, 2, 4, 3, 2, 1, 0, 2, 1, 0, 2, 1, 0]


def test_going_back_up_keeps_the_latents_at_unit_variance() -> None:
    schedule = make_schedule(SCALE, DiffusionOptions(scheduler=Sampler.DPMPP, steps=10, n_sample=3))
    level = schedule.start
    for move in schedule.moves:
        if not isinstance(move, Call):
            signal, noise = move.scale * level.signal, (move.scale * level.noise) ** 2 + move.noise**2
            assert signal == pytest.approx(move.next_level.signal)
            assert noise == pytest.approx(move.next_level.noise**2)
        level = move.next_level
    assert len(schedule.calls) == 3 * 7


def _remaining_levels(moves, start) -> list[int]:
    signals = sorted({start.signal, *(move.next_level.signal for move in moves)}, reverse=True)
    return [signals.index(move.next_level.signal) for move in moves]


def test_velocity_prediction_is_the_same_run_as_noise_prediction(model: StableDiffusion) -> None:
    """A U-Net that says v = signal * noise - noise_level * original, computed from one that says the noise."""
    inputs = _inputs(model, 1)
    for sampler in SAMPLERS:
        options = SettledOptions(scheduler=sampler, steps=8, guidance=0)
        noise_run = _ours(model, inputs, options)
        velocity = NoiseScale(SCALE.alpha_bars, "v_prediction", SCALE.offset, SCALE.last_alpha_bar)
        schedule = make_schedule(velocity, options)

        with torch.inference_mode(), model.noise_predictor() as predict:

            def predict_velocity(latents, timestep, text, predict=predict):
                level = SCALE.level(int(timestep))
                noise = predict(latents, timestep, text)
                return (noise - level.noise * latents) / level.signal

            velocity_run = sample_latents(
                predict_velocity,
                schedule,
                inputs["start"],
                inputs["noise"],
                repaint_mask=inputs["repaint"],
                text=inputs["text"],
                guidance=0,
            )
        torch.testing.assert_close(velocity_run, noise_run, rtol=0, atol=5e-4)


def test_guidance_on_the_first_calls_only(model: StableDiffusion) -> None:
    inputs = _inputs(model, 1)
    options = SettledOptions(scheduler=Sampler.DDIM, steps=8)
    rows = []

    with torch.inference_mode(), model.noise_predictor() as predict:

        def counting(latents, timestep, text):
            rows.append(len(latents))
            return predict(latents, timestep, text)

        sample_latents(
            counting,
            make_schedule(SCALE, options),
            inputs["start"],
            inputs["noise"],
            repaint_mask=inputs["repaint"],
            text=inputs["text"],
            empty_text=inputs["empty"],
            guided_calls=3,
        )
    assert rows == [2, 2, 2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("steps", 0),
        ("strength", 0.0),
        ("strength", 1.5),
        ("strength", float("nan")),
        ("guidance", -1.0),
        ("batch_size", 0),
    ],
)
def test_options_out_of_range_are_refused(option: str, value: float) -> None:
    with pytest.raises(InputError, match=option):
        DiffusionOptions(**{option: value})
