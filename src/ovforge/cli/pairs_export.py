"""`ovforge pairs export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ovforge.cli.common import Console, command
from ovforge.options.exports import PAIRS_FOLDER, ExportFormat, ExportOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add the command to the group `pairs`."""

    @command(app, "export", example="ovforge pairs export my_pairs --to mot")
    def export(
        console: Console,
        *,
        name: Annotated[str, typer.Argument(help="The run's name.", show_default=False)],
        to: Annotated[ExportFormat, typer.Option("--to", help="The format.", show_default=False)],
        folder: Annotated[Path, typer.Option(help="Where the merged files are.")] = PAIRS_FOLDER,
        out: Annotated[
            Path | None,
            typer.Option(help="The folder to write. Default: FOLDER/exports/NAME-FORMAT.", show_default=False),
        ] = None,
        annotations: Annotated[
            Path | None,
            typer.Option(help="The pairs JSON. Default: FOLDER/annotations/NAME.json.", show_default=False),
        ] = None,
        images: Annotated[
            Path | None,
            typer.Option(help="HDF5 file or folder of the images. Default: FOLDER/NAME.h5.", show_default=False),
        ] = None,
        only: Annotated[
            Path | None,
            typer.Option(
                help="A text file that lists what to export, one a line: file names of images, names or ids of videos.",
                show_default="everything",
            ),
        ] = None,
        copy_images: Annotated[
            bool, typer.Option("--copy-images/--no-copy-images", help="Write the images, too.")
        ] = True,
        shard_size: Annotated[int, typer.Option(min=1, help="Pairs or clips per tar file of a WebDataset.")] = 1000,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Replace what an earlier export wrote.", show_default=False)
        ] = False,
    ) -> StepSummary:
        """Write a run's pairs or clips in another format: TAO, MOTChallenge, YouTube-VIS, BURST, CVAT, COCO, ..."""
        from ovforge.exports import export_pairs

        options = ExportOptions(
            name,
            to,
            folder=folder,
            out=out,
            annotations=annotations,
            images=images,
            only=only,
            copy_images=copy_images,
            shard_size=shard_size,
            overwrite=overwrite,
        )
        with console.progress() as progress:
            return export_pairs(options, progress=progress)
