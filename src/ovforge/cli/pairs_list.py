"""`pairs list`: the runs in a folder and how each stands."""

from __future__ import annotations

import typer

from ovforge.cli.common import Console, command
from ovforge.cli.output import write_out
from ovforge.options.pairs import ListOptions


def register(app: typer.Typer) -> None:
    """Add the command `list` to the group `pairs`."""
    command(app, "list", example="ovforge pairs list")(_list)


def _list(console: Console, options: ListOptions) -> None:
    """The runs of a folder and how each stands: shards done, merged, annotated."""
    from ovforge.errors import MissingInputError
    from ovforge.synthesis.run_list import list_runs

    folder = options.folder
    if not folder.is_dir():
        raise MissingInputError(folder, what="folder of runs", hint="give the folder that holds them with --folder=DIR")
    runs = list_runs(folder)
    if console.json:
        console.print_json(runs)
        return
    width = max((len(run.name) for run in runs), default=0)
    lines = [f"{run.name:{width}}  {run.describe()}" for run in runs] or [f"no run in {folder}"]
    write_out("\n".join(lines) + "\n")
