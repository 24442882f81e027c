"""`ovforge exemplars`: collect images of every class, draw some, cut them out."""

from __future__ import annotations

import sys
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
from ovforge.options import layout
from ovforge.options.exemplars import (
    CollateOptions,
    CropForm,
    CropOptions,
    ExemplarIndexOptions,
    Pick,
    SampleOptions,
    Shortage,
    Substitutes,
)
from ovforge.records.reporting import StepSummary

ROWS_SHOWN = 30
PIPE_WIDTH = 160

app = typer.Typer(
    help="Exemplars of every class: collect, draw, cut out.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.", show_default=False)]


@command(app, "collate", example="ovforge exemplars collate --require 10")
def collate(
    console: Console,
    *,
    lvis_dir: Annotated[
        Path, typer.Option("--lvis-dir", help="Folder with lvis_v1_train.json, or that file.")
    ] = layout.LVIS_DIR,
    imagenet_dir: Annotated[
        Path, typer.Option("--imagenet-dir", help="ImageNet-21K: its parts, a flat copy, or class tars.")
    ] = layout.IMAGENET_21K,
    visual_genome_dir: Annotated[
        Path, typer.Option("--visual-genome-dir", help="Folder with objects.json and image_data.json.")
    ] = layout.VISUAL_GENOME_DIR,
    out: Annotated[
        Path, typer.Option("--out", "--output-path", help="Where the dictionary goes.")
    ] = layout.EXEMPLAR_DICT,
    coverage: Annotated[
        Path | None, typer.Option("--coverage", help="Where the coverage report goes; default: beside the dictionary.")
    ] = None,
    substitutes: Annotated[
        Substitutes,
        typer.Option(
            "--substitutes",
            help="Images of related synsets go to the classes still under ten, to all 43 listed ones, or to none.",
        ),
    ] = Substitutes.LACKING,
    min_area: Annotated[float, typer.Option("--min-area", help="Smaller boxes are skipped, in square pixels.")] = 1024,
    visual_genome_under: Annotated[
        int, typer.Option("--visual-genome-under", help="Visual Genome goes to classes with fewer exemplars than this.")
    ] = 40,
    require: Annotated[
        int | None, typer.Option("--require", help="A class with fewer exemplars than this is an error.")
    ] = None,
    all_classes: Annotated[
        bool, typer.Option("--all-classes", help="Show every class in the table.", show_default=False)
    ] = False,
    overwrite: OverwriteOption = False,
) -> StepSummary:
    """Collect exemplars of every class from LVIS, ImageNet-21K and Visual Genome.

    A source that is not there is skipped; the summary says what that costs.
    """
    from ovforge.exemplars import collate_exemplars

    options = CollateOptions(
        output=out,
        lvis_dir=lvis_dir,
        imagenet_dir=imagenet_dir,
        visual_genome_dir=visual_genome_dir,
        coverage=coverage,
        substitutes=substitutes,
        min_area=min_area,
        visual_genome_under=visual_genome_under,
        require=require,
        overwrite=overwrite,
    )
    with console.progress() as progress:
        summary = collate_exemplars(options, progress=progress)
    if not console.json:
        _show_coverage(Path(summary.outputs["coverage report"]), all_classes=all_classes)
    return summary


@command(app, "sample", example="ovforge exemplars sample -k 5 --exclude-ann datasets/lvis/lvis_v1_val.json")
def sample(
    console: Console,
    *,
    exemplars: Annotated[
        Path, typer.Option("--exemplars", "--exemplar-dict-path", help="The dictionary that collate writes.")
    ] = layout.EXEMPLAR_DICT,
    categories: Annotated[
        Path, typer.Option("--categories", "--lvis-ann-path", help="LVIS file whose categories are wanted.")
    ] = layout.LVIS_VAL,
    k: Annotated[int, typer.Option("-k", "-K", help="Exemplars a class.")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws.")] = 42,
    shortage: Annotated[
        Shortage | None,
        typer.Option(
            "--shortage",
            help="Classes with fewer than K: take each once before repeating, redraw all with replacement as OVMR "
            "does, keep fewer, or stop.  [default: repeat]",
        ),
    ] = None,
    nested: Annotated[
        bool,
        typer.Option("--nested", help="A smaller K of the same seed is the beginning of a larger.", show_default=False),
    ] = False,
    exclude: Annotated[
        Path | None, typer.Option("--exclude-ann", help="No exemplar from the images of this annotation file.")
    ] = None,
    visual_genome_dir: Annotated[
        Path,
        typer.Option(
            "--visual-genome-dir", help="Its image_data.json says which images are COCO's; see --exclude-ann."
        ),
    ] = layout.VISUAL_GENOME_DIR,
    with_names: Annotated[
        bool, typer.Option("--with-names", help="Write a dictionary keyed by synset, not a list.", show_default=False)
    ] = False,
    pick: Annotated[
        Pick, typer.Option("--pick", help="By area as the original, or by features: typical or diverse ones.")
    ] = Pick.AREA,
    features: Annotated[
        Path | None, typer.Option("--features", help="What embed wrote; for --pick typical and diverse.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "--out-path", help="Default: datasets/metadata/lvis_image_exemplar_dict_K-00K_own.json, by K."
        ),
    ] = None,
    overwrite: OverwriteOption = False,
) -> StepSummary:
    """Draw K exemplars of every class, weighted by area, without replacement."""
    from ovforge.exemplars import sample_exemplars

    options = SampleOptions(
        exemplars=exemplars,
        categories=categories,
        output=out or layout.exemplars_of(k),
        k=k,
        seed=seed,
        shortage=shortage or Shortage.REPEAT,
        nested=nested,
        exclude=exclude,
        visual_genome_dir=visual_genome_dir,
        with_names=with_names,
        pick=pick,
        features=features,
        overwrite=overwrite,
    )
    with console.progress() as progress:
        return sample_exemplars(options, progress=progress)


@command(app, "crop", example="ovforge exemplars crop --form lists --out datasets/lvis_exemplars_ovmr_K30")
def crop(
    console: Console,
    *,
    exemplars: Annotated[
        Path, typer.Option("--exemplars", "--ann-path", help="What sample writes; the val list of --form lists.")
    ] = layout.exemplars_of(30),
    form: Annotated[
        CropForm,
        typer.Option(
            "--form",
            help="split: one list, in folders train, val and all by category id; lists: two lists, in folders val and "
            "train by place in the list.",
        ),
    ] = CropForm.SPLIT,
    train_exemplars: Annotated[
        Path | None,
        typer.Option(
            "--train-exemplars", "--train_ann_path", help="The train list of --form lists; default: the same list."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "--save_dir", "--save-dir", help="Where the folders go.")
    ] = layout.EXEMPLAR_CROPS,
    lvis_images: Annotated[
        Path, typer.Option("--lvis-img-dir", help="Folder that holds train2017, or an HDF5 file of images.")
    ] = layout.COCO_DIR,
    imagenet_images: Annotated[
        Path, typer.Option("--imagenet-img-dir", help="ImageNet-21K: its parts, a flat copy, class tars, or HDF5.")
    ] = layout.IMAGENET_21K,
    visual_genome_images: Annotated[
        Path, typer.Option("--visual-genome-img-dir", help="Folder that holds VG_100K and VG_100K_2, or HDF5.")
    ] = layout.VISUAL_GENOME_DIR,
    context: Annotated[float, typer.Option("--context", help="Crops are wider than their boxes by this part.")] = 0.4,
    square: Annotated[
        bool, typer.Option("--square/--no-square", help="Make crops square where the image allows.")
    ] = True,
    quality: Annotated[int, typer.Option("--quality", help="JPEG quality; whole images are copied.")] = 95,
    train_shots: Annotated[
        int, typer.Option("--train-shots", help="Exemplars of a class that --form split puts into train.")
    ] = 10,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Also draw a contact sheet per class.", show_default=False)
    ] = False,
    executor: ExecutorOption = ExecutorName.LOCAL,
    address: AddressOption = None,
    workers: WorkersOption = 0,
    shards: ShardsOption = None,
    overwrite: OverwriteOption = False,
) -> StepSummary:
    """Cut the drawn exemplars out of their images; whole images are copied as they are.

    A run that was stopped goes on where it was: run the same command again.
    """
    from ovforge.exemplars import crop_exemplars

    options = CropOptions(
        exemplars=exemplars,
        output=out,
        form=form,
        train_exemplars=train_exemplars,
        lvis_images=lvis_images,
        imagenet_images=imagenet_images,
        visual_genome_images=visual_genome_images,
        context=context,
        square=square,
        quality=quality,
        train_shots=train_shots,
        sheet=sheet,
        overwrite=overwrite,
    )
    pool = make_executor(executor, workers=workers, address=address)
    with console.progress() as progress:
        return crop_exemplars(options, pool, shards=select_shards(shards), progress=progress)


@command(app, "index", example="ovforge exemplars index --crops datasets/lvis_exemplars_ovmr_K30")
def index(
    console: Console,
    *,
    crops: Annotated[
        Path, typer.Option("--crops", "--lvis-exemplar-path", help="The folder that crop writes.")
    ] = layout.EXEMPLAR_CROPS_OVMR,
    categories: Annotated[
        Path, typer.Option("--categories", "--lvis-meta-path", help="LVIS file whose categories are wanted.")
    ] = layout.LVIS_VAL,
    split: Annotated[str, typer.Option("--split", help="Which folder to list: train, val or all.")] = "val",
    out: Annotated[
        Path | None,
        typer.Option("--out", "--out-path", help="Default: annotations/lvis_exemplar_info.json beside the crops."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> StepSummary:
    """List the cut-out exemplars as an annotation file: size, file and class of each."""
    from ovforge.exemplars import index_exemplars

    options = ExemplarIndexOptions(
        crops=crops,
        categories=categories,
        output=out or crops / "annotations" / "lvis_exemplar_info.json",
        split=split,
        overwrite=overwrite,
    )
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
    screen = RichConsole(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
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
