"""`ovforge sample-data`."""

from __future__ import annotations

import typer

from ovforge.cli.common import Console, command
from ovforge.options.sample_data import SampleDataOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add the command to the top level of `app`."""

    @command(app, "sample-data", example="ovforge sample-data sample")
    def sample_data(console: Console, options: SampleDataOptions) -> StepSummary:
        """Write a small, real, freely licensed data set.

        The photographs come with scikit-image, which the extra `sample` installs; SOURCES.md in DIR says where each is
        from and its licence.
        """
        import ovforge.sample_data

        with console.progress() as progress:
            return ovforge.sample_data.sample_data(options, progress=progress)
