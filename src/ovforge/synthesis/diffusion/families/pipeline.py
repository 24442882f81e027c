"""Families that are run by a pipeline of diffusers: its own call, with prompts encoded alone and a generator per image.

What such a family adds is small: which pipeline, how a prompt becomes the call's arguments, which arguments the options
become. Batches, retries, kept pixels and the cache of prompts are `pipeline_repainter`'s.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ovforge.errors import InputError
from ovforge.options.diffusion import Sampler, SettledOptions
from ovforge.synthesis.diffusion.families.base import Configs, Family

if TYPE_CHECKING:
    import torch

    from ovforge.synthesis.diffusion.model_folder import ModelReport
    from ovforge.synthesis.repaint import Repainter

Row = dict[str, "torch.Tensor"]
"""Arguments of a pipeline's call that come from one prompt, each with one row."""

SCHEDULERS: dict[Sampler, tuple[str, dict[str, Any]]] = {
    Sampler.PNDM: ("PNDMScheduler", {"skip_prk_steps": True}),
    Sampler.DDIM: ("DDIMScheduler", {}),
    Sampler.DPMPP: ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    Sampler.UNIPC: ("UniPCMultistepScheduler", {}),
    Sampler.EULER: ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    Sampler.LCM: ("LCMScheduler", {}),
    Sampler.TCD: ("TCDScheduler", {}),
}
"""Sampler -> the class of diffusers, made from the folder's configuration, and what is set in it."""

NOISE_SCHEDULERS = frozenset(
    {
        "DDIMScheduler",
        "DEISMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "EulerAncestralDiscreteScheduler",
        "EulerDiscreteScheduler",
        "HeunDiscreteScheduler",
        "LCMScheduler",
        "LMSDiscreteScheduler",
        "PNDMScheduler",
        "TCDScheduler",
        "UniPCMultistepScheduler",
    }
)
"""Schedulers of models that predict noise which draw no random numbers but from the generators that they are given."""

_OWN_LOOP_ONLY = ("guidance_until", "blend_until", "n_sample", "jump_length", "jump_n_sample")


class PipelineFamily(Family):
    """A family whose images are made by the call of a pipeline."""

    samplers: ClassVar[tuple[Sampler, ...]]
    schedulers: ClassVar[frozenset[str]]
    """Classes that the folder's own scheduler may be of."""
    most_at_once: ClassVar[int | None] = None
    """Images per call, where prompts of other lengths in a batch would change an image."""

    @abc.abstractmethod
    def multiple(self, configs: Configs) -> int:
        """An image's sides must be multiples of this."""

    def cell(self, configs: Configs) -> int:
        """Pixels per side of the cells that are kept or repainted as a whole."""
        return vae_factor(configs)

    def settings(self, configs: Configs) -> dict[str, Any]:
        """What the pipeline is made with beside its components."""
        del configs
        return {}

    @abc.abstractmethod
    def encode(self, pipe: Any, prompt: str, *, guided: bool) -> Row:
        """The call's arguments for one prompt, encoded alone; with `guided` those of the empty prompt too."""

    def arguments(self, options: SettledOptions, configs: Configs, height: int, width: int) -> dict[str, Any]:
        """The call's arguments for the options, for images of this padded size."""
        del height, width
        return {
            "num_inference_steps": options.steps,
            "strength": options.strength,
            "guidance_scale": options.guidance if self.is_guided(options, configs) else 1.0,
        }

    def is_guided(self, options: SettledOptions, configs: Configs) -> bool:
        """Whether each step is also run with the empty prompt (classifier-free guidance)."""
        del configs
        return not options.no_captions and options.guidance > 1

    def batch(self, rows: Sequence[Row]) -> dict[str, Any]:
        """One call's arguments from those of its images."""
        import torch

        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    def to_rgb(self, pipe: Any, images: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """What the call gave, as (B, 3, H, W) in [0, 1]; `output` says what it is asked for."""
        del pipe, height, width
        return images

    output: ClassVar[str] = "pt"
    """What the call is asked for: `pt`, images, or `latent`, for a family that decodes them itself."""

    def problems(self, configs: Configs) -> Sequence[str]:
        """A scheduler that draws its own random numbers, or that is of another kind of model."""
        kind = str(configs.get("scheduler", {}).get("_class_name") or "")
        where = "scheduler/scheduler_config.json"
        if configs.get("scheduler") and kind not in self.schedulers:
            return [f"{where}: {kind or 'no _class_name'} is not run with {self.title}"]
        if configs.get("scheduler", {}).get("stochastic_sampling"):
            return [f"{where}: stochastic_sampling draws noise that no seed decides"]
        return []

    def check(self, options: SettledOptions, report: ModelReport) -> None:
        """What a pipeline's own loop has no place for, and runs without a step."""
        self.refuse_sampler(options, self.samplers)
        self.refuse_cache(options)
        self.refuse_changed(options, _OWN_LOOP_ONLY, "the pipeline of diffusers runs its own loop")
        self.refuse_changed(options, ["compile"], "only the U-Net of Stable Diffusion 1.x and 2.x is compiled")
        if self.most_at_once and (options.batch_size or 1) > self.most_at_once:
            why = "in a batch, the length of a prompt would change the images beside it"
            raise self.refusal("batch_size", options.batch_size, why, f"--batch-size={self.most_at_once}, or auto")
        if self.steps_run(options) < 1:
            raise InputError(
                f"--steps={options.steps}: at --strength={options.strength:g} that is not one step",
                hint=f"--strength={1 / options.steps:.3g} or more, or more steps",
            )
        del report

    def steps_run(self, options: SettledOptions) -> int:
        """How many steps are run of those that there are."""
        return min(int(options.steps * options.strength), options.steps)

    def plan(self, options: SettledOptions, report: ModelReport) -> dict[str, Any]:
        """Pipeline, scheduler and steps."""
        own = str(report.configs["scheduler"].get("_class_name"))
        kind, changes = SCHEDULERS.get(options.scheduler, (own, {}))
        return {
            "pipeline": self.pipeline(report.configs),
            "scheduler_class": kind,
            "scheduler_config": report.configs["scheduler"] | changes,
            "steps_run": self.steps_run(options),
            "guided": self.is_guided(options, report.configs),
        }

    def open(self, options: SettledOptions, report: ModelReport, device: str | None) -> Repainter:
        """The pipeline, loaded."""
        from ovforge.synthesis.diffusion.pipeline_repainter import PipelineRepainter

        return PipelineRepainter(self, options, report, device)


class FlowFamily(PipelineFamily):
    """A family of flow matching, which keeps to the sampler of its folder."""

    samplers = (Sampler.MODEL,)
    schedulers = frozenset({"FlowMatchEulerDiscreteScheduler"})

    def half(self) -> str:
        """Its weights are published in bf16, and fp16 overflows in their text encoders."""
        return "bf16"

    def multiple(self, configs: Configs) -> int:
        """Latent cells are taken in patches of two by two."""
        return 2 * vae_factor(configs)

    def steps_run(self, options: SettledOptions) -> int:
        """At least one, as these pipelines round up."""
        return options.steps - int(max(options.steps - min(options.steps * options.strength, options.steps), 0))


def is_distilled(configs: Configs) -> bool:
    """Whether the folder's scheduler is one of weights distilled to few steps: LCM, TCD, or Euler from the end on."""
    scheduler = configs.get("scheduler", {})
    return str(scheduler.get("_class_name")).startswith(("LCM", "TCD")) or (
        scheduler.get("timestep_spacing") == "trailing"
    )


def vae_factor(configs: Configs) -> int:
    """Pixels per side of a latent cell."""
    vae = configs.get("vae", {})
    halvings = (
        len(vae["temperal_downsample"])
        if "temperal_downsample" in vae
        else (len(vae.get("block_out_channels") or (0, 0, 0, 0)) - 1)
    )
    return int(2**halvings)


def refuse_part_guidance(family: Family, options: SettledOptions) -> None:
    """Refuse a guidance between 0 and 1, which diffusers' pipelines take for none.

    Raises:
        InputError: names the value.
    """
    if 0 < options.guidance < 1:
        raise family.refusal("guidance", f"{options.guidance:g}", "it is guided above 1 only", "0 is without guidance")


def check_numbers(configs: Configs, component: str, expected: Mapping[str, Sequence[int]]) -> list[str]:
    """Problems of a component whose configuration has another number than one that is run."""
    own = configs.get(component, {})
    return [
        f"{component}/config.json: {name} is {own[name]}, not {' or '.join(map(str, values))}"
        for name, values in expected.items()
        if name in own and own[name] not in values
    ]
