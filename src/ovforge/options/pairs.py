"""Options of `pairs generate`, and of its contact sheet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options import layout
from ovforge.options.labels import Outside

DEFAULT_SAVE_DIR = layout.PAIRS_DIR
DEFAULT_IMAGES = (layout.TRACKING_PACKED, layout.TRACKING_IMAGES)
"""Where images are looked for: the first that is there."""
DEFAULT_ANNOTATIONS = layout.TRACKING_BASE
DEFAULT_CAPTIONS = layout.TRACKING_CAPTIONS

ENGINES = ("fill", "diffusion", "warp")
DEFAULT_MIN_AREA = 64.0**2
"""Square pixels (OVTrack)."""


@dataclass(frozen=True)
class GenerateOptions:
    """Options of `pairs generate`; the engine has its own.

    Attributes:
        name: the name of the run: its folder and its files are called so.
        save_dir: the folder that holds the run's folder.
        images: folder or HDF5 file of the images; None: the first of DEFAULT_IMAGES that is there.
        annotations: LVIS or COCO annotation file; None: DEFAULT_ANNOTATIONS.
        captions: COCO caption file; None: DEFAULT_CAPTIONS if it is there, else prompts from class names.
        no_captions: use no caption file, even if DEFAULT_CAPTIONS is there.
        partitions: how many HDF5 files the run is published in.
        variants: second views per image.
        seed: the same seed, inputs and options give the same pairs, on any number of workers.
        min_area: square pixels; an engine that repaints keeps objects with a larger annotated area. None:
            DEFAULT_MIN_AREA. The others keep every object.
        outside: what is seen where the moved image does not reach. None: as the engine's default is.
        masks: store the warped masks and the kept region with each second view.
        quality: JPEG quality of the second views.
        limit: only the first so many images, for a trial; None: all.
        shard_size: images per unit of work; None: an eighth of what 8 workers would get, 8 to 128.
        overwrite: throw away a run of the same name that was started with other options or inputs.
        accept_versions: libraries whose version may differ from the one that the run was started with.
        retry_skipped: make those images again that an earlier call could not use.
        remake_changed: make those images again of which a corrected annotation file says something else.

    On resuming, what is None (images, annotations, captions, limit, shard_size) is taken from the run.
    """

    name: str
    save_dir: Path = DEFAULT_SAVE_DIR
    images: Path | None = None
    annotations: Path | None = None
    captions: Path | None = None
    no_captions: bool = False
    partitions: int = 1
    variants: int = 1
    seed: int = 0
    min_area: float | None = None
    outside: Outside | None = None
    masks: bool = True
    quality: int = 95
    limit: int | None = None
    shard_size: int | None = None
    overwrite: bool = False
    accept_versions: tuple[str, ...] = ()
    retry_skipped: bool = False
    remake_changed: bool = False

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name or self.name.startswith(".") or "\0" in self.name:
            raise InputError(
                f"'{self.name}' is no name for a run", hint="give a plain name, and its folder with --folder=DIR"
            )
        _at_least(1, "--partitions", self.partitions)
        _at_least(1, "--variants", self.variants)
        _at_least(0, "--min-area", self.min_area)
        _at_least(1, "--limit", self.limit)
        _at_least(1, "--shard-size", self.shard_size)
        if self.no_captions and self.captions is not None:
            raise InputError("--captions and --no-captions exclude each other", hint="leave one of them out")
        if not 1 <= self.quality <= 100:
            raise InputError(f"--quality {self.quality}: has to be from 1 to 100")

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.save_dir / self.name


def _at_least(lowest: int, option: str, value: float | None) -> None:
    if value is not None and not value >= lowest:
        raise InputError(f"{option} {value}: has to be at least {lowest}")
