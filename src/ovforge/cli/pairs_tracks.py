"""`ovforge pairs merge` and `ovforge pairs annotate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ovforge.cli.common import Console, command
from ovforge.options.rejection import RejectAs
from ovforge.options.tracks import (
    PAIRS_FOLDER,
    AnnotateOptions,
    CategoryList,
    MergeOptions,
    PairObjects,
    Reader,
)
from ovforge.records.reporting import StepSummary

Name = Annotated[str, typer.Argument(help="The run's name.", show_default=False)]
Folder = Annotated[Path, typer.Option(help="Where runs and merged files are.")]
Annotations = Annotated[
    Path | None,
    typer.Option(
        help="The annotation file that the pairs were made from. Default: the one that the run was started with.",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is already there.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands to the group `pairs`."""

    @command(app, "merge", example="ovforge pairs merge my_pairs")
    def merge(
        console: Console,
        *,
        name: Name,
        folder: Folder = PAIRS_FOLDER,
        out: Annotated[
            Path | None,
            typer.Option(
                help="The merged HDF5 file; .pkl and .pairs.json go beside it. Default: FOLDER/NAME.h5.",
                show_default=False,
            ),
        ] = None,
        annotations: Annotations = None,
        images: Annotated[
            Path | None,
            typer.Option(
                help="Folder or HDF5 file of the originals, where the partitions lack them. "
                "Default: data/lvis/train_imgs.hdf5 or data/lvis/train2017.",
                show_default=False,
            ),
        ] = None,
        partitions: Annotated[
            int | None,
            typer.Option(min=1, help="How many partitions there are. Default: as their names say.", show_default=False),
        ] = None,
        variants: Annotated[
            int | None,
            typer.Option(min=0, help="Second views per image to merge. Default: all.", show_default=False),
        ] = None,
        overwrite: Overwrite = False,
    ) -> StepSummary:
        """Merge a run's partitions into one HDF5 file and one pickle file, once they are proven complete."""
        from ovforge.synthesis.merge import merge_pairs

        options = MergeOptions(name, folder, out, annotations, images, partitions, variants, overwrite)
        with console.progress() as progress:
            return merge_pairs(options, progress=progress)

    @command(app, "annotate", example="ovforge pairs annotate my_pairs --min-fidelity 0.5")
    def annotate(
        console: Console,
        *,
        name: Name,
        folder: Folder = PAIRS_FOLDER,
        out: Annotated[
            Path | None,
            typer.Option(help="The file to write. Default: FOLDER/annotations/NAME.json.", show_default=False),
        ] = None,
        annotations: Annotations = None,
        variants: Annotated[
            int | None,
            typer.Option(min=0, help="Second views per image. Default: all that were merged.", show_default=False),
        ] = None,
        min_area: Annotated[
            float | None,
            typer.Option(
                min=0,
                help="Only objects with a larger annotated area, in square pixels, are followed. "
                "Default: as the run was made, 4096 where nobody says.",
                show_default=False,
            ),
        ] = None,
        min_fidelity: Annotated[
            float | None,
            typer.Option(
                min=0, max=1, help="Leave out repainted objects with a lower fidelity.", show_default="none is skipped"
            ),
        ] = None,
        min_visibility: Annotated[
            float | None,
            typer.Option(
                min=0,
                max=1,
                help="Skip objects of whose moved mask a smaller share is seen in the second view.",
                show_default="none is left out",
            ),
        ] = None,
        objects: Annotated[
            PairObjects,
            typer.Option(
                help="Objects of a pair: those in every frame of it, or also those that left the second view."
            ),
        ] = PairObjects.BOTH,
        reject: Annotated[
            str,
            typer.Option(
                metavar="RULE",
                help="Reject objects by their scores, see `pairs score`: same<0.6,boundary<0.3,repeated>0.5.",
                show_default="none is rejected",
            ),
        ] = "",
        reject_as: Annotated[
            RejectAs | None,
            typer.Option(help="Rejected objects become ignore regions (iscrowd 1), the default, or are skipped."),
        ] = None,
        stills: Annotated[
            bool,
            typer.Option(
                "--stills/--no-stills",
                help="Write every image as a video of one frame with all its annotations, too: to NAME.stills.json, "
                "for OVTrack into the file itself.",
            ),
        ] = True,
        masks: Annotated[
            bool, typer.Option("--masks/--no-masks", help="Write masks, of both views as compressed RLE.")
        ] = True,
        categories: Annotated[
            CategoryList | None,
            typer.Option(
                help="Classes of the file: as in the annotation file, without the rare ones, or all 1,203 of LVIS "
                "under LVIS's ids. Default: all for OVTR, else as given.",
                show_default=False,
            ),
        ] = None,
        reader: Annotated[
            Reader | None,
            typer.Option("--for", help="Whose training reads the file.", show_default="any that reads COCO or TAO"),
        ] = None,
        original: Annotated[
            bool, typer.Option("--original", help="What OVTrack's own script writes, field for field.")
        ] = False,
        overwrite: Overwrite = False,
    ) -> StepSummary:
        """Write the COCO and TAO video JSON of a merged run: an object and its second views carry one track_id."""
        from ovforge.synthesis.tracks import annotate_pairs

        options = AnnotateOptions(
            name,
            folder,
            out,
            annotations,
            variants,
            min_area,
            min_fidelity,
            min_visibility,
            objects=objects,
            reject=reject,
            reject_as=reject_as,
            stills=stills,
            masks=masks,
            categories=categories,
            reader=reader,
            original=original,
            overwrite=overwrite,
        )
        with console.progress() as progress:
            return annotate_pairs(options, progress=progress)


def make_app() -> typer.Typer:
    """The two commands by themselves, for the original scripts' command lines."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich")
    register(app)
    return app
