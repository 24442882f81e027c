"""`lvis pack-images`; it registers itself in the group `lvis`."""

from __future__ import annotations

import dataclasses

import typer

from ovforge.cli.common import Console, command
from ovforge.options.pack import DEFAULT_ANNOTATIONS, PackAll, PackOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add the command `pack-images` to a group."""
    command(app, "pack-images", example="ovforge lvis pack-images --images data/lvis/train2017")(_pack_images)


def _pack_images(console: Console, options: PackOptions, whole: PackAll) -> StepSummary:
    """Pack images into one HDF5 file, keyed by file name, their bytes unchanged."""
    from ovforge.annotations.pack_images import pack_images

    if whole.all:
        options = dataclasses.replace(options, annotations=None)
    elif options.annotations is None and DEFAULT_ANNOTATIONS.exists():
        options = dataclasses.replace(options, annotations=DEFAULT_ANNOTATIONS)
    with console.progress() as progress:
        return pack_images(options, progress=progress)
