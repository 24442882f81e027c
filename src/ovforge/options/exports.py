"""Options of `pairs export`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options import layout

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
class ExportOptions:
    """Options of `export_pairs`.

    Attributes:
        name: the run's name; the files of its pairs are in `folder`.
        to: the format.
        folder: where the merged files are.
        out: the folder to write; None: `folder`/exports/`name`-`to`.
        annotations: the pairs JSON; None: `folder`/annotations/`name`.json.
        images: HDF5 file or folder of the images; None: `folder`/`name`.h5.
        only: a text file that lists what to export, one a line: the file name of an image, the name of a video, or a
            video's id. None: everything.
        copy_images: write the images, too. Without them the formats name them as they would be named.
        shard_size: samples per tar file of a WebDataset.
        overwrite: replace what an earlier export wrote there.
    """

    name: str
    to: ExportFormat
    folder: Path = PAIRS_FOLDER
    out: Path | None = None
    annotations: Path | None = None
    images: Path | None = None
    only: Path | None = None
    copy_images: bool = True
    shard_size: int = 1000
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise InputError(f"--shard-size={self.shard_size}: has to be at least 1")
        if not self.copy_images and self.to in (ExportFormat.WEBDATASET, ExportFormat.IMAGES):
            raise InputError(
                f"--no-copy-images: --to={self.to.value} is made of the images", hint="leave one of the two out"
            )

    @property
    def output(self) -> Path:
        """The folder to write."""
        return self.out or self.folder / "exports" / f"{self.name}-{self.to.value}"
