"""The options of the engine `diffusion`, where another engine is asked for."""

from __future__ import annotations

from dataclasses import fields

from ovforge.errors import InputError
from ovforge.options.base import option_names
from ovforge.options.diffusion import DiffusionOptions

DEFAULTS = DiffusionOptions()


def refuse_diffusion_options(options: DiffusionOptions, engine: str) -> None:
    """Refuse options of the engine `diffusion` that were given to another engine.

    Raises:
        InputError: names the option.
    """
    for field in fields(options):
        # Every engine takes no_captions.
        if field.name != "no_captions" and getattr(options, field.name) != getattr(DEFAULTS, field.name):
            raise InputError(f"{option_names(field)[0]} belongs to --engine=diffusion, not to --engine={engine}")
