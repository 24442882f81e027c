"""`pairs replay`: one pair of a run again."""

from __future__ import annotations

import typer

from ovforge.cli.common import Console, command
from ovforge.options.replay import ReplayOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add the command `replay` to the group `pairs`."""
    command(app, "replay", example="ovforge pairs replay my_pairs 391895 --out look")(_replay)


def _replay(console: Console, options: ReplayOptions) -> StepSummary:
    """Make the second views of one image again, as the run's manifest says, and compare them with the run's."""
    from ovforge.synthesis.replay import replay_pair

    with console.progress() as progress:
        return replay_pair(options, progress=progress)
