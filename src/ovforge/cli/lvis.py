"""`ovforge lvis`: annotation file in, annotation file out."""

from __future__ import annotations

import typer

from ovforge.cli.common import Console, command
from ovforge.options.annotations import (
    AddFrequenciesOptions,
    BaseClassesOptions,
    CategoryInfoOptions,
    MergeCocoOptions,
    RemoveRareOptions,
)
from ovforge.records.reporting import StepSummary

app = typer.Typer(help="LVIS files: rare classes, counts, COCO, base classes.", no_args_is_help=True)


@command(app, "remove-rare", example="ovforge lvis remove-rare --ann datasets/lvis/lvis_v1_train.json")
def remove_rare(console: Console, options: RemoveRareOptions) -> StepSummary:
    """Remove the annotations of rare classes; images and categories stay."""
    from ovforge.annotations import remove_rare as step

    with console.progress() as progress:
        return step(options, progress=progress)


@command(app, "category-info", example="ovforge lvis category-info --ann datasets/lvis/lvis_v1_train.json --add_freq")
def category_info(console: Console, options: CategoryInfoOptions) -> StepSummary:
    """Count images and objects of each class; write the list of categories with the counts."""
    from ovforge.annotations import category_info as step

    with console.progress() as progress:
        return step(options, progress=progress)


@command(app, "add-frequencies", example="ovforge lvis add-frequencies --ann my_data.json")
def add_frequencies(console: Console, options: AddFrequenciesOptions) -> StepSummary:
    """Copy an annotation file, its classes with frequency, image_count and instance_count recomputed."""
    from ovforge.annotations import add_frequencies as step

    with console.progress() as progress:
        return step(options, progress=progress)


@command(app, "merge-coco", example="ovforge lvis merge-coco --variant mask")
def merge_coco(console: Console, options: MergeCocoOptions) -> StepSummary:
    """Add the COCO annotations that LVIS does not have to an LVIS file."""
    from ovforge.annotations import merge_coco as step

    with console.progress() as progress:
        return step(options, progress=progress)


@command(app, "base-classes", example="ovforge lvis base-classes --mode compact")
def base_classes(console: Console, options: BaseClassesOptions) -> StepSummary:
    """Keep the base classes (common and frequent) only, in annotations, categories and the images' id lists."""
    from ovforge.annotations import base_classes as step

    with console.progress() as progress:
        return step(options, progress=progress)
