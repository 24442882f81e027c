"""The `ovforge` command: one group per job."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ovforge import __version__
from ovforge.cli import (
    exemplars,
    exemplars_view,
    exemplars_vision,
    imagenet,
    importing,
    lvis,
    lvis_pack,
    pairs,
    pairs_score,
    pairs_view,
    sample_data,
    tools,
    workflow,
)
from ovforge.cli.common import run_app

app = typer.Typer(
    name="ovforge",
    help="Data for open-vocabulary detection and tracking: LVIS, COCO, ImageNet-21K, Visual Genome.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: drawing frames would cost as much time as all the rest
    pretty_exceptions_enable=False,
)


workflow.register(app)
lvis_pack.register(lvis.app)
exemplars_view.register(exemplars.app)
exemplars_vision.register(exemplars.app)
pairs_score.register(pairs.app)
pairs_view.register(pairs.app)
app.add_typer(lvis.app, name="lvis")
app.add_typer(imagenet.app, name="imagenet")
app.add_typer(exemplars.app, name="exemplars")
app.add_typer(pairs.app, name="pairs")
sample_data.register(app)
importing.register(app)
tools.register(app)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"ovforge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Data for open-vocabulary detection and tracking: LVIS, COCO, ImageNet-21K, Visual Genome."""


def main() -> None:
    """Entry point of the console script."""
    if sys.platform == "win32":
        sys.exit("ovforge runs on Linux and macOS; on Windows, use it within WSL")
    sys.exit(run_app(app))


if __name__ == "__main__":
    main()
