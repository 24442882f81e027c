"""Which classes an LVIS step takes out, by their frequency."""

from __future__ import annotations

import shlex

import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.annotation_file import RecordTable
from ovforge.errors import InputError

FREQUENCIES = "rcf"


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
        if frequency not in set(FREQUENCIES):  # `rc` is in the text, but no frequency
            found = f"frequency {frequency!r}, not one of r, c, f" if frequency else "no frequency"
            raise categories.error(
                index,
                f"has {found}",
                hint=f"`ovforge lvis add-frequencies --ann {shlex.quote(str(categories.path))}` writes a copy "
                "with the frequencies of its classes: work with that one",
            )
    return np.isin(frequencies.astype(str), sorted(exclude))
