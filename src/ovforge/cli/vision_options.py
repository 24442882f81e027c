"""Options of commands that look at images with a vision model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ovforge.options.vision import Dtype

PANEL = "Vision model"

DeviceOption = Annotated[
    str, typer.Option("--device", help="cpu, cuda, cuda:1; auto: a GPU if there is one.", rich_help_panel=PANEL)
]
DtypeOption = Annotated[
    Dtype, typer.Option("--dtype", help="Numbers that the model computes in.", rich_help_panel=PANEL)
]
BatchOption = Annotated[int, typer.Option("--batch", min=1, help="Images at once.", rich_help_panel=PANEL)]
VISION_HELP = "Folder of a transformers model with safetensors; nothing is downloaded."
VisionOption = Annotated[
    Path, typer.Option("--vision", help=f"CLIP, SigLIP or DINO. {VISION_HELP}", rich_help_panel=PANEL)
]
OptionalVisionOption = Annotated[
    Path | None,
    typer.Option("--vision", help=f"CLIP or SigLIP. {VISION_HELP}", rich_help_panel=PANEL, show_default=False),
]
