"""In how many images and how often each class occurs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.ordering import stable_order

_LOOKUP_ENTRIES = 16 << 20


def positions(values: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of `values` stands in `ids`; every value must be there."""
    if len(ids) and ids.min() >= 0 and ids.max() < _LOOKUP_ENTRIES:
        lookup = np.zeros(int(ids.max()) + 1, np.int64)
        lookup[ids] = np.arange(len(ids))
        return lookup[values]
    order = stable_order(ids)
    return order[np.searchsorted(ids, values, sorter=order)]


def image_and_instance_counts(
    images: NDArray[Any], categories: NDArray[np.int64], category_count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Images and objects per class, from the position of each object's image and of its class in their lists."""
    instances = np.bincount(categories, minlength=category_count)
    pairs = np.sort(images * category_count + categories)
    once = pairs[np.append(True, np.diff(pairs) != 0)] if len(pairs) else pairs
    return np.bincount(once % category_count, minlength=category_count), instances
