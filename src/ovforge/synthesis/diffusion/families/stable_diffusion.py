"""Stable Diffusion 1.x and 2.x: ovforge's own loop, or a pipeline's call for weights distilled to few steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from ovforge.errors import InputError
from ovforge.options.diffusion import STABLE_DIFFUSION, Defaults, Preset, Sampler, SettledOptions
from ovforge.synthesis.diffusion.families.base import (
    Configs,
    Family,
    network,
    step_presets,
    text_encoder,
    tokenizer,
)
from ovforge.synthesis.diffusion.families.pipeline import (
    NOISE_SCHEDULERS,
    PipelineFamily,
    Row,
    is_distilled,
    refuse_part_guidance,
    vae_factor,
)
from ovforge.synthesis.diffusion.schedule import NoiseScale
from ovforge.synthesis.diffusion.schedulers import SAMPLERS, guided_calls, make_schedule

if TYPE_CHECKING:
    from ovforge.synthesis.diffusion.model_folder import ModelReport
    from ovforge.synthesis.repaint import Repainter

_OTHER_SAMPLING = ("FlowMatch", "ConsistencyDecoder", "CM")
"""Samplers of models that are not run."""
_BY_PIPELINE = (Sampler.MODEL, Sampler.EULER, Sampler.LCM, Sampler.TCD)


class StableDiffusionFamily(Family):
    """Stable Diffusion 1.x and 2.x, and their inpainting models with nine channels."""

    name = "stable-diffusion"
    title = "Stable Diffusion 1.x and 2.x"
    indexes = frozenset(
        {
            "StableDiffusionPipeline",
            "StableDiffusionImg2ImgPipeline",
            "StableDiffusionInpaintPipeline",
            "StableDiffusionInpaintPipelineLegacy",
            "StableDiffusionPipelineSafe",
            "LatentConsistencyModelPipeline",
            "LatentConsistencyModelImg2ImgPipeline",
        }
    )
    parts = {  # noqa: RUF012  # read only
        "unet": network("UNet2DConditionModel"),
        "vae": network("AutoencoderKL"),
        "text_encoder": text_encoder("CLIPTextModel"),
        "tokenizer": tokenizer("CLIPTokenizer"),
    }
    by_pipeline: ClassVar[PipelineFamily]

    def title_of(self, configs: Configs) -> str:
        """Says whether the U-Net is an inpainting one."""
        return "Stable Diffusion, inpainting (9 channels)" if self.inpaints(configs) else "Stable Diffusion"

    def inpaints(self, configs: Configs) -> bool:
        """Nine channels: latents, mask, and the masked image's latents."""
        return configs.get("unet", {}).get("in_channels") == 9

    def problems(self, configs: Configs) -> Sequence[str]:
        """Other conditions than a prompt, components that do not belong together, samplers that are not here."""
        unet, text = configs.get("unet", {}), configs.get("text_encoder", {})
        found = []
        kind = str(configs.get("scheduler", {}).get("_class_name") or "")
        if kind.startswith(_OTHER_SAMPLING):
            found.append(
                f"scheduler/scheduler_config.json: a model made for {kind}, which --scheduler does not offer: "
                "with another sampler its images are worthless"
            )
        channels = unet.get("in_channels", 4)
        if channels not in (4, 9):
            found.append(f"unet/config.json: in_channels is {channels}, not 4 or, for inpainting, 9")
        if unet.get("addition_embed_type") or unet.get("class_embed_type"):
            found.append("unet/config.json: a U-Net with further conditions, which this engine does not give")
        expected, given = unet.get("cross_attention_dim"), text.get("hidden_size")
        if isinstance(expected, int) and isinstance(given, int) and expected != given:
            found.append(
                f"unet/ and text_encoder/ do not belong together: cross_attention_dim {expected}, hidden_size {given}"
            )
        return found

    def defaults(self, configs: Configs) -> Defaults:
        """OVTrack's own; few steps of the folder's own sampler for weights that are distilled."""
        if is_distilled(configs):
            return replace(
                STABLE_DIFFUSION, steps=4, guidance=8.0 if _takes_guidance(configs) else 0.0, scheduler=Sampler.MODEL
            )
        return STABLE_DIFFUSION

    def presets(self, configs: Configs) -> Mapping[Preset, Mapping[str, Any]]:
        """Fast is lossy: 20 steps of DPM-Solver++; best is OVTrack's count with PNDM."""
        if is_distilled(configs):
            return step_presets(2, 4, 8)
        found = step_presets(20, 30, 50, scheduler=Sampler.DPMPP)
        found[Preset.BALANCED]["scheduler"] = Sampler.DPMPP
        return found

    def pipeline(self, configs: Configs) -> str:
        """One for four and for nine channels."""
        return self.by_pipeline.pipeline(configs)

    def check(self, options: SettledOptions, report: ModelReport) -> None:
        """The samplers of both ways, and those that the weights can do with."""
        self.refuse_sampler(options, (*SAMPLERS, *_BY_PIPELINE))
        if options.scheduler in _BY_PIPELINE:
            self.by_pipeline.check(options, report)
            return
        self.refuse_cache(options)
        kind = str(report.configs["scheduler"].get("_class_name"))
        if kind.startswith(("LCM", "TCD")) or _takes_guidance(report.configs):
            why = f"these weights are distilled for {kind}: with another sampler their images are worthless"
            raise self.refusal("scheduler", options.scheduler.value, why, "--scheduler=model")

    def plan(self, options: SettledOptions, report: ModelReport) -> dict[str, Any]:
        """The U-Net calls of the schedule."""
        if options.scheduler in _BY_PIPELINE:
            return self.by_pipeline.plan(options, report)
        scale = NoiseScale.from_config(report.configs["scheduler"], where=str(report.folder / "scheduler"))
        calls = make_schedule(scale, options).calls
        return {
            "inpainting_unet": report.inpainting,
            "unet_calls": len(calls),
            "guided_unet_calls": guided_calls(options, len(calls)),
            "first_timestep": calls[0].timestep,
        }

    def half(self) -> str:
        """The one that its weights were published in."""
        return "fp16"

    def open(self, options: SettledOptions, report: ModelReport, device: str | None) -> Repainter:
        """ovforge's own loop, which is also the reference; a pipeline's for the samplers that it has not."""
        if options.scheduler in _BY_PIPELINE:
            return self.by_pipeline.open(options, report, device)
        from ovforge.synthesis.diffusion.repainter import DiffusionRepainter

        return DiffusionRepainter(options, device)


class StableDiffusionByPipeline(PipelineFamily):
    """Stable Diffusion 1.x and 2.x by `StableDiffusionInpaintPipeline`: for weights distilled to few steps."""

    name = StableDiffusionFamily.name
    title = StableDiffusionFamily.title
    indexes = StableDiffusionFamily.indexes
    parts = StableDiffusionFamily.parts
    samplers = _BY_PIPELINE
    schedulers = NOISE_SCHEDULERS

    def defaults(self, configs: Configs) -> Defaults:
        """Those of the family."""
        return StableDiffusionFamily().defaults(configs)

    def pipeline(self, configs: Configs) -> str:
        """One for four and for nine channels."""
        del configs
        return "StableDiffusionInpaintPipeline"

    def settings(self, configs: Configs) -> dict[str, Any]:
        """Without the safety checker, which is not loaded."""
        del configs
        return {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}

    def multiple(self, configs: Configs) -> int:
        """The VAE's factor times the U-Net's halvings."""
        return vae_factor(configs) * int(2 ** (len(configs["unet"].get("down_block_types", (0,) * 4)) - 1))

    def half(self) -> str:
        """As the family's."""
        return "fp16"

    def check(self, options: SettledOptions, report: ModelReport) -> None:
        """Also a scheduler that cannot be used, and a guidance that the pipeline would take for none."""
        super().check(options, report)
        refuse_part_guidance(self, options)
        for problem in self.problems(report.configs):
            raise InputError(f"{report.folder}: {problem}", hint="choose another --scheduler")

    def is_guided(self, options: SettledOptions, configs: Configs) -> bool:
        """Not by a second pass where guidance is an input of the U-Net."""
        return super().is_guided(options, configs) and not _takes_guidance(configs)

    def encode(self, pipe: Any, prompt: str, *, guided: bool) -> Row:
        """The text encoder's states, 77 tokens for every prompt."""
        states, empty = pipe.encode_prompt(prompt, pipe._execution_device, 1, guided)
        return {"prompt_embeds": states} | ({"negative_prompt_embeds": empty} if guided else {})

    def arguments(self, options: SettledOptions, configs: Configs, height: int, width: int) -> dict[str, Any]:
        """Guidance also where it is an input of the U-Net."""
        given = super().arguments(options, configs, height, width)
        return given | ({"guidance_scale": options.guidance} if _takes_guidance(configs) else {})


StableDiffusionFamily.by_pipeline = StableDiffusionByPipeline()


def _takes_guidance(configs: Configs) -> bool:
    """Whether guidance is an input of the U-Net, as latent consistency models have it."""
    return configs.get("unet", {}).get("time_cond_proj_dim") is not None
