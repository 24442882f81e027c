"""Qwen-Image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ovforge.options.diffusion import Cache, Defaults, Preset, Sampler, SettledOptions
from ovforge.synthesis.diffusion.families.base import Configs, network, step_presets, text_encoder, tokenizer
from ovforge.synthesis.diffusion.families.pipeline import FlowFamily, Row, refuse_part_guidance

if TYPE_CHECKING:
    from ovforge.synthesis.diffusion.model_folder import ModelReport


class QwenImageFamily(FlowFamily):
    """Qwen-Image by `QwenImageInpaintPipeline`, one image a call: prompts are not padded to one length."""

    name = "qwen-image"
    title = "Qwen-Image"
    indexes = frozenset(
        {"QwenImagePipeline", "QwenImageImg2ImgPipeline", "QwenImageInpaintPipeline", "QwenImageEditPipeline"}
    )
    parts = {  # noqa: RUF012  # read only
        "transformer": network("QwenImageTransformer2DModel"),
        "vae": network("AutoencoderKLQwenImage"),
        "text_encoder": text_encoder("Qwen2_5_VLForConditionalGeneration"),
        "tokenizer": tokenizer("Qwen2TokenizerFast", "Qwen2Tokenizer"),
    }
    most_at_once = 1

    def refuses(self, index: Mapping[str, Any]) -> str:
        """The edit model, whose pipeline brings every image to a size of its own."""
        if index.get("_class_name") == "QwenImageEditPipeline":
            return (
                "this is Qwen-Image-Edit, whose inpainting pipeline brings every image to about a megapixel by itself "
                "and repaints another size than it is given: Qwen-Image is run"
            )
        return ""

    def defaults(self, configs: Configs) -> Defaults:
        """As published."""
        del configs
        return Defaults(steps=50, guidance=4.0, scheduler=Sampler.MODEL, width=1024, height=1024)

    @property
    def caches(self) -> bool:
        """By the steps alone, so that rows of a batch do not decide for each other."""
        return True

    def presets(self, configs: Configs) -> Mapping[Preset, Mapping[str, Any]]:
        """Fast is lossy: fewer steps, and blocks extrapolated between them."""
        del configs
        return step_presets(20, 30, 50, cache=Cache.TAYLOR)

    def pipeline(self, configs: Configs) -> str:
        """One for all."""
        del configs
        return "QwenImageInpaintPipeline"

    def check(self, options: SettledOptions, report: ModelReport) -> None:
        """Also a guidance that the pipeline would take for none."""
        super().check(options, report)
        refuse_part_guidance(self, options)

    def encode(self, pipe: Any, prompt: str, *, guided: bool) -> Row:
        """The text encoder's states, as many as the prompt has tokens."""
        row = _states(pipe, prompt, "")
        return row | (_states(pipe, "", "negative_") if guided else {})

    def arguments(self, options: SettledOptions, configs: Configs, height: int, width: int) -> dict[str, Any]:
        """Guidance by a second pass has a name of its own here; some weights take it as an input too."""
        given = super().arguments(options, configs, height, width)
        given["true_cfg_scale"] = given.pop("guidance_scale")
        if configs["transformer"].get("guidance_embeds"):
            given["guidance_scale"] = options.guidance
        return given


def _states(pipe: Any, prompt: str, prefix: str) -> Row:
    states, mask = pipe.encode_prompt(prompt, num_images_per_prompt=1)
    row = {f"{prefix}prompt_embeds": states}
    return row if mask is None else row | {f"{prefix}prompt_embeds_mask": mask}
