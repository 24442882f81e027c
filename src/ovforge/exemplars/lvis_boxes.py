"""LVIS as a source of exemplars: its boxes by class, their polygons never decoded."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ovforge.annotation_io.annotation_file import AnnotationFile
from ovforge.errors import AnnotationFileError
from ovforge.records.exemplar import LVIS
from ovforge.records.lvis import Category
from ovforge.records.reporting import Drops


class _Image(msgspec.Struct, frozen=True):
    id: int
    coco_url: str = ""
    file_name: str = ""


class _Box(msgspec.Struct, frozen=True, gc=False):
    image_id: int
    category_id: int
    area: float


class LvisBoxes:
    """The annotations of an LVIS file whose mask is larger than `min_area` square pixels, by category."""

    def __init__(self, path: Path, *, min_area: float, drops: Drops) -> None:
        """Read the file's columns.

        Raises:
            MissingInputError, AnnotationFileError: names the file and the record.
        """
        self._file = AnnotationFile(path, {"images": _Image, "annotations": _Box, "categories": Category})
        categories = self._file.table("categories", Category)
        self.categories: tuple[Category, ...] = tuple(
            msgspec.json.decode(categories.raw(index), type=Category) for index in range(len(categories))
        )
        images, self._boxes = self._file.table("images", _Image), self._file.table("annotations", _Box)
        names = zip(images["coco_url"], images["file_name"], strict=True)
        self._names = ["/".join((url or name).split("/")[-2:]) for url, name in names]
        self._image_of = _places(self._boxes["image_id"], images["id"])
        self._check_synsets(path)
        known = np.isin(self._boxes["category_id"], categories["id"])
        has_image = self._image_of >= 0
        for usable, reason in ((known, 'its category is not in "categories"'), (has_image, "its image is missing")):
            if not usable.all():
                drops.add("annotation", reason, count=int(np.count_nonzero(~usable)))
        large = self._boxes["area"] > min_area
        ids = self._one_id_a_synset()
        self._ids = ids
        self._chosen = np.flatnonzero(known & has_image & large)
        self._counts = Counter(ids[self._chosen].tolist())
        self._small = Counter(ids[known & has_image & ~large].tolist())
        self._records: dict[int, list[bytes]] | None = None

    def count(self, category_id: int) -> int:
        """How many boxes of a category are large enough."""
        return self._counts[category_id]

    def count_small(self, category_id: int) -> int:
        """How many are not."""
        return self._small[category_id]

    def take_records(self, category_id: int) -> list[bytes]:
        """The exemplar records of one category, in file order: the annotation's bytes with three keys after them.

        They are handed out once, so that what has been written does not stay in memory.
        """
        if self._records is None:
            self._records = self._read_records()
        return self._records.pop(category_id, [])

    def _read_records(self) -> dict[int, list[bytes]]:
        """Read the chosen records of all categories in the order of the file.

        Half a gigabyte for LVIS train. Reading category by category would need no memory, but jumps about in the file,
        which takes minutes when the system does not hold it in memory.
        """
        synset_of = {category.id: category.synset for category in self.categories}
        found: dict[int, list[bytes]] = {}
        for index, category_id in zip(self._chosen.tolist(), self._ids[self._chosen].tolist(), strict=True):
            added = {
                "dataset": LVIS,
                "file_name": self._names[self._image_of[index]],
                "synset": synset_of[category_id],
            }
            found.setdefault(category_id, []).append(with_fields(self._boxes.raw(index), added))
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _check_synsets(self, path: Path) -> None:
        for category in self.categories:
            if not category.synset:
                raise AnnotationFileError(
                    path,
                    f"category {category.id} ({category.name}) has no synset",
                    hint="exemplars are kept by WordNet synset; COCO's own annotation files have none",
                )

    def _one_id_a_synset(self) -> npt.NDArray[np.int64]:
        """The category ids of the annotations; of two categories with one synset, the later one's for both."""
        ids: npt.NDArray[np.int64] = self._boxes["category_id"]
        last = {category.synset: category.id for category in self.categories}
        if len(last) < len(self.categories):
            ids = ids.copy()
            for category in self.categories:
                ids[self._boxes["category_id"] == category.id] = last[category.synset]
        return ids


def with_fields(raw: bytes, added: dict[str, Any]) -> bytes:
    """Append fields to a JSON object without decoding it; fields that it has already keep their place."""
    if any(b'"%b"' % key.encode() in raw for key in added):
        return json.dumps({**msgspec.json.decode(raw), **added}).encode()
    return b"%b, %b" % (raw.rstrip()[:-1].rstrip(), json.dumps(added).encode()[1:])


def _places(ids: npt.NDArray[np.int64], of: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each of `ids` stands in `of`, -1 for those that do not."""
    if not len(of):
        return np.full(len(ids), -1, np.int64)
    order = np.argsort(of, kind="stable")
    places = order[np.minimum(np.searchsorted(of[order], ids), len(of) - 1)]
    return np.where(of[places] == ids, places, -1)
