"""Options of merging pairs and writing their annotation file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options import layout
from ovforge.options.base import Options, option
from ovforge.options.rejection import RejectAs, Rule, parse_rules

PAIRS_FOLDER = layout.PAIRS_DIR
"""Where the runs of `pairs generate` and the merged files are, from the root of the user's data."""
PAIRS_ANNOTATIONS = layout.TRACKING_BASE
PAIRS_IMAGES = (layout.TRACKING_PACKED, layout.TRACKING_IMAGES)
"""Where originals are looked for when the partitions lack them."""


@dataclass(frozen=True)
class MergeOptions(Options):
    """Options of `merge_pairs`."""

    name: str = option(help="The run's name.", argument=True)
    folder: Path = option(PAIRS_FOLDER, "Where runs and merged files are.")
    out: Path | None = option(None, "The merged HDF5 file; .pkl and .pairs.json go beside it.", shown="FOLDER/NAME.h5")
    annotations: Path | None = option(
        None,
        "The annotation file that the pairs were made from.",
        "--annotations",
        "--ann",
        shown="the one that the run was started with",
    )
    images: Path | None = option(
        None,
        "Folder or HDF5 file of the originals, where the partitions lack them.",
        shown="data/lvis/train_imgs.hdf5 or data/lvis/train2017",
    )
    partitions: int | None = option(None, "How many partitions there are.", at_least=1, shown="as their names say")
    variants: int | None = option(None, "Second views per image to merge.", at_least=0, shown="all")
    overwrite: bool = option(False, "Replace what is already there.")


class PairObjects(str, Enum):
    """Which objects a pair has."""

    BOTH = "both"
    """Those that are in every frame of it: whoever numbers the objects of each frame by position gets equal numbers."""
    ALL = "all"
    """An object that left the second view, or is too small there, stays in the first one."""


class CategoryList(str, Enum):
    """Which classes the file lists."""

    AS_GIVEN = "as-given"
    """Those of the annotation file."""
    BASE = "base"
    """Those of the annotation file that are not rare; objects of rare ones are skipped."""
    ALL = "all"
    """The 1,203 classes of LVIS v1 under LVIS's own ids, for readers that index all of them."""


class Reader(str, Enum):
    """Whose training reads the file, where it wants it otherwise than the others."""

    OVTRACK = "ovtrack"
    """The one-frame videos of all annotations stand in the file itself, before the pairs."""
    OVTR = "ovtr"
    """All 1,203 classes are listed."""


@dataclass(frozen=True)
class AnnotateOptions(Options):
    """Options of `annotate_pairs`.

    With `original`, which writes what OVTrack's own script writes (all objects, empty pairs too, stills in the same
    file, masks as they come), `objects`, `stills`, `masks`, `categories` and `reader` do not count.
    """

    name: str = option(help="The run's name.", argument=True)
    folder: Path = option(PAIRS_FOLDER, "Where runs and merged files are.")
    out: Path | None = option(None, "The file to write.", shown="FOLDER/annotations/NAME.json")
    annotations: Path | None = option(
        None,
        "The annotation file that the pairs were made from.",
        "--annotations",
        "--ann",
        shown="the one that the run was started with",
    )
    variants: int | None = option(None, "Second views per image.", at_least=0, shown="all that were merged")
    min_area: float | None = option(
        None,
        "Only objects with a larger annotated area, in square pixels, are followed.",
        at_least=0,
        shown="as the run was made, 4096 where nobody says",
    )
    min_fidelity: float | None = option(
        None,
        "Skip repainted objects with a lower fidelity.",
        at_least=0,
        at_most=1,
        shown="none is skipped",
    )
    min_visibility: float | None = option(
        None,
        "Skip objects of whose moved mask a smaller share is seen in the second view.",
        at_least=0,
        at_most=1,
        shown="none is skipped",
    )
    objects: PairObjects = option(
        PairObjects.BOTH, "Objects of a pair: those in every frame of it, or also those that left the second view."
    )
    reject: str = option(
        "",
        "Reject objects by their scores, see `pairs score`: same<0.6,boundary<0.3,repeated>0.5.",
        metavar="RULE",
        shown="none is rejected",
    )
    reject_as: RejectAs | None = option(
        None, "Rejected objects become ignore regions (iscrowd 1), or are skipped.", shown="ignore"
    )
    stills: bool = option(
        True,
        "Write every image as a video of one frame with all its annotations, too: to NAME.stills.json, for OVTrack "
        "into the file itself.",
    )
    masks: bool = option(True, "Write masks, of both views as compressed RLE.")
    categories: CategoryList | None = option(
        None,
        "Classes of the file: as in the annotation file, without the rare ones, or all 1,203 of LVIS under LVIS's ids.",
        shown="all for OVTR, else as given",
    )
    reader: Reader | None = option(None, "Whose training reads the file.", "--for", shown="any that reads COCO or TAO")
    review: bool = option(False, "Leave out the second views that FOLDER/NAME.review.json rejects.")
    original: bool = option(False, "What OVTrack's own script writes, field for field.")
    overwrite: bool = option(False, "Replace what is already there.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.original and self.reject_as is RejectAs.IGNORE:
            raise InputError(
                "OVTrack's own file has no ignore regions, so objects cannot be rejected as such there",
                hint="--reject-as=skip skips them",
            )

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules by which objects are rejected.

        Raises:
            InputError: one is malformed.
        """
        return parse_rules(self.reject) if self.reject else ()

    def stills_out(self, out: Path) -> Path | None:
        """Where the one-frame videos go: the file of the pairs itself, `*.stills.json` beside it, or nowhere."""
        if self.original or (self.stills and self.reader is Reader.OVTRACK):
            return out
        return out.with_suffix(".stills.json") if self.stills else None

    @property
    def listed(self) -> CategoryList:
        """Which classes the file lists."""
        return self.categories or (CategoryList.ALL if self.reader is Reader.OVTR else CategoryList.AS_GIVEN)
