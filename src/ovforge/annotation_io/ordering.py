"""Sorting columns of a million records."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def stable_order(keys: Ints) -> Ints:
    """The indices that sort `keys` (n,), equal keys in their order: `np.argsort(keys, kind="stable")`, but quicker.

    numpy sorts plain integers with the processor's vector instructions, ten times faster than it sorts indices. So
    each key is put in front of its index in one integer, as long as both fit into 63 bits.
    """
    index_bits = max(len(keys) - 1, 0).bit_length()
    smallest = int(keys.min(initial=0))
    if (int(keys.max(initial=0)) - smallest).bit_length() + index_bits > 63:
        return np.argsort(keys, kind="stable")
    packed = ((keys - smallest) << index_bits) | np.arange(len(keys))
    packed.sort()
    return packed & ((1 << index_bits) - 1)
