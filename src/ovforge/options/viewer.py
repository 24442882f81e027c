"""Options of looking at results."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options.base import Options, option
from ovforge.options.layout import COCO_DIR, IMAGENET_21K, PAIRS_DIR, VISUAL_GENOME_DIR

DEFAULT_PORT = 8765


@dataclass(frozen=True)
class ServeOptions(Options):
    """How pages are served."""

    port: int = option(DEFAULT_PORT, "Port to serve at; 0: any free one.", at_least=0, at_most=65535)
    host: str = option("127.0.0.1", "IPv4 address to serve at; 0.0.0.0: every one that this machine has.")
    allow_host: tuple[str, ...] = option(
        (), "A name under which a browser reaches the page through a proxy, as in its address; again for more."
    )
    base_path: str = option("", "What a proxy puts before every path of the page, as /user/me/proxy.", shown="")
    browser: bool = option(True, "Do not open the page in a browser.", off="--no-browser")

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            ipaddress.IPv4Address(self.host)
        except ValueError:
            raise InputError(
                f"--host={self.host}: is no IPv4 address",
                hint="--host=127.0.0.1 serves this machine only, --host=0.0.0.0 all that reach it",
            ) from None
        for name in self.allow_host:
            if not name or set(name) & set("/:[]@ "):
                raise InputError(f"--allow-host={name}: is no name of a host", hint="give it without scheme and port")
        path = self.base_path.strip("/")
        if path and not re.fullmatch(r"[A-Za-z0-9._~%/-]+", path):
            raise InputError(f"--base-path={self.base_path}: is no path of an address", hint="as /user/me/proxy")
        object.__setattr__(self, "base_path", f"/{path}" if path else "")


@dataclass(frozen=True)
class ReviewAccess(Options):
    """Who may write the review. Without options: whoever opens the page on this machine itself."""

    read_only: bool = option(False, "Nobody can keep, reject or tag pairs.")
    writable: bool = option(
        False,
        "Let everybody who opens the page keep, reject and tag; else only who opens it at 127.0.0.1 or localhost.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.read_only and self.writable:
            raise InputError("--read-only and --writable: exclude each other", hint="leave one of the two out")


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

    @property
    def review(self) -> Path:
        """Where it is noted which pairs are kept, rejected and tagged."""
        return self.folder / f"{self.name}.review.json"

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
        check: the report of `exemplars check`; None: `FILE.check.json` beside the file, if it is there.
        categories: annotation file with the classes' names and definitions; None: LVIS val at its usual place, if it is
            there.
    """

    file: Path
    lvis_images: Path = COCO_DIR
    imagenet_images: Path = IMAGENET_21K
    visual_genome_images: Path = VISUAL_GENOME_DIR
    enough: int | None = None
    check: Path | None = None
    categories: Path | None = None
