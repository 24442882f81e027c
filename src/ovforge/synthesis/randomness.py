"""Random numbers that depend on the image alone.

Every draw in the making of pairs comes from a generator keyed by (seed, image id, variant, purpose): never from
the order, the batch, the worker or the number of GPUs. Purposes in use: `motion`, `caption`, and the engines' own.
numpy's Philox is counter-based and gives the same numbers on every processor; torch's CPU generator does not.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, image_id: int, variant: int, purpose: str) -> np.random.Generator:
    """The generator for one purpose in one variant of one image; calling it again starts it afresh."""
    key = hashlib.blake2b(f"{seed}/{image_id}/{variant}/{purpose}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
