"""`ovforge exemplars view`."""

from __future__ import annotations

import typer

from ovforge.cli.common import Console, command
from ovforge.options.viewer import ExemplarsViewOptions, ServeOptions


def register(app: typer.Typer) -> None:
    """Add the command to the group `exemplars`."""
    command(app, "view", example="ovforge exemplars view datasets/metadata/exemplar_dict.json")(_view)


def _view(console: Console, options: ExemplarsViewOptions, serving: ServeOptions) -> None:
    """Look at exemplars in a browser: classes, their crops by source, classes that fall short, what check found.

    Serves a page to this machine only, until Ctrl+C. Images are read where they lie.
    """
    del console
    from ovforge.viewer.step import view_exemplars

    def announce(address: str) -> None:
        typer.echo(f"{options.file.name}: {address}  (Ctrl+C ends)")

    view_exemplars(options, serving, announce=announce)
