"""`ovforge exemplars view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ovforge.cli.common import Console, command
from ovforge.options.layout import COCO_DIR, EXEMPLAR_DICT, IMAGENET_21K, LVIS_VAL, VISUAL_GENOME_DIR
from ovforge.options.viewer import ExemplarsViewOptions, ServeOptions


def register(app: typer.Typer) -> None:
    """Add the command to the group `exemplars`."""

    @command(app, "view", example="ovforge exemplars view datasets/metadata/exemplar_dict.json")
    def view(
        console: Console,
        file: Annotated[
            Path, typer.Argument(help="An exemplar dictionary, or sampled exemplars (a K-shot file).")
        ] = EXEMPLAR_DICT,
        *,
        lvis_img_dir: Annotated[
            Path, typer.Option("--lvis-img-dir", help="Folder with train2017, or an HDF5 file of images.")
        ] = COCO_DIR,
        imagenet_img_dir: Annotated[
            Path, typer.Option("--imagenet-img-dir", help="ImageNet-21K: its parts, a flat copy, or class tars.")
        ] = IMAGENET_21K,
        visual_genome_img_dir: Annotated[
            Path, typer.Option("--visual-genome-img-dir", help="Folder with VG_100K and VG_100K_2.")
        ] = VISUAL_GENOME_DIR,
        enough: Annotated[
            int | None,
            typer.Option(
                min=1,
                help="With fewer different exemplars a class falls short. Default: 10; for sampled exemplars, K.",
                show_default=False,
            ),
        ] = None,
        check: Annotated[
            Path | None,
            typer.Option(
                help="Report of `exemplars check` whose findings are shown. Default: FILE.check.json.",
                show_default=False,
            ),
        ] = None,
        categories: Annotated[
            Path | None,
            typer.Option(
                help=f"Annotation file with names and definitions of classes. Default: {LVIS_VAL}, if it is there.",
                show_default=False,
            ),
        ] = None,
        serving: ServeOptions,
    ) -> None:
        """Look at exemplars in a browser: classes, their crops by source, classes that fall short, what check found.

        Serves a page to this machine only, until Ctrl+C. Images are read where they lie.
        """
        from ovforge.viewer.step import view_exemplars

        def announce(address: str) -> None:
            typer.echo(f"{file.name}: {address}  (Ctrl+C ends)")

        options = ExemplarsViewOptions(
            file, lvis_img_dir, imagenet_img_dir, visual_genome_img_dir, enough, check, categories
        )
        view_exemplars(options, serving, announce=announce)
