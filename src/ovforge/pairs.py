"""Tracking data from Python: the commands of `ovforge pairs` as functions of the same names.

Options are keywords, named and checked as on the command line; paths may be text. What makes or writes something gives
a `StepSummary`, which prints as the command line prints it.

    import ovforge as of

    of.pairs.generate("shop", images="mydata/images", annotations="mydata/annotations.json", out="runs", workers=2)
    of.pairs.merge("shop", folder="runs")
    summary = of.pairs.annotate("shop", folder="runs", min_visibility=0.5)
    print(summary)
    print(summary.counts["tracks"], summary.paths["annotations"])
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovforge.exports import export_pairs as export
from ovforge.options.layout import PAIRS_DIR
from ovforge.options.workflow import DEFAULT_RUN
from ovforge.records.reporting import Progress, StepSummary
from ovforge.synthesis.merge import merge_pairs as merge
from ovforge.synthesis.replay import replay_pair as replay
from ovforge.synthesis.tracks import annotate_pairs as annotate

if TYPE_CHECKING:
    from ovforge.runs.status import RunStatus
    from ovforge.synthesis.run_list import PairsRun

__all__ = ["annotate", "check", "export", "generate", "list_runs", "merge", "replay", "score", "sheet", "status"]


def generate(name: str = DEFAULT_RUN, *, progress: Progress | None = None, **options: Any) -> StepSummary:
    """Make a second view of every image, as `ovforge pairs generate` does; its options are the keywords.

    A run without a name is called `my_pairs`.

    Raises:
        InputError: an input is missing or malformed, or the run's folder holds another run.
        WorkError: shards failed, or most images could not be used; everything else is done and stays.
    """
    from ovforge.cli.pairs import generate as command

    return _called(command, name, progress, options)


def check(name: str = DEFAULT_RUN, *, progress: Progress | None = None, **options: Any) -> StepSummary:
    """Check all that a run will need, as `ovforge pairs check` does; its options are the keywords. Writes nothing.

    Raises:
        InputError: generating, merging or annotating would refuse something; says what.
    """
    from ovforge.cli.pairs import check as command

    return _called(command, name, progress, options)


def score(name: str, *, progress: Progress | None = None, **options: Any) -> StepSummary:
    """Judge every object in every second view, as `ovforge pairs score` does; its options are the keywords.

    Raises:
        InputError: the merged run, its annotation file or a model is not there, or cannot be used.
        WorkError: shards failed; the others are done and stay.
    """
    from ovforge.cli.pairs_score import score as command

    return _called(command, name, progress, options)


def sheet(name: str, *, progress: Progress | None = None, **options: Any) -> StepSummary:
    """Draw pairs side by side on one sheet, as `ovforge pairs sheet` does; its options are the keywords."""
    from ovforge.cli.pairs import sheet as command

    return _called(command, name, progress, options)


def status(name: str, *, folder: str | Path = PAIRS_DIR) -> RunStatus:
    """How far a run is, from its folder alone, also while it is going on.

    Raises:
        InputError: there is no run of this name in `folder`; names those that are there.
    """
    from ovforge.records.run_layout import check_run_name
    from ovforge.runs.status import read_status

    return read_status(check_run_name(Path(folder), name))


def list_runs(folder: str | Path = PAIRS_DIR) -> list[PairsRun]:
    """The runs of a folder and how each stands, as `ovforge pairs list` shows them."""
    from ovforge.synthesis.run_list import list_runs as look

    return look(Path(folder))


def _called(command: Callable[..., Any], name: str, progress: Progress | None, options: dict[str, Any]) -> StepSummary:
    from ovforge.cli.common import as_function

    summary: StepSummary = as_function(command)(name=name, progress=progress, **options)
    return summary
