"""FLUX.1: dev and schnell, repainted by blending; Fill, which takes the mask; Kontext, which sees the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ovforge.options.diffusion import Cache, Defaults, Preset, Sampler, SettledOptions
from ovforge.synthesis.diffusion.families.base import (
    TOKENIZER_FILES,
    Configs,
    network,
    step_presets,
    text_encoder,
    tokenizer,
)
from ovforge.synthesis.diffusion.families.pipeline import FlowFamily, Row, check_numbers

if TYPE_CHECKING:
    from ovforge.synthesis.diffusion.model_folder import ModelReport

_FILL_CHANNELS = 384
"""Packed latents, the masked image's, and 64 pixels of the mask a cell."""


_DEV = Defaults(steps=28, guidance=3.5, scheduler=Sampler.MODEL, width=1024, height=1024)


class FluxFamily(FlowFamily):
    """FLUX.1 by `FluxInpaintPipeline`, `FluxFillPipeline` or `FluxKontextInpaintPipeline`.

    Guidance is an input of the network (distilled), not a second pass; schnell takes none.
    """

    name = "flux"
    title = "FLUX.1"
    indexes = frozenset(
        {
            "FluxPipeline",
            "FluxImg2ImgPipeline",
            "FluxInpaintPipeline",
            "FluxFillPipeline",
            "FluxKontextPipeline",
            "FluxKontextInpaintPipeline",
        }
    )
    parts = {  # noqa: RUF012  # read only
        "transformer": network("FluxTransformer2DModel"),
        "vae": network("AutoencoderKL"),
        "text_encoder": text_encoder("CLIPTextModel"),
        "text_encoder_2": text_encoder("T5EncoderModel"),
        "tokenizer": tokenizer("CLIPTokenizer"),
        "tokenizer_2": tokenizer("T5TokenizerFast", "T5Tokenizer", files=TOKENIZER_FILES),
    }

    def title_of(self, configs: Configs) -> str:
        """dev, schnell, Fill or Kontext."""
        kind = "Fill" if self.inpaints(configs) else "Kontext" if _is_kontext(configs) else ""
        return f"{self.title} {kind or ('schnell' if not _takes_guidance(configs) else 'dev')}"

    def inpaints(self, configs: Configs) -> bool:
        """Fill: latents, the masked image's and the mask."""
        return configs.get("transformer", {}).get("in_channels") == _FILL_CHANNELS

    def problems(self, configs: Configs) -> Sequence[str]:
        """Also other channels than latents, or latents and mask; depth and edges are not given."""
        return [
            *super().problems(configs),
            *check_numbers(configs, "transformer", {"in_channels": (64, _FILL_CHANNELS)}),
        ]

    def defaults(self, configs: Configs) -> Defaults:
        """As published."""
        if self.inpaints(configs):
            return replace(_DEV, steps=50, guidance=30.0, strength=1.0)
        if _is_kontext(configs):
            return replace(_DEV, guidance=2.5, strength=1.0)
        return _DEV if _takes_guidance(configs) else replace(_DEV, steps=4, guidance=0.0)

    @property
    def caches(self) -> bool:
        """By the steps alone, so that rows of a batch do not decide for each other."""
        return True

    def presets(self, configs: Configs) -> Mapping[Preset, Mapping[str, Any]]:
        """Fast is lossy: fewer steps, and blocks extrapolated between them."""
        if not _takes_guidance(configs):
            return step_presets(2, 4, 8)
        return step_presets(20, 28, 50, cache=Cache.TAYLOR)

    def pipeline(self, configs: Configs) -> str:
        """By the transformer's channels and the folder's index."""
        if self.inpaints(configs):
            return "FluxFillPipeline"
        return "FluxKontextInpaintPipeline" if _is_kontext(configs) else "FluxInpaintPipeline"

    def check(self, options: SettledOptions, report: ModelReport) -> None:
        """Also guidance for weights that take none, and a strength for Fill, which starts from noise."""
        super().check(options, report)
        if options.guidance and not _takes_guidance(report.configs):
            raise self.refusal(
                "guidance", f"{options.guidance:g}", "schnell's weights take no guidance", "leave it out"
            )
        if self.inpaints(report.configs) and options.strength != 1:
            raise self.refusal("strength", f"{options.strength:g}", "Fill always starts from noise", "leave it out")

    def is_guided(self, options: SettledOptions, configs: Configs) -> bool:
        """Never by a second pass."""
        del options, configs
        return False

    def encode(self, pipe: Any, prompt: str, *, guided: bool) -> Row:
        """CLIP's pooled state, and T5's: 512 tokens for every prompt, 256 for schnell."""
        del guided
        tokens = 512 if pipe.transformer.config.guidance_embeds else 256
        states, pooled, _ = pipe.encode_prompt(prompt, prompt, num_images_per_prompt=1, max_sequence_length=tokens)
        return {"prompt_embeds": states, "pooled_prompt_embeds": pooled}

    def arguments(self, options: SettledOptions, configs: Configs, height: int, width: int) -> dict[str, Any]:
        """Guidance as the network's input, without captions too; Kontext keeps the size that it is given."""
        given = {"num_inference_steps": options.steps, "guidance_scale": options.guidance}
        if self.inpaints(configs):
            return given
        given["strength"] = options.strength
        return given | ({"max_area": height * width, "_auto_resize": False} if _is_kontext(configs) else {})


def _takes_guidance(configs: Configs) -> bool:
    return bool(configs.get("transformer", {}).get("guidance_embeds"))


def _is_kontext(configs: Configs) -> bool:
    return str(configs.get("model_index", {}).get("_class_name")).startswith("FluxKontext")
