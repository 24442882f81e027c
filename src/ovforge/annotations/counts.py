"""In how many pictures and how often each class occurs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def positions(values: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of `values` stands in `ids`; every value must be there."""
    order = np.argsort(ids, kind="stable")
    return order[np.searchsorted(ids, values, sorter=order)]


def image_and_instance_counts(
    images: NDArray[Any], categories: NDArray[np.int64], category_count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pictures and objects per class, from each object's picture (any number) and class (below `category_count`)."""
    instances = np.bincount(categories, minlength=category_count)
    _, picture = np.unique(images, return_inverse=True)
    pairs = np.unique(picture.astype(np.int64) * category_count + categories)
    return np.bincount(pairs % category_count, minlength=category_count), instances
