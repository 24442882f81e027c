"""`lvis pack-images`; it registers itself in the group `lvis`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ovforge.cli.common import Console, command
from ovforge.options.pack import DEFAULT_ANNOTATIONS, DEFAULT_FOLDER, DEFAULT_OUT, PackOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add the command `pack-images` to a group."""
    command(app, "pack-images", example="ovforge lvis pack-images --images data/lvis/train2017")(_pack_images)


def _pack_images(
    console: Console,
    *,
    images: Annotated[Path, typer.Option("--images", help="Folder of the images.")] = DEFAULT_FOLDER,
    out: Annotated[Path, typer.Option("--out", help="HDF5 file to write.")] = DEFAULT_OUT,
    ann: Annotated[
        Path | None,
        typer.Option(
            "--ann",
            help="Pack only this file's images, and write a copy of it in which each has a file_name; "
            f"{DEFAULT_ANNOTATIONS} if it is there.",
        ),
    ] = None,
    ann_out: Annotated[
        Path | None, typer.Option("--ann-out", help="Where that copy goes; beside it, as *_named.json.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Pack the whole folder, whatever the annotations say.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> StepSummary:
    """Pack images into one HDF5 file, keyed by file name, their bytes unchanged."""
    if all_:
        ann = None
    elif ann is None and DEFAULT_ANNOTATIONS.exists():
        ann = DEFAULT_ANNOTATIONS
    from ovforge.annotations.pack_images import pack_images

    options = PackOptions(images=images, out=out, annotations=ann, annotations_out=ann_out, overwrite=overwrite)
    with console.progress() as progress:
        return pack_images(options, progress=progress)
