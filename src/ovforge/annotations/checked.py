"""Opening an annotation file so that a step can rely on it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.annotation_file import AnnotationFile, RecordTable
from ovforge.errors import AnnotationFileError, InputError
from ovforge.records import lvis

FREQUENCIES = "rcf"


class ImageKey(msgspec.Struct, frozen=True, gc=False):
    """An image of which nothing but its id is wanted."""

    id: int


class CheckedFile:
    """An open annotation file whose ids are unique and refer to records that are there.

    Raises:
        MissingInputError: there is no such file.
        AnnotationFileError: malformed, a required field is missing, an id is there twice or refers to nothing.
    """

    def __init__(
        self,
        path: Path,
        *,
        annotations: type[Any] = lvis.AnnotationKey,
        images: type[Any] = ImageKey,
        categories: type[Any] = lvis.Category,
        spans: Collection[str] | None = None,
    ) -> None:
        self.path = path
        records = {"annotations": annotations, "images": images, "categories": categories}
        self.file = AnnotationFile(path, records, spans=spans)
        self.annotations = self.file.table("annotations", annotations)
        self.images = self.file.table("images", images)
        self.categories = self.file.table("categories", categories)
        try:
            for table in (self.categories, self.images, self.annotations):
                table.check_unique()
            self.annotations.check_known("category_id", self.categories["id"], "categories")
            self.annotations.check_known("image_id", self.images["id"], "images")
        except AnnotationFileError:
            self.file.close()
            raise

    def __enter__(self) -> CheckedFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()


def check_frequencies(exclude: str, option: str = "--exclude") -> set[str]:
    """The frequencies named in `exclude`, as `r`, `rc` or `r,c`.

    Raises:
        InputError: something else is named, or nothing.
    """
    letters = set(exclude) - set(", ")
    if not letters or letters - set(FREQUENCIES):
        raise InputError(
            f"{option} {exclude!r}: not a frequency", hint="give letters of rcf: r (rare), c (common), f (frequent)"
        )
    return letters


def excluded_categories(categories: RecordTable, exclude: set[str]) -> NDArray[np.bool_]:
    """Which categories have one of the frequencies.

    Raises:
        AnnotationFileError: a category has no frequency.
    """
    frequencies = categories["frequency"]
    for index, frequency in enumerate(frequencies):
        if frequency not in FREQUENCIES or not frequency:
            found = f"frequency {frequency!r}, not one of r, c, f" if frequency else "no frequency"
            raise categories.error(index, f"has {found}", hint="`ovforge lvis category-info --add_freq` works it out")
    return np.isin(frequencies.astype(str), sorted(exclude))
