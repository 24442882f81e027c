"""What features tell of exemplars, on plain arrays: look-alikes, odd ones out, classes that are told apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ovforge.vision.classifier_rows import normalised

_ROWS_AT_ONCE = 2048
_FEWEST = 4
"""Exemplars that a class needs before one of them can be odd."""


class LeaveOneOut(NamedTuple):
    """Every exemplar against all classes' means, its own class's without it.

    Attributes:
        nearest: int64 (n,): the class whose mean is nearest.
        own: float32 (n,): cosine with the mean of its class's others; NaN where there is none.
    """

    nearest: NDArray[np.int64]
    own: NDArray[np.float32]


def leave_one_out(features: NDArray[Any], labels: NDArray[np.int64], classes: int) -> LeaveOneOut:
    """Sort every exemplar into the class whose mean feature is nearest, by cosine.

    Args:
        features: (n, dimension), as the model gave them.
        labels: (n,): each one's class, from 0.
        classes: how many classes there are; those without exemplars attract none.
    """
    unit = normalised(features)
    sums = np.zeros((classes, unit.shape[1]))
    np.add.at(sums, labels, unit)
    counts = np.bincount(labels, minlength=classes)
    means = normalised(sums)
    nearest = np.empty(len(unit), np.int64)
    own = np.full(len(unit), np.nan, np.float32)
    for start in range(0, len(unit), _ROWS_AT_ONCE):
        rows = slice(start, min(start + _ROWS_AT_ONCE, len(unit)))
        mine = labels[rows]
        similarity = unit[rows] @ means.T
        similarity[:, counts == 0] = -np.inf
        others = normalised(sums[mine] - unit[rows])
        without = np.einsum("ij,ij->i", unit[rows], others)
        alone = counts[mine] < 2
        place = np.arange(len(mine))
        similarity[place, mine] = np.where(alone, -np.inf, without)
        own[rows] = np.where(alone, np.nan, without)
        nearest[rows] = similarity.argmax(axis=1)
    return LeaveOneOut(nearest, own)


def near_duplicates(features: NDArray[Any], threshold: float) -> Iterator[tuple[int, int, float]]:
    """Pairs (i, j, cosine), i < j, of features whose cosine is at least `threshold`; in order of i, then j."""
    unit = normalised(features)
    for start in range(0, len(unit), _ROWS_AT_ONCE):
        similarity = unit[start : start + _ROWS_AT_ONCE] @ unit[start:].T
        rows, columns = np.nonzero(similarity >= threshold)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if column > row:
                yield start + row, start + column, float(similarity[row, column])


def outliers(own: NDArray[np.float32], labels: NDArray[np.int64], deviations: float) -> NDArray[np.int64]:
    """The exemplars that are less like their class than its others are, by `deviations` of them.

    `own` are the cosines of `leave_one_out`. The yardstick is the median absolute deviation from the class's median,
    scaled to a standard deviation, and at least 0.01, so that a class of all but equal images has none.
    """
    found: list[int] = []
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        values = own[members]
        if len(members) < _FEWEST:
            continue
        middle = float(np.median(values))
        spread = max(1.4826 * float(np.median(np.abs(values - middle))), 0.01)
        found += members[values < middle - deviations * spread].tolist()
    return np.array(sorted(found), np.int64)
