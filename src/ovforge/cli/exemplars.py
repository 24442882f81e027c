"""`ovforge exemplars`: collect images of every class, sample some, crop them."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from ovforge.cli.common import Console, command
from ovforge.cli.executors import executor_of, select_shards
from ovforge.cli.output import ForgivingStream
from ovforge.options.executors import ExecutorOptions
from ovforge.options.exemplars import CollateOptions, CoverageTable, CropOptions, ExemplarIndexOptions, SampleOptions
from ovforge.records.reporting import StepSummary

ROWS_SHOWN = 8
PIPE_WIDTH = 160

app = typer.Typer(help="Exemplars of every class: collect, sample, crop.", no_args_is_help=True)


@command(app, "collate", example="ovforge exemplars collate --require 10")
def collate(console: Console, options: CollateOptions, table: CoverageTable) -> StepSummary:
    """Collect exemplars of every class from LVIS, ImageNet-21K and Visual Genome.

    A source that is not there is skipped; the summary says what that costs.
    """
    from ovforge.exemplars import collate_exemplars

    with console.progress() as progress:
        summary = collate_exemplars(options, progress=progress)
    if not console.json:
        _show_coverage(Path(summary.outputs["coverage report"]), all_classes=table.all_classes)
    return summary


@command(app, "sample", example="ovforge exemplars sample -k 5 --exclude-ann datasets/lvis/lvis_v1_val.json")
def sample(console: Console, options: SampleOptions) -> StepSummary:
    """Sample K exemplars of every class, weighted by area, without replacement."""
    from ovforge.exemplars import sample_exemplars

    with console.progress() as progress:
        return sample_exemplars(options, progress=progress)


@command(app, "crop", example="ovforge exemplars crop --form lists --out datasets/lvis_exemplars_ovmr_K30")
def crop(console: Console, options: CropOptions, run: ExecutorOptions) -> StepSummary:
    """Cut the sampled exemplars out of their images; whole images are copied as they are.

    A run that was stopped resumes when the same command is run again.
    """
    from ovforge.exemplars import crop_exemplars

    with console.progress() as progress:
        return crop_exemplars(options, executor_of(run), shards=select_shards(run.shards), progress=progress)


@command(app, "index", example="ovforge exemplars index --crops datasets/lvis_exemplars_ovmr_K30")
def index(console: Console, options: ExemplarIndexOptions) -> StepSummary:
    """List the cut-out exemplars as an annotation file: size, file and class of each."""
    from ovforge.exemplars import index_exemplars

    with console.progress() as progress:
        return index_exemplars(options, progress=progress)


def _show_coverage(path: Path, *, all_classes: bool) -> None:
    """Two tables: the sources by frequency of the classes, and the classes that lack exemplars."""
    import msgspec
    from rich.box import SIMPLE_HEAD
    from rich.console import Console as RichConsole
    from rich.table import Table

    from ovforge.records.coverage import Coverage

    report = msgspec.json.decode(path.read_bytes(), type=Coverage)
    # A table in a file or a pipe needs no terminal's width.
    screen = RichConsole(
        file=ForgivingStream(sys.stdout),  # type: ignore[arg-type]
        highlight=False,
        width=None if sys.stdout.isatty() else PIPE_WIDTH,
    )
    totals = Table("classes", "number", "LVIS", "ImageNet", "Visual Genome", "substitutes", "total", box=SIMPLE_HEAD)
    totals.add_column(f"under {report.enough}")
    for column in totals.columns[1:]:
        column.justify = "right"
    groups = {"rare": "r", "common": "c", "frequent": "f", "all": None}
    for name, frequency in groups.items():
        rows = [row for row in report.classes if frequency in (None, row.frequency)]
        sums = (
            [row.lvis for row in rows],
            [row.imagenet21k for row in rows],
            [row.visual_genome for row in rows],
            [row.substitutes for row in rows],
            [row.total for row in rows],
            [row.total < report.enough for row in rows],
        )
        if rows:
            totals.add_row(name, f"{len(rows):,}", *(f"{sum(column):,}" for column in sums))
    screen.print(totals)
    rows = [row for row in report.classes if all_classes or row.total < report.enough]
    if not rows:
        return
    table = Table("class", "LVIS", "ImageNet", "Visual Genome", "substitutes", "total", "why", box=SIMPLE_HEAD)
    for column in table.columns[1:-1]:
        column.justify = "right"
    shown = rows if all_classes else rows[:ROWS_SHOWN]
    for row in shown:
        numbers = (row.lvis, row.imagenet21k, row.visual_genome, row.substitutes, row.total)
        table.add_row(row.synset, *(f"{number:,}" for number in numbers), "; ".join(row.why))
    screen.print(table)
    if len(rows) > len(shown):
        screen.print(f"and {len(rows) - len(shown):,} more classes under {report.enough}: see the coverage report")
