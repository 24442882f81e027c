"""Tracking data from Python: the commands of `ovforge pairs` as functions of the same names.

Options are keywords, named and checked as on the command line; paths may be text. Every function gives a `StepSummary`.

    import ovforge

    ovforge.pairs.generate(name="shop", images="mydata/images", annotations="mydata/annotations.json", workers=2)
    ovforge.pairs.merge("shop")
    summary = ovforge.pairs.annotate("shop", min_fidelity=0.5)
    print(summary.counts, summary.outputs)
"""

from __future__ import annotations

from typing import Any

from ovforge.exports import export_pairs as export
from ovforge.records.reporting import Progress, StepSummary
from ovforge.synthesis.merge import merge_pairs as merge
from ovforge.synthesis.replay import replay_pair as replay
from ovforge.synthesis.tracks import annotate_pairs as annotate

__all__ = ["annotate", "check", "export", "generate", "merge", "replay", "sheet"]


def generate(name: str, *, progress: Progress | None = None, **options: Any) -> StepSummary:
    """Make a second view of every image, as `ovforge pairs generate` does; its options are the keywords.

    Raises:
        InputError: an input is missing or malformed, or the run's folder holds another run.
        WorkError: shards failed, or most images could not be used; everything else is done and stays.
    """
    from ovforge.cli import pairs

    summary: StepSummary = pairs.generate.as_function(name=name, progress=progress, **options)  # type: ignore[attr-defined]
    return summary


def check(name: str, *, progress: Progress | None = None, **options: Any) -> StepSummary:
    """Check all that a run will need, as `ovforge pairs check` does; its options are the keywords. Writes nothing.

    Raises:
        InputError: generating, merging or annotating would refuse something; says what.
    """
    from ovforge.cli import pairs

    summary: StepSummary = pairs.check.as_function(name=name, progress=progress, **options)  # type: ignore[attr-defined]
    return summary


def sheet(name: str, *, progress: Progress | None = None, **options: Any) -> StepSummary:
    """Draw pairs side by side on one sheet, as `ovforge pairs sheet` does; its options are the keywords."""
    from ovforge.cli import pairs

    summary: StepSummary = pairs.sheet.as_function(name=name, progress=progress, **options)  # type: ignore[attr-defined]
    return summary
