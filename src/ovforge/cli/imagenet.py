"""`ovforge imagenet`: prepare, index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ovforge.cli.common import Console, command
from ovforge.cli.executors import (
    AddressOption,
    ExecutorName,
    ExecutorOption,
    ShardsOption,
    WorkersOption,
    make_executor,
    select_shards,
)
from ovforge.options.imagenet import ClassChoice, IndexOptions, PrepareOptions, Resize
from ovforge.records.reporting import StepSummary

app = typer.Typer(help="ImageNet-21K: its layout, and its LVIS images.", no_args_is_help=True)


@command(app, "prepare", example="ovforge imagenet prepare winter21_whole.tar.gz --resize 256")
def prepare(
    console: Console,
    *,
    source: Annotated[
        Path,
        typer.Argument(
            help="fall11_whole.tar, winter21_whole.tar.gz, a folder of class tars, or a folder of class folders."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The tree to make: train, val, imagenet21k_small_classes.")
    ] = PrepareOptions.out,
    resize: Annotated[
        Resize,
        typer.Option(
            "--resize", help="off; 224: to 224x224, proportions lost; 256: the shorter edge to 256, proportions kept."
        ),
    ] = Resize.OFF,
    classes: Annotated[
        ClassChoice,
        typer.Option("--classes", help="all; lvis: only the LVIS classes and their substitutes, about a tenth."),
    ] = ClassChoice.ALL,
    small_limit: Annotated[
        int, typer.Option("--small-limit", help="Classes of at most this many images are small classes.", min=0)
    ] = PrepareOptions.small_limit,
    val_images: Annotated[
        int, typer.Option("--val-images", help="Images of every other class that go to val.", min=0)
    ] = PrepareOptions.val_images,
    link: Annotated[
        bool, typer.Option("--link", help="Hard links instead of copies (class folders, --resize off).")
    ] = False,
    no_space_check: Annotated[
        bool, typer.Option("--no-space-check", help="Start even if the disk seems too small.")
    ] = False,
    executor: ExecutorOption = ExecutorName.LOCAL,
    address: AddressOption = None,
    workers: WorkersOption = 0,
    shards: ShardsOption = None,
) -> StepSummary:
    """Sort ImageNet-21K into train, val and small classes, optionally resized. Run again, it goes on.

    --shards and --executor ray are not for a .tar.gz: one process has to read it from its beginning.
    """
    from ovforge.imagenet import prepare as step

    options = PrepareOptions(
        source=source,
        out=out,
        resize=resize,
        classes=classes,
        small_limit=small_limit,
        val_images=val_images,
        link=link,
        check_space=not no_space_check,
    )
    pool = make_executor(executor, workers=workers, address=address)
    with console.progress() as progress:
        return step(options, pool, shards=select_shards(shards), progress=progress)


@command(app, "index", example="ovforge imagenet index --imagenet-path datasets/imagenet/imagenet21k_P")
def index(
    console: Console,
    *,
    imagenet_path: Annotated[
        Path,
        typer.Option(
            "--imagenet-path", help="ImageNet-21K: train/val/small classes, or flat n* folders, or n*.tar class tars."
        ),
    ] = IndexOptions.imagenet,
    lvis_meta_path: Annotated[
        Path, typer.Option("--lvis-meta-path", help="Any LVIS annotation file; only its categories are read.")
    ] = IndexOptions.lvis,
    out_path: Annotated[Path, typer.Option("--out-path", "--out", help="The index to write.")] = IndexOptions.out,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Stop at an unreadable image or an unknown synset instead of leaving it out."),
    ] = False,
    executor: ExecutorOption = ExecutorName.LOCAL,
    address: AddressOption = None,
    workers: WorkersOption = 0,
    shards: ShardsOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing index.")] = False,
) -> StepSummary:
    """Index the ImageNet images whose synset is an LVIS class: imagenet_lvis_image_info.json."""
    from ovforge.imagenet import index as step

    options = IndexOptions(
        imagenet=imagenet_path,
        lvis=lvis_meta_path,
        out=out_path,
        strict=strict,
        overwrite=overwrite,
    )
    pool = make_executor(executor, workers=workers, address=address)
    with console.progress() as progress:
        return step(options, pool, shards=select_shards(shards), progress=progress)
