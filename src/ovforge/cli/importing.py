"""`ovforge import`, on the top level."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ovforge.cli.common import Console, command
from ovforge.options.importing import ImportKind, ImportOptions

Kind = Annotated[ImportKind, typer.Argument(help="The data set whose format is read.", show_default=False)]
Annotations = Annotated[
    Path, typer.Argument(help="Its annotation file; for openimages the CSV file of boxes.", show_default=False)
]

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.", show_default=False)]


def _path(text: str) -> Any:
    return typer.Option(help=text, show_default=False)


def register(app: typer.Typer) -> None:
    """Add `import` to the top level."""

    @command(app, "import", example="ovforge import objects365 zhiyuan_objv2_train.json --out own.json")
    def import_(
        console: Console,
        kind: Kind,
        annotations: Annotations,
        *,
        out: Annotated[Path, _path("The COCO/LVIS file to write.")],
        images: Annotated[
            Path | None, _path("openimages: the folder of its images; their headers tell the sizes.")
        ] = None,
        classes: Annotated[Path | None, _path("openimages: class-descriptions-boxable.csv.")] = None,
        masks: Annotated[Path | None, _path("openimages: the CSV file of masks.")] = None,
        mask_images: Annotated[Path | None, _path("openimages: the folder of the masks' PNG files.")] = None,
        image_labels: Annotated[
            Path | None, _path("openimages: the CSV file of image labels; absent classes become neg_category_ids.")
        ] = None,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Replace an output that exists.", show_default=False)
        ] = False,
    ) -> Any:
        """Turn another data set's annotations into the COCO/LVIS file that all steps take."""
        from ovforge.annotations.importing import import_annotations

        options = ImportOptions(kind, annotations, out, images, classes, masks, mask_images, image_labels, overwrite)
        with console.progress() as progress:
            return import_annotations(options, progress=progress)
