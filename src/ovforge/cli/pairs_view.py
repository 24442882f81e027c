"""`ovforge pairs view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ovforge.cli.common import Console, command
from ovforge.options.layout import PAIRS_DIR
from ovforge.options.viewer import PairsExportOptions, PairsViewOptions, ReviewAccess, ServeOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add the command to the group `pairs`."""

    @command(app, "view", example="ovforge pairs view my_pairs")
    def view(
        console: Console,
        name: Annotated[str, typer.Argument(help="The run's name.", show_default=False)],
        *,
        folder: Annotated[Path, typer.Option(help="Where runs and merged files are.")] = PAIRS_DIR,
        annotations: Annotated[
            Path | None,
            typer.Option(help="The JSON of the merged run. Default: FOLDER/annotations/NAME.json.", show_default=False),
        ] = None,
        serving: ServeOptions,
        access: ReviewAccess,
        export: Annotated[
            Path | None,
            typer.Option(
                metavar="FILE.html", help="Write some pairs into one HTML file instead of serving.", show_default=False
            ),
        ] = None,
        count: Annotated[int, typer.Option(min=1, help="With --export: how many pairs are drawn.")] = 50,
        seed: Annotated[int, typer.Option(help="With --export: seed of the draw.")] = 0,
        pair: Annotated[
            list[str] | None,
            typer.Option(
                help="With --export: this pair instead of a draw, by its second view's file name; again for more.",
                show_default=False,
            ),
        ] = None,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="With --export: replace the file.", show_default=False)
        ] = False,
    ) -> StepSummary | None:
        """Look at the pairs of a run in a browser, also while it is going on.

        Pairs are kept, rejected and tagged with k, r and t; FOLDER/NAME.review.json notes it. Serves a page to this
        machine only, until Ctrl+C. On another machine, forward the port: ssh -L 8765:127.0.0.1:8765 HOST.
        """
        options = PairsViewOptions(name, folder, annotations)
        if export is not None:
            from ovforge.viewer.export import export_pairs

            chosen = PairsExportOptions(options, export, count, seed, tuple(pair or ()), overwrite)
            with console.progress() as progress:
                return export_pairs(chosen, progress=progress)
        from ovforge.viewer.step import view_pairs

        def announce(address: str) -> None:
            typer.echo(f"{name}: {address}  (Ctrl+C ends)")

        view_pairs(options, serving, access, announce=announce)
        return None
