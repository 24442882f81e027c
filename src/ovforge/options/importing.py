"""Options of `import`: from the annotation formats of other data sets to the one that all steps take."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options.base import Options, option


class ImportKind(str, Enum):
    """The data set whose release format is read."""

    LVIS_MINIVAL = "lvis-minival"
    """LVIS minival with inserted image names (GLIP, MDETR)."""
    OBJECTS365 = "objects365"
    """Objects365 v2, `zhiyuan_objv2_*.json`."""
    V3DET = "v3det"
    """V3Det, `v3det_2023_v1_*.json`."""
    OPEN_IMAGES = "openimages"
    """OpenImages V4 to V7, `*-annotations-bbox.csv`, and masks where they are given."""
    TAO = "tao"
    """TAO, `train.json`, `validation.json`."""
    BURST = "burst"
    """BURST, `train.json`, `first_frame_annotations.json`."""
    YOUTUBE_VIS = "youtube-vis"
    """YouTube-VIS 2019 and 2021, `instances.json`."""
    LV_VIS = "lv-vis"
    """LV-VIS, `train_instances.json`."""


@dataclass(frozen=True)
class ImportOptions(Options):
    """Options of `import_annotations`."""

    kind: ImportKind = option(help="The data set whose format is read.", argument=True)
    annotations: Path = option(help="Its annotation file; for openimages the CSV file of boxes.", argument=True)
    out: Path = option(help="The COCO/LVIS file to write.")
    images: Path | None = option(None, "openimages: the folder of its images; their headers tell the sizes.")
    classes: Path | None = option(None, "openimages: class-descriptions-boxable.csv.")
    masks: Path | None = option(None, "openimages: the CSV file of masks.")
    mask_images: Path | None = option(
        None, "openimages: the folder of the masks' PNG files, with or without the releases' subfolders 0 to f."
    )
    image_labels: Path | None = option(
        None, "openimages: the CSV file of image labels; absent classes become neg_category_ids."
    )
    overwrite: bool = option(False, "Replace an output that exists.")

    def __post_init__(self) -> None:
        super().__post_init__()
        only_open_images = {
            "images": self.images, "classes": self.classes, "masks": self.masks,
            "mask_images": self.mask_images, "image_labels": self.image_labels,
        }  # fmt: skip
        given = [name.replace("_", "-") for name, value in only_open_images.items() if value is not None]
        if self.kind is not ImportKind.OPEN_IMAGES:
            if given:
                raise InputError(
                    f"--{given[0]}=PATH: only OpenImages needs it, not {self.kind.value}",
                    hint=f"leave out --{given[0]}=PATH",
                )
            return
        if self.images is None or self.classes is None:
            raise InputError(
                "OpenImages gives boxes as shares of the image and classes as codes",
                hint="give the images' folder with --images=DIR and class-descriptions-boxable.csv with --classes=FILE",
            )
        if (self.masks is None) != (self.mask_images is None):
            raise InputError(
                "masks are a CSV file and a folder of PNG files", hint="give both --masks=FILE and --mask-images=DIR"
            )
