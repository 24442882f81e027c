"""The options of the engine `diffusion`, for `pairs generate`: one `Annotated` type each, ready to be used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ovforge.errors import InputError
from ovforge.options.diffusion import DiffusionOptions, Foreground, Precision, Sampler

PANEL = "Engine diffusion"


def _option(*names: str, help: str) -> object:
    return typer.Option(*names, help=help, rich_help_panel=PANEL)


ModelOption = Annotated[
    Path, _option("--model", help="Folder of a Stable Diffusion 1.x or 2.x model in diffusers' layout.")
]
DeviceOption = Annotated[str, _option("--device", help="cpu, cuda, cuda:1; auto: a GPU if there is one.")]
BatchSizeOption = Annotated[
    str, _option("--batch-size", help="Pictures a batch, or auto: as many as fit, up to 8. Changes the last bits.")
]
StepsOption = Annotated[int, _option("--steps", help="Sampling steps over the whole noise range.")]
StrengthOption = Annotated[
    float, _option("--strength", help="Share of the noise range that is run: 1 forgets the picture's background.")
]
GuidanceOption = Annotated[
    float, _option("--guidance", help="How closely the prompt is followed; 0 or 1: one pass per step, twice as fast.")
]
GuidanceUntilOption = Annotated[
    float, _option("--guidance-until", help="Lossy: guide only this first share of the U-Net calls.")
]
SchedulerOption = Annotated[
    Sampler,
    _option("--scheduler", help="The sampler; ovtrack: the original's, exactly. dpm++ does with 20 steps (lossy)."),
]
BlendUntilOption = Annotated[
    int, _option("--blend-until", help="Keep the objects' latents while the next timestep is above this one.")
]
NSampleOption = Annotated[int, _option("--n-sample", help="Do every step so many times (RePaint's resampling).")]
JumpLengthOption = Annotated[int, _option("--jump-length", help="Steps per stretch that is done again.")]
JumpNSampleOption = Annotated[int, _option("--jump-n-sample", help="How often each stretch is done.")]
PrecisionOption = Annotated[
    Precision, _option("--precision", help="Of the networks; auto: fp16 on a GPU, fp32 on the CPU.")
]
ForegroundOption = Annotated[
    Foreground,
    _option("--foreground", help="The objects' pixels: generated, through the VAE; exact, pasted back."),
]
NoCaptionsOption = Annotated[bool, _option("--no-captions", help="An empty prompt and one unguided pass per step.")]
CompileOption = Annotated[
    bool, _option("--compile", help="torch.compile the U-Net for the commonest sizes: a minute each, then faster.")
]
VaeTilingOption = Annotated[bool, _option("--vae-tiling", help="Less memory; faint differences at the tiles' seams.")]
CpuOffloadOption = Annotated[bool, _option("--cpu-offload", help="Each network on the GPU only while it runs.")]
AllowPickleOption = Annotated[bool, _option("--allow-pickle", help="Load weights from .bin files where need be.")]
WorkingSizeOption = Annotated[
    str, _option("--working-size", help="WIDTHxHEIGHT that pictures are scaled to fit before they are repainted.")
]

DEFAULTS = DiffusionOptions()
DEFAULT_WORKING_SIZE = f"{DEFAULTS.width}x{DEFAULTS.height}"


def parse_batch_size(text: str) -> int | None:
    """A number, or None for `auto`.

    Raises:
        InputError: neither.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--batch-size {text}: must be a number from 1, or auto")
    return int(text)


def parse_working_size(text: str) -> tuple[int, int]:
    """(width, height) from `768x512`.

    Raises:
        InputError: not of this form.
    """
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise InputError(f"--working-size {text}: must be WIDTHxHEIGHT in pixels, such as 768x512")
    return int(width), int(height)
