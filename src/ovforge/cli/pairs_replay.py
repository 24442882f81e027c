"""`pairs replay`: one pair of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ovforge.cli.common import Console, command
from ovforge.options.pairs import DEFAULT_SAVE_DIR
from ovforge.options.replay import ReplayOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add the command `replay` to the group `pairs`."""
    command(app, "replay", example="ovforge pairs replay my_pairs 391895 --out look")(_replay)


def _replay(
    console: Console,
    name: Annotated[str, typer.Argument(help="The name that `pairs generate` was given.")],
    image: Annotated[str, typer.Argument(help="An image id, or a file name.")],
    *,
    save_dir: Annotated[
        Path,
        typer.Option("--folder", "--save-dir", "--default_save_dir", help="The folder that holds the run's folder."),
    ] = DEFAULT_SAVE_DIR,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; `replay` in the run's folder.")] = None,
    model: Annotated[Path | None, typer.Option(help="Where the model is now, if it has moved.")] = None,
    annotations: Annotated[
        Path | None, typer.Option("--annotations", "--ann", help="Where the annotation file is now, if it has moved.")
    ] = None,
    captions: Annotated[Path | None, typer.Option(help="Where the captions are now, if they have moved.")] = None,
    images: Annotated[Path | None, typer.Option(help="Where the images are now, if they have moved.")] = None,
    device: Annotated[str | None, typer.Option(help="Another device than the run's.")] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Go on although an input, the model or a library has changed.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier replay wrote.")] = False,
) -> StepSummary:
    """Make the second views of one image again, as the run's manifest says, and compare them with the run's."""
    from ovforge.synthesis.replay import replay_pair

    with console.progress() as progress:
        return replay_pair(
            ReplayOptions(
                name,
                image,
                save_dir,
                out,
                model,
                device,
                anyway,
                overwrite,
                annotations=annotations,
                captions=captions,
                images=images,
            ),
            progress=progress,
        )
