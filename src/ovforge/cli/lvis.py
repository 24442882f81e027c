"""`ovforge lvis`: annotation file in, annotation file out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ovforge.cli.common import Console, command
from ovforge.options import annotations as options
from ovforge.options.annotations import (
    AddFrequenciesOptions,
    BaseClassesOptions,
    CategoryInfoOptions,
    IdMode,
    MergeCocoOptions,
    MergeVariant,
    RemoveRareOptions,
)

app = typer.Typer(help="LVIS files: rare classes, counts, COCO, base classes.", no_args_is_help=True)

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.", show_default=False)]
Exclude = Annotated[str, typer.Option("--exclude", help="Frequencies to take out: letters of rcf.")]


def _ann(text: str) -> Any:
    return typer.Option("--ann", help=text)


def _out(text: str) -> Any:
    return typer.Option("--out", help=f"Where to write; by default {text}.", show_default=False)


@command(app, "remove-rare", example="ovforge lvis remove-rare --ann datasets/lvis/lvis_v1_train.json")
def remove_rare(
    console: Console,
    *,
    ann: Annotated[Path, _ann("The LVIS file.")] = options.LVIS_TRAIN,
    out: Annotated[Path | None, _out("*_norare.json beside the input")] = None,
    exclude: Exclude = "r",
    overwrite: Overwrite = False,
) -> Any:
    """Take the annotations of rare classes out; images and categories stay."""
    from ovforge.annotations import remove_rare as step

    with console.progress() as progress:
        return step(RemoveRareOptions(ann, out, exclude=exclude, overwrite=overwrite), progress=progress)


@command(app, "category-info", example="ovforge lvis category-info --ann datasets/lvis/lvis_v1_train.json --add_freq")
def category_info(
    console: Console,
    *,
    ann: Annotated[Path, _ann("The LVIS file.")] = options.LVIS_TRAIN,
    out: Annotated[Path | None, _out("*_cat_info.json beside the input")] = None,
    add_freq: Annotated[bool, typer.Option("--add_freq", "--add-freq", help="Work frequency out anew.")] = False,
    r_thresh: Annotated[int, typer.Option("--r_thresh", "--r-thresh", help="Rare is below so many images.")] = 10,
    c_thresh: Annotated[int, typer.Option("--c_thresh", "--c-thresh", help="Common is below so many.")] = 100,
    bypass: Annotated[
        bool, typer.Option("--bypass", help="Count pos_category_ids of the images instead of annotations.")
    ] = False,
    overwrite: Overwrite = False,
) -> Any:
    """Count images and objects of each class; write the list of categories with the counts."""
    from ovforge.annotations import category_info as step

    chosen = CategoryInfoOptions(
        ann, out, add_freq=add_freq, r_thresh=r_thresh, c_thresh=c_thresh, bypass=bypass, overwrite=overwrite
    )
    with console.progress() as progress:
        return step(chosen, progress=progress)


@command(app, "add-frequencies", example="ovforge lvis add-frequencies --ann my_data.json")
def add_frequencies(
    console: Console,
    *,
    ann: Annotated[Path, _ann("The annotation file.")] = options.LVIS_TRAIN,
    out: Annotated[Path | None, _out("*_freq.json beside the input")] = None,
    r_thresh: Annotated[int, typer.Option("--r_thresh", "--r-thresh", help="Rare is below so many images.")] = 10,
    c_thresh: Annotated[int, typer.Option("--c_thresh", "--c-thresh", help="Common is below so many.")] = 100,
    bypass: Annotated[
        bool, typer.Option("--bypass", help="Count pos_category_ids of the images instead of annotations.")
    ] = False,
    overwrite: Overwrite = False,
) -> Any:
    """Copy an annotation file, its classes with frequency, image_count and instance_count counted anew."""
    from ovforge.annotations import add_frequencies as step

    chosen = AddFrequenciesOptions(ann, out, r_thresh=r_thresh, c_thresh=c_thresh, bypass=bypass, overwrite=overwrite)
    with console.progress() as progress:
        return step(chosen, progress=progress)


@command(app, "merge-coco", example="ovforge lvis merge-coco --variant mask")
def merge_coco(
    console: Console,
    *,
    lvis: Annotated[Path, typer.Option("--lvis", help="The LVIS file.")] = options.OVTRACK_LVIS_TRAIN,
    coco: Annotated[
        Path,
        typer.Option(
            "--coco",
            help="The COCO instances file; where the default is not there, "
            "it is looked for in data/lvis/annotations, too.",
        ),
    ] = options.OVTRACK_COCO_TRAIN,
    out: Annotated[Path | None, _out("*+coco_mask_v1.json or *+coco_box_v1.json beside the LVIS file")] = None,
    variant: Annotated[MergeVariant, typer.Option("--variant", help="With outlines or boxes only.")] = (
        MergeVariant.MASK
    ),
    iou_threshold: Annotated[
        float, typer.Option("--iou-threshold", help="From this overlap on, LVIS has the COCO object already.")
    ] = 0.7,
    overwrite: Overwrite = False,
) -> Any:
    """Add the COCO annotations that LVIS does not have to an LVIS file."""
    from ovforge.annotations import merge_coco as step

    chosen = MergeCocoOptions(lvis, coco, out, variant=variant, iou_threshold=iou_threshold, overwrite=overwrite)
    with console.progress() as progress:
        return step(chosen, progress=progress)


@command(app, "base-classes", example="ovforge lvis base-classes --mode compact")
def base_classes(
    console: Console,
    *,
    ann: Annotated[Path, _ann("The LVIS file, as lvis merge-coco writes it.")] = BaseClassesOptions.annotations,
    out: Annotated[Path | None, _out("*_base.json beside the input")] = None,
    class_names: Annotated[
        Path | None,
        typer.Option(
            "--class-names", help="Where to write the names; by default lvis_classes_v1.txt beside the output.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[IdMode, typer.Option("--mode", help="Number the classes 1, 2, 3, ... or keep their ids.")] = (
        IdMode.COMPACT
    ),
    exclude: Exclude = "r",
    overwrite: Overwrite = False,
) -> Any:  # fmt: skip
    """Keep the base classes (common and frequent) only, in annotations, categories and the images' id lists."""
    from ovforge.annotations import base_classes as step

    chosen = BaseClassesOptions(ann, out, class_names, mode=mode, exclude=exclude, overwrite=overwrite)
    with console.progress() as progress:
        return step(chosen, progress=progress)
