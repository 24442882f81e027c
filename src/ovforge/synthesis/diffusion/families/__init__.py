"""The families of models that the engine runs, and which of them a folder is of; loads no torch.

A family is one file here: what its folders hold, its defaults and refusals (`base.Family`), and for all but Stable
Diffusion 1.x and 2.x a few lines about the pipeline of diffusers that is called (`pipeline.PipelineFamily`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ovforge.synthesis.diffusion.families.base import Family, Part
from ovforge.synthesis.diffusion.families.flux import FluxFamily
from ovforge.synthesis.diffusion.families.flux2 import Flux2Family
from ovforge.synthesis.diffusion.families.qwen_image import QwenImageFamily
from ovforge.synthesis.diffusion.families.stable_diffusion import StableDiffusionFamily
from ovforge.synthesis.diffusion.families.stable_diffusion_3 import StableDiffusion3Family
from ovforge.synthesis.diffusion.families.stable_diffusion_xl import StableDiffusionXLFamily
from ovforge.synthesis.diffusion.families.z_image import ZImageFamily

FAMILIES: tuple[Family, ...] = (
    StableDiffusionFamily(),
    StableDiffusionXLFamily(),
    StableDiffusion3Family(),
    FluxFamily(),
    Flux2Family(),
    QwenImageFamily(),
    ZImageFamily(),
)

__all__ = ["FAMILIES", "Family", "Part", "family_named", "find_family"]

_BY_NETWORK: dict[str, str] = {
    "SD3Transformer2DModel": "stable-diffusion-3",
    "FluxTransformer2DModel": "flux",
    "Flux2Transformer2DModel": "flux2-klein",
    "QwenImageTransformer2DModel": "qwen-image",
    "ZImageTransformer2DModel": "z-image",
}
"""Class of the transformer -> the family, for a folder without an index."""


def family_named(name: str) -> Family:
    """The family of this name.

    Raises:
        KeyError: there is none.
    """
    return {family.name: family for family in FAMILIES}[name]


def find_family(folder: Path, index: Mapping[str, Any], transformer: Mapping[str, Any]) -> Family | None:
    """The family of a folder, from its index or, without one, from its components; None if it is of none."""
    name = str(index.get("_class_name") or "")
    for family in FAMILIES:
        if name in family.indexes:
            return family
    if name:
        return None
    if (folder / "transformer").is_dir():
        known = _BY_NETWORK.get(str(transformer.get("_class_name") or ""))
        return family_named(known) if known else None
    return family_named("stable-diffusion-xl" if (folder / "text_encoder_2").is_dir() else "stable-diffusion")
