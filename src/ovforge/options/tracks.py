"""Options of merging pairs and writing their annotation file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.errors import InputError
from ovforge.options import layout
from ovforge.options.rejection import RejectAs, Rule, parse_rules

PAIRS_FOLDER = layout.PAIRS_DIR
"""Where the runs of `pairs generate` and the merged files are, from the root of the user's data."""
PAIRS_ANNOTATIONS = layout.TRACKING_BASE
PAIRS_IMAGES = (layout.TRACKING_PACKED, layout.TRACKING_IMAGES)
"""Where originals are looked for when the partitions lack them."""


@dataclass(frozen=True)
class MergeOptions:
    """Options of `merge_pairs`.

    Attributes:
        name: the run's name; its partitions are in `folder`/`name`.
        folder: where runs are; the merged files are written there, too, unless `out` says otherwise.
        out: the merged `.h5`; the `.pkl` and the `.pairs.json` go beside it.
        annotations: the annotation file that the pairs were made from; None: the one that the run's manifest names,
            or else the default place.
        images: folder or HDF5 file of the originals, for partitions that lack them; None: the default places.
        partitions: how many partitions there are; None: as many as their names say.
        variants: second views per image to merge; None: as many as there are.
        overwrite: replace merged files that are already there.
    """

    name: str
    folder: Path = PAIRS_FOLDER
    out: Path | None = None
    annotations: Path | None = None
    images: Path | None = None
    partitions: int | None = None
    variants: int | None = None
    overwrite: bool = False


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
class AnnotateOptions:
    """Options of `annotate_pairs`.

    Attributes:
        name: the run's name; its merged files are in `folder`.
        folder: where the merged files are.
        out: the file to write; None: `folder`/annotations/`name`.json.
        annotations: as in `MergeOptions`.
        variants: second views per image; None: as many as were merged.
        min_area: square pixels; only objects with a larger annotated area are followed. None: what the run was made
            with, 64 x 64 where nobody says.
        min_fidelity: 0 to 1; repainted objects whose fidelity is lower are skipped. None: all stay.
        min_visibility: 0 to 1; objects of whose moved mask a smaller share is seen are skipped. None: all stay.
        reject: rules over the scores of `pairs score`, as `same<0.6,boundary<0.3`; empty: all stay.
        reject_as: what becomes of the rejected. None: ignore regions; they are skipped with `original`, which has none.
        objects: which objects a pair has.
        stills: write each image as a video of one frame with all its annotations, too: to `stills_out`.
        masks: write the objects' masks, as compressed RLE.
        categories: which classes the file lists. None: all for OVTR, else as given.
        reader: whose training reads the file.
        original: write what OVTrack's own script writes, field for field: all objects, empty pairs too, stills in the
            same file, masks as they come; `objects`, `stills`, `masks`, `categories` and `reader` do not count.
        overwrite: replace a file that is already there.
    """

    name: str
    folder: Path = PAIRS_FOLDER
    out: Path | None = None
    annotations: Path | None = None
    variants: int | None = None
    min_area: float | None = None
    min_fidelity: float | None = None
    min_visibility: float | None = None
    objects: PairObjects = PairObjects.BOTH
    reject: str = ""
    reject_as: RejectAs | None = None
    stills: bool = True
    masks: bool = True
    categories: CategoryList | None = None
    reader: Reader | None = None
    original: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
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
