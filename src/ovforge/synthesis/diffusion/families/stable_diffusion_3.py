"""Stable Diffusion 3 and 3.5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ovforge.options.diffusion import Defaults, Preset, Sampler, SettledOptions
from ovforge.synthesis.diffusion.families.base import (
    TOKENIZER_FILES,
    Configs,
    network,
    step_presets,
    text_encoder,
    tokenizer,
)
from ovforge.synthesis.diffusion.families.pipeline import FlowFamily, Row, check_numbers, refuse_part_guidance

if TYPE_CHECKING:
    import torch

    from ovforge.synthesis.diffusion.model_folder import ModelReport

_T5_TOKENS = 256


class StableDiffusion3Family(FlowFamily):
    """Stable Diffusion 3 and 3.5 by `StableDiffusion3InpaintPipeline`, decoded here.

    The pipeline of diffusers 0.42 decodes without the VAE's shift, which tints the whole image, kept regions too.
    """

    name = "stable-diffusion-3"
    title = "Stable Diffusion 3"
    indexes = frozenset(
        {"StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"}
    )
    parts = {  # noqa: RUF012  # read only
        "transformer": network("SD3Transformer2DModel"),
        "vae": network("AutoencoderKL"),
        "text_encoder": text_encoder("CLIPTextModelWithProjection"),
        "text_encoder_2": text_encoder("CLIPTextModelWithProjection"),
        "text_encoder_3": text_encoder("T5EncoderModel"),
        "tokenizer": tokenizer("CLIPTokenizer"),
        "tokenizer_2": tokenizer("CLIPTokenizer"),
        "tokenizer_3": tokenizer("T5TokenizerFast", "T5Tokenizer", files=TOKENIZER_FILES),
    }
    optional = frozenset({"text_encoder_3", "tokenizer_3"})
    output = "latent"

    def problems(self, configs: Configs) -> Sequence[str]:
        """Also other channels than latents."""
        return [*super().problems(configs), *check_numbers(configs, "transformer", {"in_channels": (16,)})]

    def defaults(self, configs: Configs) -> Defaults:
        """As published for 3 and 3.5; Turbo weights look the same and want `--steps 4 --guidance 0`."""
        side = min(1024, self._most_pixels(configs))
        return Defaults(steps=28, guidance=7.0, scheduler=Sampler.MODEL, width=side, height=side)

    def presets(self, configs: Configs) -> Mapping[Preset, Mapping[str, Any]]:
        """Fast is lossy: half the steps."""
        del configs
        return step_presets(14, 28, 50)

    def pipeline(self, configs: Configs) -> str:
        """One for all."""
        del configs
        return "StableDiffusion3InpaintPipeline"

    def check(self, options: SettledOptions, report: ModelReport) -> None:
        """Also a guidance that the pipeline would take for none, and sizes beyond the transformer's positions."""
        super().check(options, report)
        refuse_part_guidance(self, options)
        most = self._most_pixels(report.configs)
        if max(options.width, options.height) > most:
            size = f"{options.width}x{options.height}"
            raise self.refusal("width", size, f"this one has positions for {most} pixels a side", "a smaller size")

    def _most_pixels(self, configs: Configs) -> int:
        """A side of the largest image that the transformer has positions for."""
        return self.multiple(configs) * int(configs.get("transformer", {}).get("pos_embed_max_size") or 96)

    def encode(self, pipe: Any, prompt: str, *, guided: bool) -> Row:
        """The three text encoders' states, of one length for every prompt, and the pooled ones."""
        names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        encoded = pipe.encode_prompt(
            prompt,
            prompt,
            prompt,
            num_images_per_prompt=1,
            do_classifier_free_guidance=guided,
            max_sequence_length=_T5_TOKENS,
        )
        return {name: tensor for name, tensor in zip(names, encoded, strict=True) if tensor is not None}

    def to_rgb(self, pipe: Any, images: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Decoded with the VAE's shift."""
        del height, width
        latents = images / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor
        decoded: torch.Tensor = pipe.vae.decode(latents.to(pipe.vae.dtype), return_dict=False)[0]
        return decoded.float() / 2 + 0.5
