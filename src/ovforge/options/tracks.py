"""Options of merging pairs and writing their annotation file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovforge.options import layout

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
        overwrite: replace a file that is already there.
    """

    name: str
    folder: Path = PAIRS_FOLDER
    out: Path | None = None
    annotations: Path | None = None
    variants: int | None = None
    min_area: float | None = None
    min_fidelity: float | None = None
    overwrite: bool = False
