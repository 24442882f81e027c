"""Options of the LVIS steps: annotation file in, annotation file out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options import layout
from ovforge.options.base import Options, option

LVIS_TRAIN = layout.LVIS_TRAIN
"""Where MM-OVOD and OVMR keep the LVIS training file."""
OVTRACK_LVIS_TRAIN = layout.TRACKING_LVIS_TRAIN
"""Where OVTrack keeps it."""
OVTRACK_MERGED = layout.TRACKING_MERGED
"""What `merge_coco` makes of it."""
OVTRACK_COCO_TRAIN = layout.TRACKING_COCO_TRAIN
"""Where COCO's file is; `coco_file` finds it where OVTrack's script looks for it, too."""
REPLACE = "Replace outputs that are there."
CLASS_NAMES = "lvis_classes_v1.txt"
"""The name that OVTrack's configurations have for the file of all 1,203 names."""
BASE_CLASS_NAMES = "lvis_classes_v1_base.txt"


class MergeVariant(str, Enum):
    """What a merged annotation holds."""

    MASK = "mask"
    BOX = "box"


class IdMode(str, Enum):
    """What becomes of the category ids when classes are taken out."""

    COMPACT = "compact"
    """1, 2, 3, ... without gaps, in the order of the file."""
    KEEP_IDS = "keep-ids"
    """As they are."""


@dataclass(frozen=True)
class RemoveRareOptions(Options):
    """Options of `remove_rare`."""

    annotations: Path = option(LVIS_TRAIN, "The LVIS file.", "--ann")
    out: Path | None = option(None, "The file to write.", shown="*_norare.json beside the input")
    exclude: str = option("r", "The frequencies of the classes to remove: letters of rcf.")
    overwrite: bool = option(False, REPLACE)

    @property
    def output(self) -> Path:
        """Where the file without the classes goes."""
        return self.out or beside(self.annotations, "_norare")


@dataclass(frozen=True, kw_only=True)
class CountOptions(Options):
    """How classes are counted, and which of them are rare."""

    r_thresh: int = option(10, "Classes in fewer images are rare.", "--r_thresh", "--r-thresh")
    c_thresh: int = option(100, "Classes in fewer images are common.", "--c_thresh", "--c-thresh")
    bypass: bool = option(False, "Count pos_category_ids of the images instead of annotations.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.r_thresh > self.c_thresh:
            raise InputError(
                f"--r_thresh {self.r_thresh} is above --c_thresh {self.c_thresh}",
                hint="classes in fewer images than r_thresh are rare, in fewer than c_thresh common",
            )


@dataclass(frozen=True)
class CategoryInfoOptions(CountOptions):
    """Options of `category_info`."""

    annotations: Path = option(LVIS_TRAIN, "The LVIS file.", "--ann")
    out: Path | None = option(None, "The file to write.", shown="*_cat_info.json beside the input")
    add_freq: bool = option(False, "Recompute the frequencies from the counts.", "--add_freq", "--add-freq")
    overwrite: bool = option(False, REPLACE)

    @property
    def output(self) -> Path:
        """Where the list of categories goes."""
        return self.out or beside(self.annotations, "_cat_info")


@dataclass(frozen=True)
class AddFrequenciesOptions(CountOptions):
    """Options of `add_frequencies`."""

    annotations: Path = option(LVIS_TRAIN, "The annotation file.", "--ann")
    out: Path | None = option(None, "The file to write.", shown="*_freq.json beside the input")
    overwrite: bool = option(False, REPLACE)

    @property
    def output(self) -> Path:
        """Where the copy with frequencies goes."""
        return self.out or beside(self.annotations, "_freq")


@dataclass(frozen=True)
class MergeCocoOptions(Options):
    """Options of `merge_coco`."""

    lvis: Path = option(OVTRACK_LVIS_TRAIN, "The LVIS file.")
    coco: Path = option(
        OVTRACK_COCO_TRAIN, "The COCO instances file.", shown=f"{OVTRACK_COCO_TRAIN}, or in data/lvis/annotations"
    )
    out: Path | None = option(
        None, "The file to write.", shown="*+coco_mask_v1.json or *+coco_box_v1.json beside the LVIS file"
    )
    variant: MergeVariant = option(MergeVariant.MASK, "With masks, or with boxes only.")
    iou_threshold: float = option(
        0.7,
        "A COCO object is skipped if an LVIS object of its class overlaps it at least this much.",
        above=0,
        at_most=1,
    )
    overwrite: bool = option(False, REPLACE)

    @property
    def coco_file(self) -> Path:
        """COCO's file: as given, or, where the default is not there, where OVTrack's script looks for it."""
        if self.coco == OVTRACK_COCO_TRAIN and not self.coco.exists():
            return next((place for place in layout.TRACKING_COCO_TRAIN_PLACES if place.exists()), self.coco)
        return self.coco

    @property
    def output(self) -> Path:
        """Where the merged file goes."""
        return self.out or beside(self.lvis, f"+coco_{self.variant.value}_v1")


@dataclass(frozen=True)
class BaseClassesOptions(Options):
    """Options of `base_classes`."""

    annotations: Path = option(OVTRACK_MERGED, "The LVIS file, as `lvis merge-coco` writes it.", "--ann")
    out: Path | None = option(None, "The file to write.", shown="*_base.json beside the input")
    class_names: Path | None = option(
        None, "The list of the classes that stay to write.", shown="lvis_classes_v1_base.txt beside the output"
    )
    mode: IdMode = option(IdMode.COMPACT, "Number the classes 1, 2, 3, ... or keep their ids.")
    exclude: str = option("r", "The frequencies of the classes to remove: letters of rcf.")
    overwrite: bool = option(False, REPLACE)

    @property
    def output(self) -> Path:
        """Where the file of the base classes goes."""
        return self.out or beside(self.annotations, "_base")

    @property
    def class_names_output(self) -> Path:
        """Where the names of the classes that stay go."""
        return self.class_names or self.output.with_name(BASE_CLASS_NAMES)

    @property
    def all_names_output(self) -> Path:
        """Where the names of all classes of the input go."""
        return self.output.with_name(CLASS_NAMES)


def beside(path: Path, ending: str) -> Path:
    """`path` with `ending` before its suffix: `a/b.json` becomes `a/b_base.json`."""
    return path.with_name(f"{path.stem}{ending}{path.suffix or '.json'}")
