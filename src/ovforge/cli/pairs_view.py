"""`ovforge pairs view`."""

from __future__ import annotations

import typer

from ovforge.cli.common import Console, command
from ovforge.options.viewer import PairsExportOptions, PairsViewOptions, ReviewAccess, ServeOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add the command to the group `pairs`."""
    command(app, "view", example="ovforge pairs view my_pairs")(_view)


def _view(
    console: Console,
    options: PairsViewOptions,
    serving: ServeOptions,
    access: ReviewAccess,
    export: PairsExportOptions,
) -> StepSummary | None:
    """Look at the pairs of a run in a browser, also while it is going on.

    Pairs are kept, rejected and tagged with k, r and t; FOLDER/NAME.review.json notes it. Serves a page to this
    machine only, until Ctrl+C. On another machine, forward the port: ssh -L 8765:127.0.0.1:8765 HOST.
    """
    if export.export is not None:
        from ovforge.viewer.export import export_pairs

        with console.progress() as progress:
            return export_pairs(options, export, progress=progress)
    from ovforge.viewer.step import view_pairs

    def announce(address: str) -> None:
        typer.echo(f"{options.name}: {address}  (Ctrl+C ends)")

    view_pairs(options, serving, access, announce=announce)
    return None
