"""Options of the engine `diffusion`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from ovforge.errors import InputError
from ovforge.options import layout
from ovforge.options.base import Options, option
from ovforge.options.labels import Repaint

DEFAULT_MODEL = layout.DIFFUSION_MODEL


class Sampler(str, Enum):
    """How latents go from one noise level to the next.

    `ovtrack` is that of Stable Diffusion 1.x and 2.x alone; models of flow matching have `model` alone.
    """

    PNDM = "pndm"
    """PLMS with its warm-up as it was meant: the first interval is done twice, then the loop moves on."""
    OVTRACK = "ovtrack"
    """The original's sampling exactly, its warm-up defect included."""
    DDIM = "ddim"
    DPMPP = "dpm++"
    """DPM-Solver++ (2M): about as good in 20 steps as PNDM in 50."""
    UNIPC = "unipc"
    MODEL = "model"
    """The sampler that the model's folder names, with its settings."""
    EULER = "euler"
    """Euler's method from the noisiest timestep on (trailing): for Turbo and Lightning weights."""
    LCM = "lcm"
    """For latent consistency models, and LoRA files of them."""
    TCD = "tcd"
    """For trajectory consistency distillation, such as Hyper-SD's."""


class Preset(str, Enum):
    """A choice of steps, sampler, guidance and cache that a family of models comes with."""

    FAST = "fast"
    """Lossy."""
    BALANCED = "balanced"
    BEST = "best"


class Cache(str, Enum):
    """What of a transformer's blocks is computed anew at every step."""

    NONE = "none"
    """All of it."""
    TAYLOR = "taylor"
    """TaylorSeer (Liu et al. 2025): every third step in full, those between extrapolated. Lossy."""


class Precision(str, Enum):
    """The number format of U-Net, VAE and text encoder; latents and the sampler's arithmetic are always float32."""

    AUTO = "auto"
    """fp16 on a GPU, fp32 on the CPU."""
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


class Foreground(str, Enum):
    """Where the pixels of the kept objects come from."""

    GENERATED = "generated"
    """From the decoded latents, as in the original: kept, but through the VAE."""
    EXACT = "exact"
    """The warped objects' own pixels, pasted back through a feathered mask after decoding."""


PANEL = "Engine diffusion"


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file and how much of it is added."""

    file: Path
    weight: float = 1.0


def parse_lora(text: str) -> LoraFile:
    """`FILE` or `FILE:WEIGHT`.

    Raises:
        InputError: neither, or a weight that is no number or 0.
    """
    file, colon, end = text.rpartition(":")
    try:
        weight = float(end) if colon and file else None
    except ValueError:
        weight = None
    if weight is None:
        file, weight = text, 1.0
    if not file or not math.isfinite(weight) or weight == 0:
        raise InputError(f"--lora={text}: must be FILE or FILE:WEIGHT, a weight other than 0")
    return LoraFile(Path(file), weight)


def parse_batch_size(text: str) -> int | None:
    """A number, or None for `auto`.

    Raises:
        InputError: neither.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--batch-size={text}: must be a number from 1, or auto")
    return int(text)


def parse_working_size(text: str) -> tuple[int, int]:
    """(width, height) from `768x512`.

    Raises:
        InputError: not of this form.
    """
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise InputError(f"--working-size={text}: must be WIDTHxHEIGHT in pixels, such as 768x512")
    return int(width), int(height)


@dataclass(frozen=True)
class DiffusionOptions(Options):
    """Options of the engine `diffusion`.

    Resampling (RePaint): every interval is done `n_sample` times, and after every `jump_length` intervals the latents
    go back up, until that stretch was done `jump_n_sample` times.

    Raises:
        InputError: names the option, its value and the range.
    """

    model: Path = option(
        DEFAULT_MODEL, "Folder of a model in diffusers' layout, of a family that `docs/engines.md` lists.", panel=PANEL
    )
    device: str = option("auto", "cpu, cuda, cuda:1; auto: a GPU if there is one.", panel=PANEL)
    batch_size: int | None = option(
        None,
        "Images per batch, or auto: as many as fit, up to 8. Changes the last bits.",
        at_least=1,
        at_most=1024,
        parse=parse_batch_size,
        shown="auto",
        panel=PANEL,
    )
    preset: Preset | None = option(
        None,
        "Steps, sampler, guidance and cache of the model's family together; fast is lossy. Other options come first.",
        panel=PANEL,
    )
    steps: int | None = option(
        None,
        "Sampling steps over the whole noise range.",
        at_least=1,
        at_most=1000,
        shown="the family's: 50 for Stable Diffusion 1.x and 2.x",
        panel=PANEL,
    )
    repaint: Repaint = option(
        Repaint.BACKGROUND,
        "background: all but the kept objects, as OVTrack does. holes: only what the motion uncovered; all else stays "
        "as it is, and every object is labelled.",
        panel=PANEL,
    )
    strength: float | None = option(
        None,
        "Share of the noise range that is run: 1 forgets what the image had there.",
        above=0,
        at_most=1,
        shown="0.75; 1 with --repaint holes, and for FLUX.1 Fill and Kontext",
        panel=PANEL,
    )
    guidance: float | None = option(
        None,
        "How closely the prompt is followed; 0 or 1: one pass per step, twice as fast.",
        at_least=0,
        at_most=100,
        shown="the family's: 7.5 for Stable Diffusion 1.x and 2.x",
        panel=PANEL,
    )
    guidance_until: float = option(
        1.0, "Lossy: guide only this first share of the U-Net calls.", at_least=0, at_most=1, panel=PANEL
    )
    scheduler: Sampler | None = option(
        None,
        "The sampler; ovtrack: the original's, exactly; model: the folder's own. dpm++ does with 20 steps (lossy).",
        shown="pndm for Stable Diffusion 1.x and 2.x, model for others",
        panel=PANEL,
    )
    cache: Cache | None = option(
        None,
        "Lossy if taylor: extrapolate a transformer's blocks between every third step.",
        shown="none",
        panel=PANEL,
    )
    lora: tuple[str, ...] = option(
        (),
        "A LoRA file of the model's family, a .safetensors, and its weight if it is not 1; repeatable.",
        metavar="FILE[:WEIGHT]",
        panel=PANEL,
    )
    blend_until: int = option(
        20,
        "Keep the objects' latents while the next timestep is above this one.",
        at_least=0,
        at_most=1000,
        panel=PANEL,
    )
    n_sample: int = option(
        1, "Do every step so many times (RePaint's resampling).", at_least=1, at_most=100, panel=PANEL
    )
    jump_length: int = option(1, "Steps per stretch that is done again.", at_least=1, at_most=1000, panel=PANEL)
    jump_n_sample: int = option(1, "How often each stretch is done.", at_least=1, at_most=100, panel=PANEL)
    precision: Precision = option(Precision.AUTO, "Of the networks; auto: fp16 on a GPU, fp32 on the CPU.", panel=PANEL)
    foreground: Foreground = option(
        Foreground.GENERATED, "The objects' pixels: generated, through the VAE; exact, pasted back.", panel=PANEL
    )
    no_captions: bool = option(
        False, "No caption file; with diffusion an empty prompt and one unguided pass per step.", panel=PANEL
    )
    compile: bool = option(
        False, "torch.compile the U-Net for the commonest sizes: a minute each, then faster.", panel=PANEL
    )
    vae_tiling: bool = option(False, "Less memory; faint differences at the tiles' seams.", panel=PANEL)
    cpu_offload: bool = option(False, "Each network on the GPU only while it runs.", panel=PANEL)
    cpu_threads: int | None = option(
        None,
        "Threads per worker on the CPU, the same for any number of workers. Changes the last bits.",
        at_least=1,
        at_most=1024,
        shown="one per core",
        panel=PANEL,
    )
    allow_pickle: bool = option(False, "Load weights from .bin files where there are no safetensors.", panel=PANEL)
    width: int | None = option(
        None,
        "The size that images are scaled to fit before they are repainted.",
        "--working-size",
        at_least=64,
        at_most=8192,
        parse=parse_working_size,
        also=("height",),
        shown="the family's: 768x512 for Stable Diffusion 1.x and 2.x",
        metavar="WIDTHxHEIGHT",
        panel=PANEL,
    )
    height: int | None = option(None, "See width.", "--working-size", at_least=64, at_most=8192, hidden=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for text in self.lora:
            parse_lora(text)
        if self.scheduler is Sampler.OVTRACK and self.resamples:
            raise InputError(
                "--scheduler=ovtrack goes straight through: --n-sample=N and --jump-n-sample=N must be 1 with it",
                hint="use --scheduler=pndm for resampling",
            )

    @property
    def lora_files(self) -> tuple[LoraFile, ...]:
        """The LoRA files with their weights."""
        return tuple(parse_lora(text) for text in self.lora)

    @property
    def noise_share(self) -> float:
        """The share of the noise range that is run: `strength`, or what it is where it was not given."""
        if self.strength is not None:
            return self.strength
        return 1.0 if self.repaint is Repaint.HOLES else 0.75

    @property
    def resamples(self) -> bool:
        """Whether latents ever go back up to a higher noise level."""
        return self.n_sample > 1 or self.jump_n_sample > 1

    def settled(self, defaults: Defaults, presets: Mapping[Preset, Mapping[str, Any]] | None = None) -> SettledOptions:
        """These options with nothing left open: what was not given is the preset's, or else the family's default."""
        if isinstance(self, SettledOptions):
            return self
        chosen = vars(defaults) | ({"strength": 1.0} if self.repaint is Repaint.HOLES else {})
        chosen |= dict((presets or {}).get(self.preset, {}) if self.preset else {})
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        return SettledOptions(**own | {name: value for name, value in chosen.items() if own[name] is None})


@dataclass(frozen=True)
class Defaults:
    """What a family of models chooses where nothing is given."""

    steps: int
    guidance: float
    scheduler: Sampler
    strength: float = 0.75
    cache: Cache = Cache.NONE
    width: int = 768
    height: int = 512


STABLE_DIFFUSION = Defaults(steps=50, guidance=7.5, scheduler=Sampler.PNDM)
"""Of Stable Diffusion 1.x and 2.x: OVTrack's own."""


def _settled(name: str) -> Any:
    """The option of this name, with a default."""
    return field(default=getattr(STABLE_DIFFUSION, name), metadata=DiffusionOptions.__dataclass_fields__[name].metadata)


@dataclass(frozen=True)
class SettledOptions(DiffusionOptions):
    """Options with nothing left open, made by `DiffusionOptions.settled`."""

    steps: int = _settled("steps")
    strength: float = _settled("strength")
    guidance: float = _settled("guidance")
    scheduler: Sampler = _settled("scheduler")
    cache: Cache = _settled("cache")
    width: int = _settled("width")
    height: int = _settled("height")

    @property
    def guided(self) -> bool:
        """Whether any call of the network is guided by the empty prompt."""
        return not self.no_captions and self.guidance not in (0.0, 1.0) and self.guidance_until > 0
