"""Options of `pairs generate`, and of its contact sheet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options import layout
from ovforge.options.base import Options, check_plain_name, option
from ovforge.options.labels import Outside

PAIR_FRAMES = 2
"""Frames of a pair; a run with more makes clips."""
DEFAULT_OUT = layout.PAIRS_DIR
DEFAULT_IMAGES = (layout.TRACKING_PACKED, layout.TRACKING_IMAGES)
"""Where images are looked for: the first that is there."""
DEFAULT_ANNOTATIONS = layout.TRACKING_BASE
DEFAULT_CAPTIONS = layout.TRACKING_CAPTIONS

ENGINES = ("fill", "diffusion", "warp")
DEFAULT_MIN_AREA = 64.0**2
"""Square pixels (OVTrack)."""
MOST_FRAMES, MOST_GAP = 64, 60
DEFAULT_GAP = 15.0
INPUTS, IMAGES, ENGINE, RUN = "Inputs", "Second views", "Engine", "Run"


class ClipMotion(str, Enum):
    """How much the clips of a run move."""

    VIDEO = "video"
    """As real footage does."""
    HARD = "hard"
    """More than that: objects cross, leave and come back more often; more blur, noise and drift."""
    OVTRACK = "ovtrack"
    """Every frame is a second view of its own, as OVTrack draws them; no object moves by itself."""


class EngineName(str, Enum):
    """Who makes what is seen around the moved image."""

    FILL = "fill"
    DIFFUSION = "diffusion"
    WARP = "warp"


@dataclass(frozen=True)
class EngineChoice(Options):
    """Which engine a run has; each has its own options."""

    engine: EngineName = option(
        EngineName.FILL,
        "fill: the moved image stays, its completed background is seen around it; needs no model. diffusion: Stable "
        "Diffusion repaints all but the objects. warp: a preview, not to train on; objects may be seen twice, the "
        "second time without a label.",
        panel=ENGINE,
    )


@dataclass(frozen=True)
class GenerateOptions(Options):
    """Options of `pairs generate`; the engine has its own.

    On resuming, what was not given is taken from the run.
    """

    name: str = option(help="The run's name: its folder and its files are called so.", argument=True)
    out: Path = option(
        DEFAULT_OUT,
        "The folder that the run's folder goes to; the other commands of pairs find it there by --folder.",
        "--out",
        "--folder",
        "--default_save_dir",
        panel=INPUTS,
    )
    images: Path | None = option(
        None,
        "Folder or HDF5 file of the images.",
        shown="data/lvis/train_imgs.hdf5 or else data/lvis/train2017",
        panel=INPUTS,
    )
    annotations: Path | None = option(
        None,
        "LVIS or COCO annotations.",
        "--ann",
        "--annotations",
        "--coco_lvis_path",
        shown=str(DEFAULT_ANNOTATIONS),
        panel=INPUTS,
    )
    captions: Path | None = option(
        None,
        "COCO captions, for the prompts.",
        shown=f"{DEFAULT_CAPTIONS} if it is there, else class names",
        panel=INPUTS,
    )
    no_captions: bool = option(False, "Use no caption file, even if the default one is there.", hidden=True)
    partitions: int = option(1, "HDF5 files to publish.", "--partitions", "--total-p", at_least=1, panel=RUN)
    variants: int = option(1, "Second views per image.", "--variants", "--repeat_num", at_least=1, panel=IMAGES)
    frames: int = option(
        PAIR_FRAMES,
        "2: pairs. 3 to 64: clips of so many frames, in which objects move; the image is the first.",
        at_least=PAIR_FRAMES,
        at_most=MOST_FRAMES,
        panel=IMAGES,
    )
    motion: ClipMotion | None = option(
        None,
        "How clips move. video: as real footage; hard: more than that; ovtrack: every frame is a second view of its "
        "own, and no object moves by itself.",
        shown="video",
        panel=IMAGES,
    )
    gap: float | None = option(
        None,
        "How many video frames two frames of a clip are apart, 1 to 60.",
        at_least=1,
        at_most=MOST_GAP,
        shown=f"{DEFAULT_GAP:g}",
        panel=IMAGES,
    )
    seed: int = option(0, "Same seed, same inputs: same pairs.", panel=IMAGES)
    min_area: float | None = option(
        None,
        "Where the engine repaints: keep objects larger than this, in square pixels. fill and warp keep all.",
        at_least=0,
        shown=f"{DEFAULT_MIN_AREA:g}",
        panel=ENGINE,
    )
    outside: Outside | None = option(
        None,
        "What is seen where the moved image does not reach, before the engine repaints: the completed background, or "
        "the original with its objects, as in OVTrack.",
        shown="completed; original for warp and --scheduler ovtrack",
        panel=ENGINE,
    )
    boxes_as_masks: bool = option(
        False, "Move objects without a segmentation as rounded boxes, which is coarse.", panel=INPUTS
    )
    masks: bool = option(True, "Store warped masks and the kept region.", panel=IMAGES)
    quality: int = option(95, "JPEG quality of the second views.", at_least=1, at_most=100, panel=IMAGES)
    limit: int | None = option(None, "Only the first so many images, for a trial.", at_least=1, panel=INPUTS)
    shard_size: int | None = option(
        None,
        "Images per unit of work.",
        at_least=1,
        shown="an eighth of what 8 workers would get, 8 to 128; of clips no more than 512 frames, or 8 clips",
        panel=RUN,
    )
    overwrite: bool = option(False, "Throw away the run of this name and start again.", panel=RUN)
    accept_versions: tuple[str, ...] = option(
        (),
        "Resume although this library has another version than at the run's start; again for more.",
        "--accept-version",
        metavar="LIBRARY",
        panel=RUN,
    )
    verify: bool = option(
        False, "First compare all that is published with its checksums, and make again what is damaged.", panel=RUN
    )
    retry_skipped: bool = option(False, "Make again the images that could not be used before.", panel=RUN)
    remake_changed: bool = option(False, "Make again the images that a corrected annotation file changes.", panel=RUN)

    def __post_init__(self) -> None:
        check_plain_name(self.name, hint="give a plain name, and its folder with --out=DIR")
        super().__post_init__()
        self._check_clips()
        if self.no_captions and self.captions is not None:
            raise InputError("--captions and --no-captions exclude each other", hint="leave one of them out")

    def _check_clips(self) -> None:
        if self.frames == PAIR_FRAMES:
            hint = "--frames 5 makes clips of five frames"
            if self.motion is not None:
                raise InputError(f"--motion={self.motion.value}: is for clips only", hint=hint)
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
        if self.motion == ClipMotion.OVTRACK and self.gap is not None:
            raise InputError(
                f"--gap {self.gap:g}: has no meaning for --motion=ovtrack, whose frames are drawn one by one"
            )

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.out / self.name


@dataclass(frozen=True)
class OnlyCheck(Options):
    """Whether `pairs generate` makes anything."""

    check: bool = option(False, "Only check, as `pairs check` does; nothing is written.", panel=RUN)


@dataclass(frozen=True)
class StatusOptions(Options):
    """Options of `pairs status`."""

    name: str = option(help="The name that `pairs generate` was given.", argument=True)
    folder: Path = option(DEFAULT_OUT, "The folder that holds the run's folder.")
    watch: bool = option(False, "Refresh it every two seconds, until all is done.")


@dataclass(frozen=True)
class ListOptions(Options):
    """Options of `pairs list`."""

    folder: Path = option(DEFAULT_OUT, "The folder that holds the runs' folders.")


@dataclass(frozen=True)
class SheetOptions(Options):
    """Options of `pairs sheet`."""

    name: str = option(help="The run's name; it has to be merged and annotated.", argument=True)
    folder: Path = option(DEFAULT_OUT, "Where the merged files are.")
    out: Path | None = option(None, "The PNG to write.", shown="FOLDER/NAME.png")
    count: int = option(8, "How many pairs.", at_least=1, at_most=500)
    seed: int = option(0, "Which pairs.")
    columns: int = option(2, "Pairs side by side; clips are strips.", at_least=1, at_most=10)
    mp4: Path | None = option(None, "Write each clip on the sheet as a video to this folder, too.")
    overwrite: bool = option(False, "Replace the file if it is there.")

    @property
    def output(self) -> Path:
        """Where the sheet goes."""
        return self.out or self.folder / f"{self.name}.png"
