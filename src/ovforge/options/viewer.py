"""Options of looking at results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options.layout import COCO_DIR, IMAGENET_21K, PAIRS_DIR, VISUAL_GENOME_DIR

DEFAULT_PORT = 8765


@dataclass(frozen=True)
class PairsViewOptions:
    """Which pairs to show.

    Attributes:
        name: the run's name.
        folder: where runs and merged files are.
        annotations: the JSON of the merged run; None: `folder`/annotations/`name`.json.
    """

    name: str
    folder: Path = PAIRS_DIR
    annotations: Path | None = None

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name or self.name.startswith(".") or "\0" in self.name:
            raise InputError(f"'{self.name}' is not a name for a run", hint="give a plain name, and --folder=DIR")

    @property
    def run_folder(self) -> Path:
        """The run's own folder, with its shards and partitions."""
        return self.folder / self.name

    @property
    def merged(self) -> tuple[Path, Path]:
        """The merged images and their JSON."""
        return self.folder / f"{self.name}.h5", self.annotations or self.folder / "annotations" / f"{self.name}.json"


@dataclass(frozen=True)
class PairsExportOptions:
    """One HTML file of some pairs.

    Attributes:
        view: the run.
        out: the file to write.
        count: how many pairs are drawn, where none are chosen.
        seed: of the draw; the same seed gives the same pairs.
        chosen: file names of second views (`000000000139_v0.jpg`) to export in place of a draw.
        overwrite: replace a file that is there.
    """

    view: PairsViewOptions
    out: Path
    count: int = 50
    seed: int = 0
    chosen: tuple[str, ...] = ()
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"--count {self.count}: must be at least 1")


@dataclass(frozen=True)
class ExemplarsViewOptions:
    """Which exemplars to show.

    Attributes:
        file: an exemplar dictionary, or sampled exemplars.
        lvis_images: folder that holds `train2017`, or an HDF5 file of images; as with the next two, images that are
            not there are shown as missing.
        imagenet_images: ImageNet-21K, in any layout.
        visual_genome_images: folder that holds `VG_100K` and `VG_100K_2`.
        enough: classes with fewer exemplars are marked as falling short; None: 10 for a dictionary, the largest
            class's number for sampled exemplars.
    """

    file: Path
    lvis_images: Path = COCO_DIR
    imagenet_images: Path = IMAGENET_21K
    visual_genome_images: Path = VISUAL_GENOME_DIR
    enough: int | None = None
