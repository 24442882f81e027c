"""Samplers as tables of coefficients.

Every sampler here (PLMS, DDIM, DPM-Solver++, UniPC) is linear in the latents and in what the U-Net said so far.
So a whole run can be written down beforehand: per U-Net call, two linear combinations, the timestep, and the
noise level that it leads to. The loop in `sampling` holds no state but the last outputs, and what a sampler does
can be read and compared number by number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ovforge.errors import InputError
from ovforge.options.diffusion import STABLE_DIFFUSION, DiffusionOptions, Sampler, SettledOptions
from ovforge.synthesis.diffusion.schedule import Call, Combination, Level, NoiseScale, Renoise, Schedule, level_at

SAMPLERS = (Sampler.PNDM, Sampler.OVTRACK, Sampler.DDIM, Sampler.DPMPP, Sampler.UNIPC)
"""The samplers that are written down here."""


def make_schedule(scale: NoiseScale, options: DiffusionOptions) -> Schedule:
    """Write down the run that `options` ask for.

    PNDM, DDIM and the original's sampling space their timesteps evenly and, at strength s, run the last
    int(steps * s) + 1 of them, all at 1.0 (the original's count: 38 timesteps, from 741, at 0.75 of 50; PNDM's warm-up
    adds one call). DPM-Solver++ and UniPC spread theirs from the noisiest timestep to 0, as their authors do,
    and run the last int(steps * s).
    """
    options = options.settled(STABLE_DIFFUSION)
    sampler = options.scheduler
    total = len(scale.alpha_bars)
    if sampler not in SAMPLERS:
        raise InputError(f"--scheduler={sampler.value}: not one of ovforge's own loop")
    if options.steps > total:
        raise InputError(f"--steps {options.steps}: the model was trained with {total} timesteps")
    if sampler in (Sampler.DPMPP, Sampler.UNIPC):
        timesteps = [round((total - 1) * i / options.steps) for i in range(options.steps, 0, -1)]
        timesteps = timesteps[-max(1, int(options.steps * options.noise_share)) :]
        end = 1.0
    else:
        stride = total // options.steps
        timesteps = [min(i * stride + scale.offset, total - 1) for i in range(options.steps - 1, -1, -1)]
        timesteps = timesteps[-(int(options.steps * options.noise_share) + 1) :]
        end = scale.last_alpha_bar
    return _Writer(scale, sampler, timesteps, end, options.blend_until).write(options)


def guided_calls(options: SettledOptions, calls: int) -> int:
    """How many of the first U-Net calls are guided."""
    return round(calls * options.guidance_until) if options.guided else 0


class _Writer:
    """Writes the moves of one run; levels are numbered from 0, the noisiest, to the end."""

    def __init__(
        self, scale: NoiseScale, sampler: Sampler, timesteps: list[int], last_alpha_bar: float, blend_until: int
    ) -> None:
        self.prediction = scale.prediction
        self.sampler = sampler
        self.timesteps = [*timesteps, 0]
        self.levels = [*(scale.level(timestep) for timestep in timesteps), level_at(last_alpha_bar)]
        self.blend_until = blend_until
        self.made = 0
        """Calls written so far."""
        self.history: list[int] = []
        """The calls whose noise predictions count for later steps, newest first; not the repeated one."""

    def write(self, options: DiffusionOptions) -> Schedule:
        moves: list[Call | Renoise] = []
        since = 0  # intervals done since the start or since the last way back up
        for here, there in _walk(len(self.levels) - 1, options):
            if there < here:
                moves.append(self._renoise(here, there))
                # Outputs from before the way back up belong to other latents: every sampler starts afresh.
                self.history.clear()
                since = 0
                continue
            warm_up = self.sampler is Sampler.PNDM and not moves
            moves.append(self._step(here, since))
            if warm_up:
                moves.append(self._repeat(here, then=here + 1))
            since += 1
        return Schedule(self.levels[0], tuple(moves))

    def _step(self, here: int, since: int) -> Call:
        match self.sampler:
            case Sampler.DPMPP:
                return self._dpmpp(here, since)
            case Sampler.UNIPC:
                return self._unipc(here, since)
            case Sampler.DDIM:
                return self._adams_bashforth(here, highest=1)
            case Sampler.OVTRACK if since == 1:
                # The original's defect: this call redoes the interval before, though the loop has moved on.
                return self._repeat(here - 1, then=here + 1)
            case _:
                return self._adams_bashforth(here, highest=4)

    # Samplers that combine noise predictions: DDIM (Song et al. 2021) and PLMS (Liu et al. 2022)

    def _adams_bashforth(self, here: int, *, highest: int) -> Call:
        """One interval along the last predictions, as many as there are, up to `highest`. DDIM is the first order."""
        self.history.insert(0, self.made)
        shares = _ADAMS_BASHFORTH[min(len(self.history), highest) - 1]
        kept, weight = _transfer(self.levels[here], self.levels[here + 1])
        ages = (self.made - made for made in self.history)
        return self._call(
            here + 1,
            timestep=self.timesteps[here],
            output=self._as_noise(self.levels[here]),
            correct=Combination(latents=1.0),
            predict=Combination(
                latents=kept, outputs=tuple((age, share * weight) for age, share in zip(ages, shares, strict=False))
            ),
        )

    def _repeat(self, interval: int, *, then: int) -> Call:
        """PLMS's second call: the first interval again, with the mean of the predictions at both its ends."""
        end = self.levels[interval + 1]
        kept, weight = _transfer(self.levels[interval], end)
        return self._call(
            then,
            timestep=self.timesteps[interval + 1],
            output=self._as_noise(end),
            correct=Combination(saved=1.0),
            predict=Combination(latents=kept, outputs=((0, weight / 2), (1, weight / 2))),
        )

    # Samplers that combine predictions of the original

    def _dpmpp(self, here: int, since: int) -> Call:
        """DPM-Solver++ (2M), Lu et al. 2022; the last interval is of first order, as it ends without noise."""
        start, end = self.levels[here], self.levels[here + 1]
        kept, weight = _towards_original(start, end)
        outputs: tuple[tuple[int, float], ...] = ((0, weight),)
        if since > 0 and end.noise:
            before = self.levels[here - 1]
            slope = 0.5 * (end.ratio - start.ratio) / (start.ratio - before.ratio)
            outputs = ((0, weight * (1 + slope)), (1, -weight * slope))
        return self._call(
            here + 1,
            timestep=self.timesteps[here],
            output=self._as_original(start),
            correct=Combination(latents=1.0),
            predict=Combination(latents=kept, outputs=outputs),
        )

    def _unipc(self, here: int, since: int) -> Call:
        """UniPC of order two with B(h) = e^h - 1, Zhao et al. 2023: each call first corrects the step before it."""
        intervals = len(self.levels) - 1
        start, end = self.levels[here], self.levels[here + 1]
        correct = Combination(latents=1.0)
        if since > 0:
            order = min(2, intervals - (here - 1), since)
            correct = self._unipc_corrector(here, order)
        kept, weight = _towards_original(start, end)
        outputs: tuple[tuple[int, float], ...] = ((0, weight),)
        if min(2, intervals - here, since + 1) == 2:
            slope = 0.5 * (end.ratio - start.ratio) / (start.ratio - self.levels[here - 1].ratio)
            outputs = ((0, weight * (1 + slope)), (1, -weight * slope))
        return self._call(
            here + 1,
            timestep=self.timesteps[here],
            output=self._as_original(start),
            correct=correct,
            predict=Combination(latents=kept, outputs=outputs),
        )

    def _unipc_corrector(self, here: int, order: int) -> Combination:
        """The step to `here` once more, now that the output at `here` (age 0) is known."""
        start, end = self.levels[here - 1], self.levels[here]
        kept, weight = _towards_original(start, end)
        if order == 1:
            return Combination(saved=kept, outputs=((0, weight / 2), (1, weight / 2)))
        step = start.ratio - end.ratio  # -h
        back = (self.levels[here - 2].ratio - start.ratio) / -step
        phi = math.expm1(step)
        first = (phi / step - 1) / phi
        second = 2 * ((phi / step - 1) / step - 0.5) / phi
        older = (first - second) / (1 - back)
        newer = first - older
        weights = (newer, 1 - newer - older / back, older / back)
        return Combination(saved=kept, outputs=tuple((age, weight * share) for age, share in enumerate(weights)))

    # Shared

    def _as_noise(self, at: Level) -> tuple[float, float]:
        return (0.0, 1.0) if self.prediction == "epsilon" else (at.noise, at.signal)

    def _as_original(self, at: Level) -> tuple[float, float]:
        if self.prediction == "epsilon":
            return 1 / at.signal, -at.noise / at.signal
        return at.signal, -at.noise

    def _call(
        self, then: int, *, timestep: int, output: tuple[float, float], correct: Combination, predict: Combination
    ) -> Call:
        self.made += 1
        return Call(
            timestep=timestep,
            output=output,
            correct=correct,
            predict=predict,
            next_timestep=self.timesteps[then],
            next_level=self.levels[then],
            blend=self.timesteps[then] > self.blend_until,
        )

    def _renoise(self, here: int, there: int) -> Renoise:
        low, high = self.levels[here], self.levels[there]
        scale = high.signal / low.signal
        return Renoise(
            scale=scale,
            noise=math.sqrt(max(0.0, high.noise**2 - (scale * low.noise) ** 2)),
            next_timestep=self.timesteps[there],
            next_level=high,
            blend=self.timesteps[there] > self.blend_until,
        )


_ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


def _walk(intervals: int, options: DiffusionOptions) -> Iterator[tuple[int, int]]:
    """The way through the levels as (from, to): down one at a time, up to resample (Lugmayr et al. 2022)."""
    length = options.jump_length
    jumps_left = {
        intervals - remaining: options.jump_n_sample - 1 for remaining in range(0, intervals - length, length)
    }
    here = 0
    while here < intervals:
        for again in range(options.n_sample):
            if again:
                yield here + 1, here
            yield here, here + 1
        here += 1
        if jumps_left.get(here, 0) > 0:
            jumps_left[here] -= 1
            yield here, here - length
            here -= length


def _transfer(start: Level, end: Level) -> tuple[float, float]:
    """(share of the latents, weight of the noise prediction) from `start` to `end`: PLMS's and DDIM's formula."""
    kept = end.signal / start.signal
    return kept, end.noise - kept * start.noise


def _towards_original(start: Level, end: Level) -> tuple[float, float]:
    """(share of the latents, weight of the predicted original) from `start` to `end`, for a constant prediction."""
    kept = end.noise / start.noise
    return kept, end.signal - kept * start.signal
