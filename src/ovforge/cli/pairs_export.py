"""`ovforge pairs export`."""

from __future__ import annotations

import typer

from ovforge.cli.common import Console, command
from ovforge.options.exports import ExportOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add the command to the group `pairs`."""

    @command(app, "export", example="ovforge pairs export my_pairs --to mot")
    def export(console: Console, options: ExportOptions) -> StepSummary:
        """Write a run's pairs or clips in another format: TAO, MOTChallenge, YouTube-VIS, BURST, CVAT, COCO, ..."""
        from ovforge.exports import export_pairs

        with console.progress() as progress:
            return export_pairs(options, progress=progress)
