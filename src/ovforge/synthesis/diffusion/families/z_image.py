"""Z-Image, base and Turbo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ovforge.options.diffusion import Defaults, Preset, Sampler, SettledOptions
from ovforge.synthesis.diffusion.families.base import Configs, network, step_presets, text_encoder, tokenizer
from ovforge.synthesis.diffusion.families.pipeline import FlowFamily, Row


class ZImageFamily(FlowFamily):
    """Z-Image by `ZImageInpaintPipeline`, one image a call: a batch is padded to its longest prompt."""

    name = "z-image"
    title = "Z-Image"
    indexes = frozenset({"ZImagePipeline", "ZImageImg2ImgPipeline", "ZImageInpaintPipeline"})
    parts = {  # noqa: RUF012  # read only
        "transformer": network("ZImageTransformer2DModel"),
        "vae": network("AutoencoderKL"),
        "text_encoder": text_encoder("Qwen3Model", "Qwen3ForCausalLM"),
        "tokenizer": tokenizer("Qwen2TokenizerFast", "Qwen2Tokenizer"),
    }
    most_at_once = 1

    def defaults(self, configs: Configs) -> Defaults:
        """Turbo's, as published; the base model looks the same and wants `--steps 50 --guidance 4`."""
        del configs
        return Defaults(steps=9, guidance=0.0, scheduler=Sampler.MODEL, width=1024, height=1024)

    def presets(self, configs: Configs) -> Mapping[Preset, Mapping[str, Any]]:
        """Turbo's; fast is lossy."""
        del configs
        return step_presets(5, 9, 14)

    def pipeline(self, configs: Configs) -> str:
        """One for all."""
        del configs
        return "ZImageInpaintPipeline"

    def is_guided(self, options: SettledOptions, configs: Configs) -> bool:
        """Its pipeline counts from 0: 1 is once the difference that the prompt makes, added."""
        del configs
        return not options.no_captions and options.guidance > 0

    def encode(self, pipe: Any, prompt: str, *, guided: bool) -> Row:
        """The text encoder's states, as many as the prompt has tokens."""
        states, empty = pipe.encode_prompt(prompt, do_classifier_free_guidance=guided)
        return {"prompt_embeds": states[0]} | ({"negative_prompt_embeds": empty[0]} if guided else {})

    def arguments(self, options: SettledOptions, configs: Configs, height: int, width: int) -> dict[str, Any]:
        """0 for none."""
        given = super().arguments(options, configs, height, width)
        return given | ({} if self.is_guided(options, configs) else {"guidance_scale": 0.0})

    def batch(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Lists: prompts have their own lengths."""
        return {name: [row[name] for row in rows] for name in rows[0]}
