"""`ovforge pairs sheet`: pairs on one picture, for a look without a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ovforge.cli.common import Console, command
from ovforge.options import layout
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add the command to the group `pairs`."""

    @command(app, "sheet", example="ovforge pairs sheet my_pairs --count 12 --out sheet.png")
    def sheet(
        console: Console,
        name: Annotated[str, typer.Argument(help="The run's name.", show_default=False)],
        *,
        save_dir: Annotated[
            Path, typer.Option("--save-dir", help="Where runs and merged files are.")
        ] = layout.PAIRS_DIR,
        out: Annotated[
            Path | None, typer.Option(help="The PNG to write; by default SAVE_DIR/NAME.sheet.png.", show_default=False)
        ] = None,
        count: Annotated[int, typer.Option(help="How many pairs.", min=1)] = 8,
        seed: Annotated[int, typer.Option(help="Which pairs.")] = 0,
        columns: Annotated[int, typer.Option(help="Pairs side by side.", min=1)] = 2,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a sheet that is there.")] = False,
    ) -> StepSummary:
        """Draw pairs on one PNG: original and second view, boxes and labels coloured by track."""
        from ovforge.synthesis.contact_sheet import contact_sheet

        place = out or save_dir / f"{name}.sheet.png"
        drawn = contact_sheet(
            save_dir / f"{name}.h5",
            save_dir / "annotations" / f"{name}.json",
            place,
            count=count,
            seed=seed,
            columns=columns,
            overwrite=overwrite,
        )
        return StepSummary("pairs sheet", outputs={"sheet": str(place)}, counts={"pairs": drawn})
