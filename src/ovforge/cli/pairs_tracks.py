"""`ovforge pairs merge` and `ovforge pairs annotate`."""

from __future__ import annotations

import typer

from ovforge.cli.common import Console, command
from ovforge.options.tracks import AnnotateOptions, MergeOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add the commands to the group `pairs`."""

    @command(app, "merge", example="ovforge pairs merge my_pairs")
    def merge(console: Console, options: MergeOptions) -> StepSummary:
        """Merge a run's partitions into one HDF5 file and one pickle file, once they are proven complete."""
        from ovforge.synthesis.merge import merge_pairs

        with console.progress() as progress:
            return merge_pairs(options, progress=progress)

    @command(app, "annotate", example="ovforge pairs annotate my_pairs --min-fidelity 0.5")
    def annotate(console: Console, options: AnnotateOptions) -> StepSummary:
        """Write the COCO and TAO video JSON of a merged run: an object and its second views carry one track_id."""
        from ovforge.synthesis.tracks import annotate_pairs

        with console.progress() as progress:
            return annotate_pairs(options, progress=progress)


def make_app() -> typer.Typer:
    """The two commands by themselves, for the original scripts' command lines."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich")
    register(app)
    return app
