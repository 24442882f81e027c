"""Options of `pairs export`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options import layout
from ovforge.options.base import Options, option

PAIRS_FOLDER = layout.PAIRS_DIR


class ExportFormat(str, Enum):
    """What `pairs export` writes."""

    TAO = "tao"
    """TAO's annotations and frames."""
    MOT = "mot"
    """MOTChallenge: one folder per video with `img1`, `gt/gt.txt` and `seqinfo.ini`."""
    YOUTUBE_VIS = "youtube-vis"
    """YouTube-VIS: one annotation per track with its masks in all frames."""
    BURST = "burst"
    """BURST: one sequence per video with its masks frame by frame."""
    CVAT = "cvat"
    """CVAT for video 1.1: tracks of boxes in one XML file, to be looked at and corrected there."""
    COCO = "coco"
    """COCO: every frame a plain image."""
    FIFTYONE = "fiftyone"
    """FiftyOne's own format: a grouped data set, one group per video."""
    WEBDATASET = "webdataset"
    """Shards of tar files, one sample per video."""
    IMAGES = "images"
    """The images alone, under their names."""


@dataclass(frozen=True)
class ExportOptions(Options):
    """Options of `export_pairs`."""

    name: str = option(help="The run's name.", argument=True)
    to: ExportFormat = option(help="The format.")
    folder: Path = option(PAIRS_FOLDER, "Where the merged files are.")
    out: Path | None = option(None, "The folder to write.", shown="FOLDER/exports/NAME-FORMAT")
    annotations: Path | None = option(None, "The pairs JSON.", shown="FOLDER/annotations/NAME.json")
    images: Path | None = option(None, "HDF5 file or folder of the images.", shown="FOLDER/NAME.h5")
    only: Path | None = option(
        None,
        "A text file that lists what to export, one a line: file names of images, names or ids of videos.",
        shown="everything",
    )
    review: bool = option(True, "Leave out the second views that FOLDER/NAME.review.json rejects.")
    copy_images: bool = option(True, "Write the images, too; without them the formats name them all the same.")
    shard_size: int = option(1000, "Pairs or clips per tar file of a WebDataset.", at_least=1)
    overwrite: bool = option(False, "Replace what an earlier export wrote.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.copy_images and self.to in (ExportFormat.WEBDATASET, ExportFormat.IMAGES):
            raise InputError(
                f"--no-copy-images: --to={self.to.value} is made of the images", hint="leave one of the two out"
            )

    @property
    def output(self) -> Path:
        """The folder to write."""
        return self.out or self.folder / "exports" / f"{self.name}-{self.to.value}"
