"""`ovforge exemplars embed | classifier | check`."""

from __future__ import annotations

import typer

from ovforge.cli.common import Console, command
from ovforge.cli.executors import executor_of, select_shards
from ovforge.options.executors import ExecutorOptions
from ovforge.options.vision import CheckOptions, ClassifierOptions, EmbedOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add the commands to the group `exemplars`."""

    @command(app, "embed", example="ovforge exemplars embed drawn.json --vision saved_models/clip --augment 5")
    def embed(console: Console, options: EmbedOptions, run: ExecutorOptions) -> StepSummary:
        """Give every exemplar a feature; those that have one already are not looked at again.

        A run that was stopped resumes when the same command is run again.
        """
        from ovforge.vision import embed_exemplars

        pool = executor_of(run, device=options.device)
        with console.progress() as progress:
            return embed_exemplars(options, pool, shards=select_shards(run.shards), progress=progress)

    @command(
        app, "classifier", example="ovforge exemplars classifier drawn.json --vision saved_models/clip --out X.npy"
    )
    def classifier(console: Console, options: ClassifierOptions) -> StepSummary:
        """Make a detector's classifier: a row per class, from texts, exemplars, or both."""
        from ovforge.vision import make_classifier

        with console.progress() as progress:
            return make_classifier(options, progress=progress)

    @command(app, "check", example="ovforge exemplars check drawn.json --features FOLDER --vision saved_models/clip")
    def check(console: Console, options: CheckOptions) -> StepSummary:
        """Find near-duplicates, outliers and classes that their exemplars do not tell apart."""
        from ovforge.vision import check_exemplars

        with console.progress() as progress:
            return check_exemplars(options, progress=progress)
