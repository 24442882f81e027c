"""`ovforge pairs score`."""

from __future__ import annotations

import typer

from ovforge.cli.common import Console, command
from ovforge.cli.executors import executor_of, select_shards
from ovforge.options.executors import ExecutorOptions
from ovforge.options.judge import ScoreOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add the command to the group `pairs`."""
    command(app, "score", example="ovforge pairs score my_pairs --vision saved_models/dinov2-base")(score)


def score(console: Console, options: ScoreOptions, run: ExecutorOptions) -> StepSummary:
    """Judge every object in every second view: is it still what its label says?

    The scores go beside the merged run; annotate puts them into its file and may reject by them.
    """
    from ovforge.synthesis.judge import score_pairs

    # Without a model it is work for cores alone.
    pool = executor_of(run, device=options.device if options.vision or options.detector else None)
    with console.progress() as progress:
        return score_pairs(options, pool, shards=select_shards(run.shards), progress=progress)
