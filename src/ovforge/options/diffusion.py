"""Options of the engine `diffusion`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options import layout

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


@dataclass(frozen=True)
class DiffusionOptions:
    """Options of the engine `diffusion`.

    Attributes:
        model: local folder in diffusers' layout with a Stable Diffusion 1.x or 2.x model.
        device: `auto` (the first GPU if there is one), `cpu`, `cuda`, `cuda:1`. A device given by the run's
            executor comes before it.
        batch_size: images a batch; None finds it out, once per padded size.
        steps: sampling steps over the whole noise range.
        strength: share of the noise range that is run, above 0 and up to 1.
        guidance: weight of classifier-free guidance; 0 or 1 means one conditional pass per step.
        guidance_until: share of the U-Net calls that are guided; below 1 is faster and lossy.
        blend_until: kept latents are blended in while the next timestep is above this one.
        n_sample, jump_length, jump_n_sample: RePaint's resampling. Every interval is done `n_sample` times, and
            after every `jump_length` intervals the latents go back up, until that stretch was done
            `jump_n_sample` times.
        no_captions: one unguided pass per step with an empty prompt.
        compile: torch.compile the U-Net for the padded sizes that most COCO images have.
        vae_tiling: encode and decode in tiles: less memory, faint differences at the seams.
        cpu_offload: each component is on the GPU only while it runs.
        cpu_threads: threads per worker when the networks run on the CPU; None: one per core. Their number changes
            the last bits of an image, so it is fixed here and does not follow the number of workers.
        allow_pickle: load weights from pickle files (`.bin`) where there are no safetensors.
        width, height: an image is scaled to fit into this size before it is repainted.
    """

    model: Path = DEFAULT_MODEL
    device: str = "auto"
    batch_size: int | None = None
    steps: int = 50
    strength: float = 0.75
    guidance: float = 7.5
    guidance_until: float = 1.0
    scheduler: Sampler = Sampler.PNDM
    blend_until: int = 20
    n_sample: int = 1
    jump_length: int = 1
    jump_n_sample: int = 1
    precision: Precision = Precision.AUTO
    foreground: Foreground = Foreground.GENERATED
    no_captions: bool = False
    compile: bool = False
    vae_tiling: bool = False
    cpu_offload: bool = False
    cpu_threads: int | None = None
    allow_pickle: bool = False
    width: int = 768
    height: int = 512

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: names the option, its value and the range.
        """
        _within("--steps", self.steps, 1, 1000)
        _within("--strength", self.strength, 0.0, 1.0, open_below=True)
        _within("--guidance", self.guidance, 0.0, 100.0)
        _within("--guidance-until", self.guidance_until, 0.0, 1.0)
        _within("--blend-until", self.blend_until, 0, 1000)
        _within("--n-sample", self.n_sample, 1, 100)
        _within("--jump-length", self.jump_length, 1, 1000)
        _within("--jump-n-sample", self.jump_n_sample, 1, 100)
        _within("--working-size", self.width, 64, 8192)
        _within("--working-size", self.height, 64, 8192)
        if self.batch_size is not None:
            _within("--batch-size", self.batch_size, 1, 1024)
        if self.scheduler is Sampler.OVTRACK and self.resamples:
            raise InputError(
                "--scheduler=ovtrack goes straight through: --n-sample=N and --jump-n-sample=N must be 1 with it",
                hint="use --scheduler=pndm for resampling",
            )

        if self.cpu_threads is not None:
            _within("--cpu-threads", self.cpu_threads, 1, 1024)

    @property
    def resamples(self) -> bool:
        """Whether latents ever go back up to a higher noise level."""
        return self.n_sample > 1 or self.jump_n_sample > 1

    @property
    def guided(self) -> bool:
        """Whether any U-Net call is guided."""
        return not self.no_captions and self.guidance not in (0.0, 1.0) and self.guidance_until > 0


def _within(name: str, value: float, low: float, high: float, *, open_below: bool = False) -> None:
    # Written so that NaN fails too.
    if low <= value <= high and not (open_below and value == low):
        return
    span = f"above {low:g} and at most {high:g}" if open_below else f"from {low:g} to {high:g}"
    raise InputError(f"{name} {value}: must be {span}")
