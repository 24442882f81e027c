"""Stable Diffusion XL: base models, their inpainting model of nine channels, Turbo and Lightning weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ovforge.options.diffusion import Defaults, Preset, Sampler, SettledOptions
from ovforge.synthesis.diffusion.families.base import Configs, network, step_presets, text_encoder, tokenizer
from ovforge.synthesis.diffusion.families.pipeline import (
    NOISE_SCHEDULERS,
    SCHEDULERS,
    PipelineFamily,
    Row,
    check_numbers,
    is_distilled,
    refuse_part_guidance,
    vae_factor,
)

if TYPE_CHECKING:
    from ovforge.synthesis.diffusion.model_folder import ModelReport


class StableDiffusionXLFamily(PipelineFamily):
    """Stable Diffusion XL by `StableDiffusionXLInpaintPipeline`."""

    name = "stable-diffusion-xl"
    title = "Stable Diffusion XL"
    indexes = frozenset(
        {"StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"}
    )
    parts = {  # noqa: RUF012  # read only
        "unet": network("UNet2DConditionModel"),
        "vae": network("AutoencoderKL"),
        "text_encoder": text_encoder("CLIPTextModel"),
        "text_encoder_2": text_encoder("CLIPTextModelWithProjection"),
        "tokenizer": tokenizer("CLIPTokenizer"),
        "tokenizer_2": tokenizer("CLIPTokenizer"),
    }
    samplers = (Sampler.MODEL, *SCHEDULERS)
    schedulers = NOISE_SCHEDULERS

    def title_of(self, configs: Configs) -> str:
        """Says whether the U-Net is an inpainting one."""
        return f"{self.title}, inpainting (9 channels)" if self.inpaints(configs) else self.title

    def inpaints(self, configs: Configs) -> bool:
        """Nine channels: latents, mask, and the masked image's latents."""
        return configs.get("unet", {}).get("in_channels") == 9

    def refuses(self, index: Mapping[str, Any]) -> str:
        """The refiner, which makes no image alone."""
        if index.get("requires_aesthetics_score"):
            return "this is the refiner of Stable Diffusion XL, which makes no images alone: give the base model"
        return ""

    def problems(self, configs: Configs) -> Sequence[str]:
        """Also channels, and components that do not belong together."""
        found = [*super().problems(configs), *check_numbers(configs, "unet", {"in_channels": (4, 9)})]
        widths = [configs.get(name, {}).get("hidden_size") for name in ("text_encoder", "text_encoder_2")]
        given = [width for width in widths if isinstance(width, int)]
        expected = configs.get("unet", {}).get("cross_attention_dim")
        if expected is not None and len(given) == 2 and sum(given) != expected:
            found.append(
                f"unet/ and the text encoders do not belong together: cross_attention_dim {expected}, "
                f"hidden sizes {given[0]} and {given[1]}"
            )
        return found

    def defaults(self, configs: Configs) -> Defaults:
        """Those of the base model, or few steps without guidance for weights that are distilled."""
        side = 8 * int(configs.get("unet", {}).get("sample_size") or 128)
        few = is_distilled(configs)
        return Defaults(4 if few else 50, 0.0 if few else 7.5, Sampler.MODEL, width=side, height=side)

    def presets(self, configs: Configs) -> Mapping[Preset, Mapping[str, Any]]:
        """Fast is lossy: fewer steps of DPM-Solver++."""
        if is_distilled(configs):
            return step_presets(2, 4, 8)
        return step_presets(20, 30, 50, scheduler=Sampler.DPMPP)

    def pipeline(self, configs: Configs) -> str:
        """One pipeline for four and for nine channels."""
        del configs
        return "StableDiffusionXLInpaintPipeline"

    def settings(self, configs: Configs) -> dict[str, Any]:
        """As the folder's index has it; never a watermark."""
        zeros = configs["model_index"].get("force_zeros_for_empty_prompt", True)
        return {"force_zeros_for_empty_prompt": zeros, "add_watermarker": False}

    def multiple(self, configs: Configs) -> int:
        """The VAE's factor times the U-Net's halvings."""
        return vae_factor(configs) * int(2 ** (len(configs["unet"].get("down_block_types", (0,) * 3)) - 1))

    def half(self) -> str:
        """The one that its weights were published in; the VAE is run in fp32 where its configuration says so."""
        return "fp16"

    def check(self, options: SettledOptions, report: ModelReport) -> None:
        """Also a guidance that the pipeline would take for none."""
        super().check(options, report)
        refuse_part_guidance(self, options)

    def encode(self, pipe: Any, prompt: str, *, guided: bool) -> Row:
        """Both text encoders' states, 77 tokens for every prompt, and the second's pooled one."""
        names = (
            "prompt_embeds",
            "negative_prompt_embeds",
            "pooled_prompt_embeds",
            "negative_pooled_prompt_embeds",
        )
        encoded = pipe.encode_prompt(prompt, num_images_per_prompt=1, do_classifier_free_guidance=guided)
        return {name: tensor for name, tensor in zip(names, encoded, strict=True) if tensor is not None}
