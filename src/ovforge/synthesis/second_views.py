"""What is known of the second views of a merged run: from its records, or from the original scripts' pickle file.

Only columns come into this process: what decides which objects are kept, and where each object's record is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.errors import InputError
from ovforge.files.restricted_pickle import load_list
from ovforge.image_io.hdf5 import ImageReader
from ovforge.options.labels import Labels
from ovforge.options.pairs import PAIR_FRAMES
from ovforge.records.reporting import Drops
from ovforge.records.review import REJECTED
from ovforge.records.run_layout import PartitionFiles, run_command, variant_name, view_name
from ovforge.synthesis.pair_columns import Entries, EntryFields, Ints, entry_columns, join_entries, read_pair_columns
from ovforge.synthesis.pair_file import About, read_about


@dataclass(frozen=True)
class SecondViews:
    """The second views of a run."""

    variants: int
    """How many each image has."""
    frames: int
    """Of a clip; 2: pairs."""
    min_area: float | None
    """The smallest area that the run followed, where it is known; below 0: it followed all."""
    used: Ints
    """Positions of the images that the run has, in order; the others are in no file of images."""
    extras: list[bytes] | None
    """JSON fields for each second view, `variants` for each image of `used`, if anything is known."""
    records: Path
    """The file that the entries' byte ranges are of."""
    entries: Entries
    """In the order of `used` and of the second views."""
    labels: Labels | None = None
    """The rule by which the run labelled its second views; None: nobody says."""
    rejected: NDArray[np.bool_] | None = None
    """Which of all second views are left out, `variants` for each image of `used`; None: none is."""

    @property
    def is_live(self) -> NDArray[np.bool_]:
        """Which second views have a place in a video: a row for each image of `used`, a column for each view."""
        if self.rejected is None:
            return np.ones((len(self.used), self.variants), np.bool_)
        live: NDArray[np.bool_] = ~self.rejected.reshape(len(self.used), self.variants)
        return live

    @property
    def knows_all_that_is_seen(self) -> bool:
        """Whether the entries are of all annotated objects that can be seen in the second views."""
        return self.labels in (Labels.ALL, Labels.KEPT)


def open_second_views(
    merged: PartitionFiles, names: Sequence[str], variants: int | None, *, scratch: Path, drops: Drops
) -> SecondViews:
    """Read what a merged run knows of its second views.

    Args:
        names: the images of the annotation file.
        variants: how many second views of each image are wanted; None: as many as were merged.
        scratch: a folder for records that are in no file that can be read by position.
        drops: images that the run could not use are counted here.

    Raises:
        InputError: the merged files do not belong to each other or to the annotation file.
    """
    about = read_about(merged.pairs) if merged.pairs.is_file() else None
    frames = int(about.options.get("frames", PAIR_FRAMES)) if about is not None else PAIR_FRAMES
    if frames > PAIR_FRAMES and variants is not None:
        raise InputError(f"--variants {variants}: a clip has all its frames or none", hint="leave it out")
    with ImageReader(merged.h5) as reader:
        found = max((_count_views(reader, name, frames) for name in names[:1000] if name in reader), default=0)
    if variants is not None and variants > found:
        raise InputError(f"{merged.h5}: has {found} second views per image, not {variants}")
    variants = found if variants is None else variants
    if about is not None:
        return _recorded(merged, about, names, variants, drops)
    return _pickled(merged.pkl, names, variants, scratch / "entries.json")


def without_rejected(views: SecondViews, names: Sequence[str], rejected: Collection[str], drops: Drops) -> SecondViews:
    """The second views without those that a review rejects; a clip goes as a whole if one of its frames is rejected.

    Args:
        names: the images of the annotation file.
        rejected: file names of second views.
    """
    of_image = [
        [view_name(names[position], view, views.frames) in rejected for view in range(views.variants)]
        for position in views.used.tolist()
    ]
    marked = np.array(of_image, np.bool_).reshape(len(views.used), views.variants)
    if views.frames > PAIR_FRAMES:
        marked[marked.any(axis=1)] = True
    drops.add_all(
        "second view" if views.frames <= PAIR_FRAMES else "frame",
        REJECTED,
        [
            view_name(names[int(views.used[number])], view, views.frames)
            for number, view in np.argwhere(marked).tolist()
        ],
    )
    return replace(views, rejected=marked.ravel())


def _count_views(reader: ImageReader, name: str, frames: int) -> int:
    count = 0
    while view_name(name, count, frames) in reader:
        count += 1
    return count


def _recorded(merged: PartitionFiles, about: About, names: Sequence[str], variants: int, drops: Drops) -> SecondViews:
    """A run of ovforge: everything is in `NAME.pairs.json`."""
    path = merged.pairs
    if about.pkl_size != merged.pkl.stat().st_size:
        raise InputError(
            f"{path}: belongs to another {merged.pkl.name} than the one beside it",
            hint=f"`{run_command('merge', merged.h5.parent, merged.h5.stem, '--overwrite')}` makes them again",
        )
    if about.images > len(names):
        raise InputError(f"{path}: has {about.images:,} images, the annotation file {len(names):,}")
    is_used: list[bool] = []
    extras: list[bytes] = []
    parts: list[Entries] = []
    for pairs in read_pair_columns(path, variants):
        _check_names(path, pairs.names, names, len(is_used))
        parts.append(pairs.entries._replace(view=pairs.entries.view + len(extras)))
        is_used += pairs.is_used
        extras += pairs.extras
        drops.merge(pairs.drops)
    return SecondViews(
        variants,
        int(about.options.get("frames", PAIR_FRAMES)),
        _smallest_area(about.options),
        np.flatnonzero(np.array(is_used, np.bool_)),
        extras,
        path,
        join_entries(parts),
        Labels(about.options["labels"]) if "labels" in about.options else None,
    )


def _smallest_area(options: dict[str, Any]) -> float | None:
    if options.get("labels") == Labels.ALL.value:
        return -1.0  # an object may say that its area is 0
    min_area = options.get("min_area")
    return float(min_area) if isinstance(min_area, int | float) else None


def _check_names(path: Path, found: list[str], names: Sequence[str], first: int) -> None:
    expected = names[first : first + len(found)]
    if found == expected:
        return
    for position, name in enumerate(found, first):
        if position >= len(names):
            raise InputError(f"{path}: has more images than the annotation file, which has {len(names):,}")
        if name != names[position]:
            raise InputError(
                f"{path}: image {position + 1:,} is {name}, in the annotation file it is {names[position]}",
                hint="give the annotation file that the pairs were made from with --annotations=FILE",
            )


def _pickled(path: Path, names: Sequence[str], variants: int, records: Path) -> SecondViews:
    """A run of the original scripts: a list of all entries, loaded whole and written down without their polygons."""
    view_of = {
        variant_name(name, r): position * variants + r for position, name in enumerate(names) for r in range(variants)
    }
    entries: list[EntryFields] = []
    view, starts, stops = list[int](), list[int](), list[int]()
    with open(records, "wb") as file:
        for number, fields in enumerate(load_list(path), start=1):
            entry = _plain_entry(path, number, fields)
            if (place := view_of.get(entry.image_name)) is None:
                continue
            entries.append(entry)
            view.append(place)
            starts.append(file.tell())
            file.write(msgspec.json.encode(fields))
            stops.append(file.tell())
    columns = entry_columns(entries, view, starts, stops)
    order = np.argsort(columns.view, kind="stable")
    columns = Entries._make(column[order] for column in columns)
    return SecondViews(variants, PAIR_FRAMES, None, np.arange(len(names)), None, records, columns)


def _plain_entry(path: Path, number: int, fields: Any) -> EntryFields:
    try:
        fields.pop("segmentation", None)
        plain = {key: value for key, value in fields.items() if key != "mask"}
        entry = msgspec.convert(plain, EntryFields)
    except (msgspec.ValidationError, AttributeError) as error:
        raise InputError(f"{path}: entry {number:,} is not an annotation of a second view ({error})") from error
    if "mask" in fields:
        entry.mask = msgspec.Raw(b"{}")  # that it is there is all that counts here
    return entry
