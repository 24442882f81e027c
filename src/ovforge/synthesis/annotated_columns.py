"""The annotation file that pairs were made from, as columns: its images, its objects, its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.annotation_file import RecordTable
from ovforge.annotation_io.door import Annotations
from ovforge.annotation_io.ordering import stable_order
from ovforge.annotation_io.record_edit import edit_record
from ovforge.options.tracks import CategoryList
from ovforge.taxonomy import lvis_classes

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ImageColumns:
    """The annotation file's images, in file order."""

    table: RecordTable
    names: list[str]
    """Bare file names."""

    @property
    def largest_id(self) -> int:
        """New ids go on from it."""
        return int(self.table["id"].max(initial=0))


@dataclass(frozen=True)
class ObjectColumns:
    """The objects without crowds of the images that the run has: by image, within it in file order."""

    file: Annotations
    table: RecordTable
    rows: Ints
    """Record numbers."""
    number: Ints
    """For each of `rows`: which of the run's images it is in."""
    largest_id: int
    crowd_rows: Ints
    """Record numbers of the crowd regions of these images."""
    crowd_number: Ints

    def column(self, name: str) -> NDArray[Any]:
        """A field of the objects."""
        values: NDArray[Any] = self.table[name][self.rows]
        return values


@dataclass(frozen=True)
class Classes:
    """The classes that the new file lists."""

    json: tuple[bytes, ...]
    """Their records."""
    new_id: dict[int, int]
    """The id in the annotation file -> the one in the new file; without the classes that are skipped."""

    @property
    def keeps_ids(self) -> bool:
        """Whether every class that is listed has the id that it had."""
        return all(old == new for old, new in self.new_id.items())

    def renumbered(self, ids: Ints) -> Ints:
        """The new ids of these classes, all of them listed."""
        known = np.array(sorted(self.new_id), np.int64)
        return np.array([self.new_id[old] for old in known.tolist()], np.int64)[np.searchsorted(known, ids)]


def image_columns(file: Annotations) -> ImageColumns:
    """The images and their names."""
    return ImageColumns(file.images, file.images["name"].tolist())


def object_columns(file: Annotations, used: Ints, classes: Classes | None = None) -> ObjectColumns:
    """The objects of the images at the positions `used`; with `classes`, only of those."""
    ids, table = file.images["id"], file.annotations
    by_id = stable_order(ids)
    number_of = np.full(len(ids), -1)
    number_of[used] = np.arange(len(used))
    number = number_of[by_id][np.searchsorted(ids[by_id], table["image_id"])]
    is_wanted = number >= 0
    if classes is not None:
        is_wanted &= np.isin(table["category_id"], np.array(sorted(classes.new_id), np.int64))
    is_crowd = table["iscrowd"] >= 1
    rows, crowds = np.flatnonzero(is_wanted & ~is_crowd), np.flatnonzero(is_wanted & is_crowd)
    rows = rows[stable_order(number[rows])]
    return ObjectColumns(file, table, rows, number[rows], int(table["id"].max(initial=0)), crowds, number[crowds])


def listed_classes(file: Annotations, listed: CategoryList) -> Classes:
    """The classes that the new file lists.

    Raises:
        AnnotationFileError: all of LVIS's classes are asked for, and the annotation file has others.
    """
    table = file.categories
    ids: list[int] = table["id"].tolist()
    if listed is CategoryList.ALL:
        return _all_classes(table, ids)
    kept = [n for n in range(len(ids)) if listed is not CategoryList.BASE or table["frequency"][n] != "r"]
    return Classes(tuple(table.raw(n) for n in kept), {ids[n]: ids[n] for n in kept})


def _all_classes(table: RecordTable, ids: Sequence[int]) -> Classes:
    by_synset, by_name = ({getattr(c, field): c.id for c in lvis_classes()} for field in ("synset", "name"))
    raw, new_id, used = dict[int, bytes](), dict[int, int](), set[int]()
    for n, old in enumerate(ids):
        new = by_synset.get(table["synset"][n]) or by_name.get(table["name"][n])
        if new is None or new in used:
            problem = "no class of LVIS v1" if new is None else "a class that is there already"
            raise table.error(
                n,
                f"is {table['name'][n]!r}, {problem}",
                hint="--categories=all lists LVIS's 1,203 classes; --categories=as-given is for other data sets",
            )
        used.add(new)
        new_id[old] = new
        raw[new] = table.raw(n) if old == new else edit_record(table.raw(n), {"id": b"%d" % new})
    for c in lvis_classes():
        missing = {"id": c.id, "name": c.name, "synset": c.synset, "frequency": c.frequency}
        raw.setdefault(c.id, msgspec.json.encode(missing))
    return Classes(tuple(raw[c.id] for c in lvis_classes()), new_id)
