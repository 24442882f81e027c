"""FLUX.2 Klein."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ovforge.options.diffusion import Cache, Defaults, Preset, Sampler, SettledOptions
from ovforge.synthesis.diffusion.families.base import Configs, network, step_presets, text_encoder, tokenizer
from ovforge.synthesis.diffusion.families.pipeline import FlowFamily, Row, refuse_part_guidance

if TYPE_CHECKING:
    from ovforge.synthesis.diffusion.model_folder import ModelReport

_MOST_PIXELS = 1024 * 1024
"""The pipeline makes larger images smaller, and would give back another size than it was given."""


class Flux2Family(FlowFamily):
    """FLUX.2 Klein by `Flux2KleinInpaintPipeline`: the network sees the whole image beside the latents."""

    name = "flux2-klein"
    title = "FLUX.2 Klein"
    indexes = frozenset({"Flux2KleinPipeline", "Flux2KleinInpaintPipeline", "Flux2Pipeline"})
    parts = {  # noqa: RUF012  # read only
        "transformer": network("Flux2Transformer2DModel"),
        "vae": network("AutoencoderKLFlux2"),
        "text_encoder": text_encoder("Qwen3ForCausalLM"),
        "tokenizer": tokenizer("Qwen2TokenizerFast", "Qwen2Tokenizer"),
    }

    def refuses(self, index: Mapping[str, Any]) -> str:
        """The large model, for which diffusers has no inpainting pipeline."""
        if index.get("_class_name") == "Flux2Pipeline":
            return "this is FLUX.2 dev, for which diffusers has no inpainting pipeline: Klein has one"
        return ""

    def defaults(self, configs: Configs) -> Defaults:
        """Few steps without guidance for the distilled weights, as published."""
        few = _is_distilled(configs)
        return Defaults(4 if few else 50, 0.0 if few else 4.0, Sampler.MODEL, width=1024, height=1024)

    @property
    def caches(self) -> bool:
        """By the steps alone, so that rows of a batch do not decide for each other."""
        return True

    def presets(self, configs: Configs) -> Mapping[Preset, Mapping[str, Any]]:
        """Fast is lossy: fewer steps, and for the undistilled weights blocks extrapolated between them."""
        if _is_distilled(configs):
            return step_presets(2, 4, 8)
        return step_presets(20, 28, 50, cache=Cache.TAYLOR)

    def pipeline(self, configs: Configs) -> str:
        """One for all."""
        del configs
        return "Flux2KleinInpaintPipeline"

    def settings(self, configs: Configs) -> dict[str, Any]:
        """As the folder's index has it."""
        return {"is_distilled": _is_distilled(configs)}

    def cell(self, configs: Configs) -> int:
        """Its mask is one number for each patch of two by two latent cells."""
        return self.multiple(configs)

    def check(self, options: SettledOptions, report: ModelReport) -> None:
        """Also guidance for distilled weights, and sizes that the pipeline would change."""
        super().check(options, report)
        refuse_part_guidance(self, options)
        if options.guidance > 1 and _is_distilled(report.configs):
            raise self.refusal(
                "guidance", f"{options.guidance:g}", "distilled weights take no guidance", "leave it out"
            )
        multiple = self.multiple(report.configs)
        pixels = (-(-options.width // multiple) * multiple) * (-(-options.height // multiple) * multiple)
        if pixels > _MOST_PIXELS:
            why = f"its pipeline makes what has more than {_MOST_PIXELS:,} pixels smaller"
            raise self.refusal("width", f"{options.width}x{options.height}", why, "--working-size=1024x1024 or smaller")

    def encode(self, pipe: Any, prompt: str, *, guided: bool) -> Row:
        """Three layers of the text encoder, 512 tokens for every prompt."""
        row = {"prompt_embeds": pipe.encode_prompt(prompt, num_images_per_prompt=1)[0]}
        if guided:
            row["negative_prompt_embeds"] = pipe.encode_prompt("", num_images_per_prompt=1)[0]
        return row


def _is_distilled(configs: Configs) -> bool:
    return bool(configs.get("model_index", {}).get("is_distilled"))
