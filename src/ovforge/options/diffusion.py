"""Options of the engine `diffusion`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options import layout
from ovforge.options.base import Options, option
from ovforge.options.labels import Repaint

DEFAULT_MODEL = layout.DIFFUSION_MODEL


class Sampler(str, Enum):
    """How latents go from one noise level to the next."""

    PNDM = "pndm"
    """PLMS with its warm-up as it was meant: the first interval is done twice, then the loop moves on."""
    OVTRACK = "ovtrack"
    """The original's sampling exactly, its warm-up defect included."""
    DDIM = "ddim"
    DPMPP = "dpm++"
    """DPM-Solver++ (2M): about as good in 20 steps as PNDM in 50."""
    UNIPC = "unipc"


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
        DEFAULT_MODEL, "Folder of a Stable Diffusion 1.x or 2.x model in diffusers' layout.", panel=PANEL
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
    steps: int = option(50, "Sampling steps over the whole noise range.", at_least=1, at_most=1000, panel=PANEL)
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
        shown="0.75; 1 with --repaint holes",
        panel=PANEL,
    )
    guidance: float = option(
        7.5,
        "How closely the prompt is followed; 0 or 1: one pass per step, twice as fast.",
        at_least=0,
        at_most=100,
        panel=PANEL,
    )
    guidance_until: float = option(
        1.0, "Lossy: guide only this first share of the U-Net calls.", at_least=0, at_most=1, panel=PANEL
    )
    scheduler: Sampler = option(
        Sampler.PNDM,
        "The sampler; ovtrack: the original's, exactly. dpm++ does with 20 steps (lossy).",
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
    width: int = option(
        768,
        "The size that images are scaled to fit before they are repainted.",
        "--working-size",
        at_least=64,
        at_most=8192,
        parse=parse_working_size,
        also=("height",),
        shown="768x512",
        metavar="WIDTHxHEIGHT",
        panel=PANEL,
    )
    height: int = option(512, "See width.", "--working-size", at_least=64, at_most=8192, hidden=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scheduler is Sampler.OVTRACK and self.resamples:
            raise InputError(
                "--scheduler=ovtrack goes straight through: --n-sample=N and --jump-n-sample=N must be 1 with it",
                hint="use --scheduler=pndm for resampling",
            )

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

    @property
    def guided(self) -> bool:
        """Whether any U-Net call is guided."""
        return not self.no_captions and self.guidance not in (0.0, 1.0) and self.guidance_until > 0
