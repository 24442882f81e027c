"""Options of looking at results."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options.base import Options, check_plain_name, option
from ovforge.options.layout import (
    COCO_DIR,
    EXEMPLAR_DICT,
    IMAGENET_21K,
    LVIS_VAL,
    PAIRS_DIR,
    VISUAL_GENOME_DIR,
)

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
                f"--host={self.host}: is not an IPv4 address",
                hint="--host=127.0.0.1 serves this machine only, --host=0.0.0.0 all that reach it",
            ) from None
        for name in self.allow_host:
            if not name or set(name) & set("/:[]@ "):
                raise InputError(f"--allow-host={name}: is not a host name", hint="give it without scheme and port")
        path = self.base_path.strip("/")
        if path and not re.fullmatch(r"[A-Za-z0-9._~%/-]+", path):
            raise InputError(f"--base-path={self.base_path}: is not the path of an address", hint="as /user/me/proxy")
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
class PairsViewOptions(Options):
    """Which pairs to show."""

    name: str = option(help="The run's name.", argument=True)
    folder: Path = option(PAIRS_DIR, "Where runs and merged files are.")
    annotations: Path | None = option(None, "The JSON of the merged run.", shown="FOLDER/annotations/NAME.json")

    def __post_init__(self) -> None:
        check_plain_name(self.name, hint="give a plain name, and --folder=DIR")
        super().__post_init__()

    @property
    def review(self) -> Path:
        """Where it is noted which pairs are kept, rejected and tagged."""
        return self.folder / f"{self.name}.review.json"

    @property
    def run_folder(self) -> Path:
        """The run's own folder, with its shards and partitions."""
        return self.folder / self.name

    @property
    def merged(self) -> tuple[Path, Path]:
        """The merged images and their JSON."""
        return self.folder / f"{self.name}.h5", self.annotations or self.folder / "annotations" / f"{self.name}.json"


@dataclass(frozen=True)
class PairsExportOptions(Options):
    """One HTML file of some pairs: of those that are chosen, or of a draw."""

    export: Path | None = option(None, "Write some pairs into one HTML file instead of serving.", metavar="FILE.html")
    count: int = option(50, "With --export: how many pairs are drawn.", at_least=1)
    seed: int = option(0, "With --export: seed of the draw; the same seed draws the same pairs.")
    pair: tuple[str, ...] = option(
        (), "With --export: this pair instead of a draw, by its second view's file name; again for more."
    )
    overwrite: bool = option(False, "With --export: replace the file.")


@dataclass(frozen=True)
class ExemplarsViewOptions(Options):
    """Which exemplars to show. Images that are not there are shown as missing."""

    file: Path = option(EXEMPLAR_DICT, "An exemplar dictionary, or sampled exemplars (a K-shot file).", argument=True)
    lvis_images: Path = option(COCO_DIR, "Folder that holds train2017, or an HDF5 file of images.", "--lvis-img-dir")
    imagenet_images: Path = option(
        IMAGENET_21K, "ImageNet-21K: its parts, a flat copy, or class tars.", "--imagenet-img-dir"
    )
    visual_genome_images: Path = option(
        VISUAL_GENOME_DIR, "Folder that holds VG_100K and VG_100K_2.", "--visual-genome-img-dir"
    )
    enough: int | None = option(
        None,
        "A class with fewer different exemplars falls short.",
        at_least=1,
        shown="10; for sampled exemplars, K",
    )
    check: Path | None = option(
        None, "Report of `exemplars check` whose findings are shown.", shown="FILE.check.json, if it is there"
    )
    categories: Path | None = option(
        None, "Annotation file with names and definitions of classes.", shown=f"{LVIS_VAL}, if it is there"
    )
