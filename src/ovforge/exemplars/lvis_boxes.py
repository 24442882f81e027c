"""LVIS as a source of exemplars: its boxes by class, their polygons never decoded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ovforge.annotation_io.door import categories_of, open_annotations
from ovforge.annotation_io.ordering import find_positions
from ovforge.annotation_io.record_edit import edit_record, raw_fields
from ovforge.records.exemplar import LVIS
from ovforge.records.lvis import Category


class LvisBoxes:
    """The annotations of an LVIS file whose mask is larger than `min_area` square pixels, by category."""

    def __init__(self, path: Path, *, min_area: float) -> None:
        """Read the file's columns.

        Raises:
            MissingInputError, AnnotationFileError: names the file and the record.
        """
        self._file = open_annotations(
            path,
            images=("folder_name",),
            annotations=("area", "bbox"),
            categories=("name", "synset", "frequency"),
        )
        categories, images, self._boxes = self._file.categories, self._file.images, self._file.annotations
        for index in np.flatnonzero([not synset for synset in categories["synset"]])[:1].tolist():
            raise categories.error(
                index,
                f"({categories['name'][index]}) has no synset",
                hint="exemplars are kept by WordNet synset; COCO's own annotation files have none",
            )
        self.categories: tuple[Category, ...] = categories_of(categories)
        self._names = images["folder_name"].tolist()
        self._image_of = find_positions(images["id"], self._boxes["image_id"])
        large = self._boxes["area"] > min_area
        ids = self._one_id_a_synset()
        self._ids = ids
        self._chosen = np.flatnonzero(large)
        self._counts = Counter(ids[self._chosen].tolist())
        self._small = Counter(ids[~large].tolist())
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
        canonical = self._file.canonical("annotations")
        filled = self._file.filled_in(self._chosen)
        for row, (index, category_id) in enumerate(
            zip(self._chosen.tolist(), self._ids[self._chosen].tolist(), strict=True)
        ):
            added: dict[str, bytes | None] = {
                field: texts[row] for field, texts in filled.items() if texts[row] is not None
            }
            added |= raw_fields(
                {"dataset": LVIS, "file_name": self._names[self._image_of[index]], "synset": synset_of[category_id]}
            )
            found.setdefault(category_id, []).append(edit_record(canonical(self._boxes.raw(index)), added))
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _one_id_a_synset(self) -> npt.NDArray[np.int64]:
        """The category ids of the annotations; of two categories with one synset, the later one's for both."""
        ids: npt.NDArray[np.int64] = self._boxes["category_id"]
        last = {category.synset: category.id for category in self.categories}
        if len(last) < len(self.categories):
            ids = ids.copy()
            for category in self.categories:
                ids[self._boxes["category_id"] == category.id] = last[category.synset]
        return ids
