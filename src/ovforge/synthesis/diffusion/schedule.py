"""What a run of a sampler consists of, as plain numbers, and what the model was trained with.

Notation: at a noise level with `alpha_bar`, a latent is sqrt(alpha_bar) * original + sqrt(1 - alpha_bar) * noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ovforge.errors import InputError


@dataclass(frozen=True)
class Level:
    """A noise level: the share of the original and of the noise in a latent."""

    signal: float
    noise: float

    @property
    def ratio(self) -> float:
        """Half the log signal-to-noise ratio, lambda in the DPM-Solver papers; infinite without noise."""
        return math.log(self.signal / self.noise) if self.noise else math.inf


@dataclass(frozen=True)
class Combination:
    """latents * `latents` + saved * `saved` + the sum of output * weight over `outputs`.

    `outputs` are pairs (age, weight): age 0 is the output of this call, 1 that of the call before.
    """

    latents: float = 0.0
    saved: float = 0.0
    outputs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Call:
    """One U-Net call and what is made of it.

    The call's output is `output[0]` * latents + `output[1]` * prediction. `correct` gives the latents that the step
    starts from, which are saved for later calls; `predict` leads from them to the next latents, its `latents` being
    those of `correct`.
    """

    timestep: int
    output: tuple[float, float]
    correct: Combination
    predict: Combination
    next_timestep: int
    next_level: Level
    blend: bool


@dataclass(frozen=True)
class Renoise:
    """Back up to a higher noise level: latents * `scale` + fresh noise * `noise` (RePaint's resampling)."""

    scale: float
    noise: float
    next_timestep: int
    next_level: Level
    blend: bool


@dataclass(frozen=True)
class Schedule:
    """A whole run: the level of the start latents, then the moves in order."""

    start: Level
    moves: tuple[Call | Renoise, ...]

    @property
    def calls(self) -> tuple[Call, ...]:
        """The U-Net calls in order."""
        return tuple(move for move in self.moves if isinstance(move, Call))

    @property
    def outputs_kept(self) -> int:
        """How many of the last outputs the moves look back at."""
        ages = (age for call in self.calls for part in (call.correct, call.predict) for age, _ in part.outputs)
        return 1 + max(ages, default=0)


@dataclass(frozen=True)
class NoiseScale:
    """What a model was trained with, from its `scheduler/scheduler_config.json`.

    Attributes:
        alpha_bars: share of the original's variance left at each training timestep.
        prediction: what the U-Net predicts, `epsilon` (the noise) or `v_prediction`.
        offset: added to evenly spaced timesteps; 1 in Stable Diffusion.
        last_alpha_bar: where PLMS and DDIM end: `alpha_bars[0]` in Stable Diffusion.
    """

    alpha_bars: tuple[float, ...]
    prediction: str = "epsilon"
    offset: int = 1
    last_alpha_bar: float = 1.0

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, where: str) -> NoiseScale:
        """Read a scheduler's configuration; `where` names it in errors.

        Raises:
            InputError: a kind of noise scale or prediction that is not supported.
        """
        config = {key: value for key, value in config.items() if value is not None}  # null: as if it were not there
        for name in ("num_train_timesteps", "beta_start", "beta_end", "steps_offset"):
            value = config.get(name, 0)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"{where}: {name} {value!r} is not a number", hint=_SUPPORTED)
        count = int(config.get("num_train_timesteps", 1000))
        first, last = float(config.get("beta_start", 0.00085)), float(config.get("beta_end", 0.012))
        kind = config.get("beta_schedule", "scaled_linear")
        prediction = str(config.get("prediction_type", "epsilon"))
        if config.get("trained_betas") or kind not in ("linear", "scaled_linear") or count < 2:
            raise InputError(f"{where}: beta_schedule {kind!r} is not supported", hint=_SUPPORTED)
        if config.get("rescale_betas_zero_snr"):
            raise InputError(f"{where}: rescale_betas_zero_snr is not supported", hint=_SUPPORTED)
        if prediction not in ("epsilon", "v_prediction"):
            raise InputError(f"{where}: prediction_type {prediction!r} is not supported", hint=_SUPPORTED)
        if kind == "scaled_linear":
            root, step = math.sqrt(first), (math.sqrt(last) - math.sqrt(first)) / (count - 1)
            betas = [(root + step * i) ** 2 for i in range(count)]
        else:
            betas = [first + (last - first) * i / (count - 1) for i in range(count)]
        alpha_bars, product = [], 1.0
        for beta in betas:
            product *= 1.0 - beta
            alpha_bars.append(product)
        return cls(
            tuple(alpha_bars),
            prediction,
            int(config.get("steps_offset", 1)),
            1.0 if config.get("set_alpha_to_one", False) else alpha_bars[0],
        )

    def level(self, timestep: int) -> Level:
        """The noise level of a training timestep."""
        return level_at(self.alpha_bars[timestep])


_SUPPORTED = "ovforge runs the noise scales of Stable Diffusion 1.x and 2.x: linear or scaled_linear betas"


def level_at(alpha_bar: float) -> Level:
    """The level at which `alpha_bar` of the original's variance is left."""
    return Level(math.sqrt(alpha_bar), math.sqrt(1.0 - alpha_bar))
