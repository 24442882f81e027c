"""In how many images and how often each class occurs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def image_and_instance_counts(
    images: NDArray[Any], categories: NDArray[np.int64], category_count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Images and objects per class, from the position of each object's image and of its class in their lists."""
    instances = np.bincount(categories, minlength=category_count)
    pairs = np.sort(images * category_count + categories)
    once = pairs[np.append(True, np.diff(pairs) != 0)] if len(pairs) else pairs
    return np.bincount(once % category_count, minlength=category_count), instances
