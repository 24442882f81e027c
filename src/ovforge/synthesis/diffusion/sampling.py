"""The sampling loop: latents and a mask in, repainted latents out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import torch

from ovforge.synthesis.diffusion.schedule import Call, Combination, Level, Schedule
from ovforge.synthesis.diffusion.transfer import sent

NoisePredictor = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""predict(latents (B, 4, h, w) float32, timestep (0-d, int64), text (B, tokens, width)) -> prediction, float32."""

Watch = Callable[[Call, torch.Tensor, torch.Tensor], None]
"""Called after every U-Net call with (call, latents before blending, latents after)."""


def sample_latents(
    predict: NoisePredictor,
    schedule: Schedule,
    start_latents: torch.Tensor,
    noise: torch.Tensor,
    *,
    repaint_mask: torch.Tensor,
    text: torch.Tensor,
    empty_text: torch.Tensor | None = None,
    guidance: float = 7.5,
    guided_calls: int | None = None,
    fresh_noise: Callable[[int], torch.Tensor] | None = None,
    watch: Watch | None = None,
) -> torch.Tensor:
    """Repaint `start_latents` where `repaint_mask` says so, and keep them elsewhere.

    The loop of RePaint (Lugmayr et al. 2022) on latents, started part-way as in SDEdit (Meng et al. 2022): the start
    latents are noised to the schedule's first level; after every U-Net call whose next timestep is above
    `--blend-until`, kept cells are set to the start latents, noised to the next level with the same `noise`.
    Everything but the U-Net is computed in float32, row by row: a row's result depends on that row alone.

    Args:
        predict: the U-Net; see `NoisePredictor`.
        schedule: timesteps and coefficients, from `schedulers.make_schedule`.
        start_latents: encoded images, scaled by the VAE's factor, float32 (B, 4, h, w).
        noise: standard normal, float32 (B, 4, h, w); the one tensor for the start and for every blend.
        repaint_mask: float32 (B, 1, h, w); 1 is repainted, 0 is kept, fractions are mixed.
        text: the prompts' embeddings (B, tokens, width).
        empty_text: the empty prompt's embeddings, of `text`'s shape; needed for guidance.
        guidance: weight of classifier-free guidance (Ho & Salimans 2022); 0 or 1: one conditional pass per call.
        guided_calls: how many of the first calls are guided; None for all. Fewer is faster and lossy.
        fresh_noise: for resampling: fresh_noise(i) gives the standard normal tensor of the i-th way back up.
        watch: sees the latents after every call.

    Returns:
        float32 (B, 4, h, w), still scaled.
    """
    guided_calls = len(schedule.calls) if guided_calls is None else guided_calls
    if guidance in (0.0, 1.0):
        guided_calls = 0
    if guided_calls and empty_text is None:
        raise ValueError("guidance needs the empty prompt's embeddings")
    both_texts = torch.cat((empty_text, text)) if empty_text is not None and guided_calls else text

    device = start_latents.device
    # One transfer for all timesteps, so that the loop never waits for the device.
    timesteps = sent(torch.tensor([call.timestep for call in schedule.calls]), device)
    keep_mask = 1.0 - repaint_mask
    latents = _at_level(schedule.start, start_latents, noise)
    saved = latents
    outputs: deque[torch.Tensor] = deque(maxlen=schedule.outputs_kept)
    calls = ways_up = 0

    for move in schedule.moves:
        if isinstance(move, Call):
            if calls < guided_calls:
                pair = predict(torch.cat((latents, latents)), timesteps[calls], both_texts)
                without, with_prompt = pair.chunk(2)
                prediction = without + guidance * (with_prompt - without)
            else:
                prediction = predict(latents, timesteps[calls], text)
            outputs.appendleft(_scaled_sum((move.output[0], latents), (move.output[1], prediction)))
            saved = _combine(move.correct, latents, saved, outputs)
            latents = moved = _combine(move.predict, saved, saved, outputs)
            calls += 1
        else:
            if fresh_noise is None:
                raise ValueError("a schedule that goes back up needs fresh_noise")
            latents = _scaled_sum((move.scale, latents), (move.noise, fresh_noise(ways_up)))
            ways_up += 1
        if move.blend:
            latents = keep_mask * _at_level(move.next_level, start_latents, noise) + repaint_mask * latents
        if watch is not None and isinstance(move, Call):
            watch(move, moved, latents)
    return latents


def _at_level(level: Level, original: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    return level.signal * original + level.noise * noise


def _combine(
    combination: Combination, latents: torch.Tensor, saved: torch.Tensor, outputs: deque[torch.Tensor]
) -> torch.Tensor:
    terms = [(combination.latents, latents), (combination.saved, saved)]
    terms += [(weight, outputs[age]) for age, weight in combination.outputs]
    return _scaled_sum(*terms)


def _scaled_sum(*terms: tuple[float, torch.Tensor]) -> torch.Tensor:
    """The sum of weight * tensor, leaving out weights of 0: 0 * infinity would spoil an image that is still fine."""
    total: Any = None
    for weight, tensor in terms:
        if weight:
            term = tensor if weight == 1.0 else weight * tensor
            total = term if total is None else total + term
    return torch.zeros_like(terms[0][1]) if total is None else total
