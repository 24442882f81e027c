"""`ovforge exemplars embed | classifier | check`."""

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
from ovforge.cli.vision_options import BatchOption, DeviceOption, DtypeOption, OptionalVisionOption, VisionOption
from ovforge.errors import InputError
from ovforge.options import layout
from ovforge.options.vision import (
    DEFAULT_TEMPLATE,
    CheckOptions,
    ClassifierKind,
    ClassifierLayout,
    ClassifierOptions,
    Dtype,
    EmbedOptions,
    VisionOptions,
    WithoutExemplars,
)
from ovforge.records.reporting import StepSummary

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is already there.", show_default=False)]
TemplateOption = Annotated[
    list[str] | None,
    typer.Option("--template", help=f"Text per class name, with {{}}; again for more.  [default: {DEFAULT_TEMPLATE}]"),
]
DescriptionsOption = Annotated[
    Path | None, typer.Option(help="JSON from class to a list of texts, in place of templates.", show_default=False)
]
FILE_HELP = "Exemplars, as sample or collate writes them."


def register(app: typer.Typer) -> None:
    """Add the commands to the group `exemplars`."""

    @command(
        app, "embed", example="ovforge exemplars embed drawn.json --vision models/clip-vit-base-patch32 --augment 5"
    )
    def embed(
        console: Console,
        file: Annotated[Path, typer.Argument(help=FILE_HELP, show_default=False)],
        *,
        vision: VisionOption,
        device: DeviceOption = "auto",
        dtype: DtypeOption = Dtype.FLOAT32,
        batch: BatchOption = 64,
        out: Annotated[
            Path | None,
            typer.Option(
                help="Folder of the features. Default: datasets/metadata/exemplar_features/MODEL.", show_default=False
            ),
        ] = None,
        lvis_images: Annotated[
            Path, typer.Option("--lvis-img-dir", help="Folder that holds train2017, or an HDF5 file of images.")
        ] = layout.COCO_DIR,
        imagenet_images: Annotated[
            Path, typer.Option("--imagenet-img-dir", help="ImageNet-21K: its parts, a flat copy, class tars, or HDF5.")
        ] = layout.IMAGENET_21K,
        visual_genome_images: Annotated[
            Path, typer.Option("--visual-genome-img-dir", help="Folder that holds VG_100K and VG_100K_2, or HDF5.")
        ] = layout.VISUAL_GENOME_DIR,
        context: Annotated[
            float, typer.Option("--context", help="Crops are wider than their boxes by this part.")
        ] = 0.4,
        square: Annotated[
            bool, typer.Option("--square/--no-square", help="Make crops square where the image allows.")
        ] = True,
        augment: Annotated[
            int, typer.Option("--augment", min=0, help="Random views of every crop to average; MM-OVOD takes 5.")
        ] = 0,
        seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random views.")] = 0,
        threads: Annotated[
            int, typer.Option("--threads", min=1, help="Threads per worker that decode beside the model.")
        ] = 2,
        executor: ExecutorOption = ExecutorName.LOCAL,
        address: AddressOption = None,
        workers: WorkersOption = 0,
        shards: ShardsOption = None,
        overwrite: Overwrite = False,
    ) -> StepSummary:
        """Give every exemplar a feature; those that have one already are not looked at again.

        A run that was stopped goes on where it was: run the same command again.
        """
        from ovforge.vision import embed_exemplars

        options = EmbedOptions(
            exemplars=file,
            vision=VisionOptions(vision, device, dtype, batch),
            output=out,
            lvis_images=lvis_images,
            imagenet_images=imagenet_images,
            visual_genome_images=visual_genome_images,
            context=context,
            square=square,
            augment=augment,
            seed=seed,
            threads=threads,
            overwrite=overwrite,
        )
        pool = make_executor(executor, workers=workers, address=address, device=device)
        with console.progress() as progress:
            return embed_exemplars(options, pool, shards=select_shards(shards), progress=progress)

    @command(
        app,
        "classifier",
        example="ovforge exemplars classifier drawn.json --vision models/clip-vit-base-patch32 --out X.npy",
    )
    def classifier(
        console: Console,
        file: Annotated[
            Path | None, typer.Argument(help=f"{FILE_HELP} Not needed for --kind text.", show_default=False)
        ] = None,
        *,
        out: Annotated[Path, typer.Option(help="The file to write.", show_default=False)],
        kind: Annotated[
            ClassifierKind,
            typer.Option(help="What rows are made from; fused: normalised text plus normalised image, as in MM-OVOD."),
        ] = ClassifierKind.FUSED,
        file_layout: Annotated[
            ClassifierLayout,
            typer.Option("--layout", help="Who reads the file: .npy for Detic and MM-OVOD, .pt for OVMR."),
        ] = ClassifierLayout.DETIC,
        categories: Annotated[
            Path, typer.Option("--categories", help="LVIS file whose categories are wanted; rows by their ids.")
        ] = layout.LVIS_VAL,
        features: Annotated[
            Path | None,
            typer.Option("--features", help="What embed wrote. Default: the model's folder there.", show_default=False),
        ] = None,
        vision: OptionalVisionOption = None,
        device: DeviceOption = "auto",
        dtype: DtypeOption = Dtype.FLOAT32,
        batch: BatchOption = 64,
        template: TemplateOption = None,
        descriptions: DescriptionsOption = None,
        without_exemplars: Annotated[
            WithoutExemplars, typer.Option(help="Classes without exemplars: an error, or their text alone.")
        ] = WithoutExemplars.ERROR,
        add: Annotated[
            list[str] | None,
            typer.Option(
                "--add",
                metavar="NAME=FOLDER",
                help="A class of one's own with a folder of its images, after the others; NAME= for text alone.",
                show_default=False,
            ),
        ] = None,
        overwrite: Overwrite = False,
    ) -> StepSummary:
        """Make a detector's classifier: a row per class, from texts, exemplars, or both."""
        from ovforge.vision import make_classifier

        options = ClassifierOptions(
            output=out,
            exemplars=file,
            kind=kind,
            categories=categories,
            layout=file_layout,
            features=features,
            vision=None if vision is None else VisionOptions(vision, device, dtype, batch),
            templates=tuple(template or (DEFAULT_TEMPLATE,)),
            descriptions=descriptions,
            without_exemplars=without_exemplars,
            added=tuple(_added(text) for text in add or ()),
            overwrite=overwrite,
        )
        with console.progress() as progress:
            return make_classifier(options, progress=progress)

    @command(
        app, "check", example="ovforge exemplars check drawn.json --features F --vision models/clip-vit-base-patch32"
    )
    def check(
        console: Console,
        file: Annotated[Path, typer.Argument(help=f"{FILE_HELP} The val list of two.", show_default=False)],
        *,
        features: Annotated[Path, typer.Option("--features", help="What embed wrote.", show_default=False)],
        train_exemplars: Annotated[
            Path | None,
            typer.Option(
                "--train-exemplars",
                help="The train list. Default: the first exemplars of each class are train, as crop --form split.",
                show_default=False,
            ),
        ] = None,
        train_shots: Annotated[int, typer.Option("--train-shots", help="How many of one list are train.")] = 10,
        categories: Annotated[Path, typer.Option("--categories", help="LVIS file with the classes.")] = layout.LVIS_VAL,
        out: Annotated[
            Path | None, typer.Option(help="The report. Default: FILE.check.json.", show_default=False)
        ] = None,
        vision: OptionalVisionOption = None,
        device: DeviceOption = "auto",
        dtype: DtypeOption = Dtype.FLOAT32,
        batch: BatchOption = 64,
        template: TemplateOption = None,
        descriptions: DescriptionsOption = None,
        similarity: Annotated[float, typer.Option(help="Near-duplicates have at least this cosine.")] = 0.97,
        deviations: Annotated[
            float, typer.Option(help="An outlier is so many deviations less like its class than the others.")
        ] = 3.5,
        coverage: Annotated[
            Path | None,
            typer.Option(help="Coverage report of collate, which receives each class's accuracy.", show_default=False),
        ] = None,
        overwrite: Overwrite = False,
    ) -> StepSummary:
        """Find near-duplicates, outliers and classes that their exemplars do not tell apart."""
        from ovforge.vision import check_exemplars

        options = CheckOptions(
            exemplars=file,
            features=features,
            train_exemplars=train_exemplars,
            train_shots=train_shots,
            categories=categories,
            output=out,
            vision=None if vision is None else VisionOptions(vision, device, dtype, batch),
            templates=tuple(template or (DEFAULT_TEMPLATE,)),
            descriptions=descriptions,
            similarity=similarity,
            deviations=deviations,
            coverage=coverage,
            overwrite=overwrite,
        )
        with console.progress() as progress:
            return check_exemplars(options, progress=progress)


def _added(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not name or not equals:
        raise InputError(f"--add={text}: not of the form NAME=FOLDER", hint="NAME= adds a class by its name alone")
    return name, Path(folder)
