"""The options of the engine `diffusion` for `pairs generate`: an `Annotated` type each, one decorator for all."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

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
    str, _option("--batch-size", help="Images a batch, or auto: as many as fit, up to 8. Changes the last bits.")
]
StepsOption = Annotated[int, _option("--steps", help="Sampling steps over the whole noise range.")]
StrengthOption = Annotated[
    float, _option("--strength", help="Share of the noise range that is run: 1 forgets the image's background.")
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
NoCaptionsOption = Annotated[
    bool,
    _option("--no-captions", help="No caption file; here also an empty prompt, one unguided pass per step."),
]
CompileOption = Annotated[
    bool, _option("--compile", help="torch.compile the U-Net for the commonest sizes: a minute each, then faster.")
]
VaeTilingOption = Annotated[bool, _option("--vae-tiling", help="Less memory; faint differences at the tiles' seams.")]
CpuOffloadOption = Annotated[bool, _option("--cpu-offload", help="Each network on the GPU only while it runs.")]
CpuThreadsOption = Annotated[
    int | None, _option("--cpu-threads", help="Threads per worker on the CPU; one per core. Changes the last bits.")
]
AllowPickleOption = Annotated[bool, _option("--allow-pickle", help="Load weights from .bin files where need be.")]
WorkingSizeOption = Annotated[
    str, _option("--working-size", help="WIDTHxHEIGHT that images are scaled to fit before they are repainted.")
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


_OPTIONS: dict[str, tuple[Any, Any]] = {
    "model": (ModelOption, DEFAULTS.model),
    "device": (DeviceOption, DEFAULTS.device),
    "batch_size": (BatchSizeOption, "auto"),
    "steps": (StepsOption, DEFAULTS.steps),
    "strength": (StrengthOption, DEFAULTS.strength),
    "guidance": (GuidanceOption, DEFAULTS.guidance),
    "guidance_until": (GuidanceUntilOption, DEFAULTS.guidance_until),
    "scheduler": (SchedulerOption, DEFAULTS.scheduler),
    "blend_until": (BlendUntilOption, DEFAULTS.blend_until),
    "n_sample": (NSampleOption, DEFAULTS.n_sample),
    "jump_length": (JumpLengthOption, DEFAULTS.jump_length),
    "jump_n_sample": (JumpNSampleOption, DEFAULTS.jump_n_sample),
    "precision": (PrecisionOption, DEFAULTS.precision),
    "foreground": (ForegroundOption, DEFAULTS.foreground),
    "no_captions": (NoCaptionsOption, DEFAULTS.no_captions),
    "compile": (CompileOption, DEFAULTS.compile),
    "vae_tiling": (VaeTilingOption, DEFAULTS.vae_tiling),
    "cpu_offload": (CpuOffloadOption, DEFAULTS.cpu_offload),
    "cpu_threads": (CpuThreadsOption, DEFAULTS.cpu_threads),
    "allow_pickle": (AllowPickleOption, DEFAULTS.allow_pickle),
    "working_size": (WorkingSizeOption, DEFAULT_WORKING_SIZE),
}


def with_diffusion_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command all options of the engine; it gets them as one `diffusion: DiffusionOptions`."""
    signature = inspect.signature(function, eval_str=True)

    @functools.wraps(function)
    def run(*arguments: Any, **given: Any) -> Any:
        own = {name: given.pop(name) for name in _OPTIONS}
        width, height = parse_working_size(own.pop("working_size"))
        batch_size = parse_batch_size(own.pop("batch_size"))
        options = DiffusionOptions(**own, batch_size=batch_size, width=width, height=height)
        return function(*arguments, **given, diffusion=options)

    kept = [parameter for name, parameter in signature.parameters.items() if name != "diffusion"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _OPTIONS.items()
    ]
    run.__signature__ = signature.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
    del run.__wrapped__  # the command line would read the original's signature through it
    return run


def refuse_diffusion_options(options: DiffusionOptions, engine: str) -> None:
    """Refuse options of the engine `diffusion` that were given to another engine.

    Raises:
        InputError: names the option.
    """
    for field in fields(options):
        if field.name == "no_captions":  # which every engine takes
            continue
        if getattr(options, field.name) != getattr(DEFAULTS, field.name):
            name = {"width": "working-size", "height": "working-size"}.get(field.name, field.name.replace("_", "-"))
            raise InputError(f"--{name} belongs to --engine=diffusion, not to --engine={engine}")
