"""`ovforge sample-data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ovforge.cli.common import Console, command
from ovforge.options.sample_data import SampleDataOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add the command to the top level of `app`."""

    @command(app, "sample-data", example="ovforge sample-data sample")
    def sample_data(
        console: Console,
        folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write; made when missing.")],
        overwrite: Annotated[
            bool,
            typer.Option(
                "--overwrite", help="Replace a sample data set in DIR, with everything in it.", show_default=False
            ),
        ] = False,
    ) -> StepSummary:
        """Write a small, real, freely licensed data set.

        The photographs come with scikit-image (pip install 'ovforge\\[sample]'); SOURCES.md in DIR says where each is
        from and its licence.
        """
        import ovforge.sample_data

        with console.progress() as progress:
            return ovforge.sample_data.sample_data(SampleDataOptions(folder, overwrite), progress=progress)
