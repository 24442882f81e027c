"""`ovforge import`, on the top level."""

from __future__ import annotations

import typer

from ovforge.cli.common import Console, command
from ovforge.options.importing import ImportOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add `import` to the top level."""

    @command(app, "import", example="ovforge import objects365 zhiyuan_objv2_train.json --out own.json")
    def import_(console: Console, options: ImportOptions) -> StepSummary:
        """Turn another data set's annotations into the COCO/LVIS file that all steps take."""
        from ovforge.annotations.importing import import_annotations

        with console.progress() as progress:
            return import_annotations(options, progress=progress)
