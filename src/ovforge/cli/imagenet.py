"""`ovforge imagenet`: ImageNet-21K in its layout, and the index of its LVIS images."""

from __future__ import annotations

import typer

from ovforge.cli.common import Console, command
from ovforge.cli.executors import executor_of, select_shards
from ovforge.options.executors import ExecutorOptions
from ovforge.options.imagenet import IndexOptions, PrepareOptions
from ovforge.records.reporting import StepSummary

app = typer.Typer(help="ImageNet-21K: its layout, and its LVIS images.", no_args_is_help=True)


@command(app, "prepare", example="ovforge imagenet prepare winter21_whole.tar.gz --resize 256")
def prepare(console: Console, options: PrepareOptions, run: ExecutorOptions) -> StepSummary:
    """Sort ImageNet-21K into train, val and small classes, optionally resized. Run again, it goes on.

    --shards and --executor ray are not for a .tar.gz: one process has to read it from its beginning.
    """
    from ovforge.imagenet import prepare as step

    with console.progress() as progress:
        return step(options, executor_of(run), shards=select_shards(run.shards), progress=progress)


@command(app, "index", example="ovforge imagenet index --imagenet-path datasets/imagenet/imagenet21k_P")
def index(console: Console, options: IndexOptions, run: ExecutorOptions) -> StepSummary:
    """Index the ImageNet images whose synset is an LVIS class: imagenet_lvis_image_info.json."""
    from ovforge.imagenet import index as step

    with console.progress() as progress:
        return step(options, executor_of(run), shards=select_shards(run.shards), progress=progress)
