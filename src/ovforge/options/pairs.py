"""Options of `pairs generate`, and of its contact sheet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options import layout
from ovforge.options.labels import Outside

PAIR_FRAMES = 2
"""Frames of a pair; a run with more makes clips."""
DEFAULT_SAVE_DIR = layout.PAIRS_DIR
DEFAULT_IMAGES = (layout.TRACKING_PACKED, layout.TRACKING_IMAGES)
"""Where images are looked for: the first that is there."""
DEFAULT_ANNOTATIONS = layout.TRACKING_BASE
DEFAULT_CAPTIONS = layout.TRACKING_CAPTIONS

ENGINES = ("fill", "diffusion", "warp")
DEFAULT_MIN_AREA = 64.0**2
"""Square pixels (OVTrack)."""
MOST_FRAMES, MOST_GAP = 64, 60
DEFAULT_GAP = 15.0


class ClipMotion(str, Enum):
    """How much the clips of a run move."""

    VIDEO = "video"
    """As real footage does."""
    HARD = "hard"
    """More than that: objects cross, leave and come back more often; more blur, noise and drift."""
    OVTRACK = "ovtrack"
    """Every frame is a second view of its own, as OVTrack draws them; no object moves by itself."""


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
        frames: 2 makes pairs; 3 to 64: clips of so many frames, the image itself the first.
        motion: how clips move; None: VIDEO.
        gap: how many video frames two frames of a clip are apart; None: DEFAULT_GAP.
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
    frames: int = PAIR_FRAMES
    motion: ClipMotion | None = None
    gap: float | None = None
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
        self._check_clips()
        if self.no_captions and self.captions is not None:
            raise InputError("--captions and --no-captions exclude each other", hint="leave one of them out")
        if not 1 <= self.quality <= 100:
            raise InputError(f"--quality {self.quality}: has to be from 1 to 100")

    def _check_clips(self) -> None:
        if not PAIR_FRAMES <= self.frames <= MOST_FRAMES:
            raise InputError(f"--frames {self.frames}: has to be from {PAIR_FRAMES} to {MOST_FRAMES}")
        if self.frames == PAIR_FRAMES:
            hint = "--frames 5 makes clips of five frames"
            if self.motion is not None:
                raise InputError(f"--motion {ClipMotion(self.motion).value}: is for clips only", hint=hint)
            if self.gap is not None:
                raise InputError(f"--gap {self.gap:g}: is for clips only", hint=hint)
            return
        if self.variants != 1:
            raise InputError(
                f"--variants {self.variants}: a run makes one clip of each image",
                hint="more clips of each image: a run of another name with another --seed=N",
            )
        if self.min_area is not None:
            raise InputError(
                f"--min-area {self.min_area:g}: clips keep and label every object",
                hint="leave small ones out afterwards: `ovforge pairs annotate --min-area`",
            )
        if self.gap is not None and not 1 <= self.gap <= MOST_GAP:
            raise InputError(f"--gap {self.gap:g}: has to be from 1 to {MOST_GAP} video frames")
        if self.motion == ClipMotion.OVTRACK and self.gap is not None:
            raise InputError(
                f"--gap {self.gap:g}: has no meaning for --motion ovtrack, whose frames are drawn one by one"
            )

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.save_dir / self.name


def _at_least(lowest: int, option: str, value: float | None) -> None:
    if value is not None and not value >= lowest:
        raise InputError(f"{option} {value}: has to be at least {lowest}")
