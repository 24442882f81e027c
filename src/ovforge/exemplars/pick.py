"""Choosing K exemplars of one class by what they look like: the rules, on plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pick_typical(features: NDArray[Any], identities: Sequence[str], k: int) -> list[int]:
    """The k places whose features are nearest to the class's mean, by cosine, the nearest first.

    Equal ones are taken in the order of their identities, so the order of the file does not matter.
    """
    unit = _unit(features)
    similarity = unit @ _unit(unit.sum(axis=0, keepdims=True))[0]
    order = sorted(range(len(unit)), key=lambda place: (-round(float(similarity[place]), 6), identities[place]))
    return order[:k]


def pick_diverse(features: NDArray[Any], identities: Sequence[str], k: int) -> list[int]:
    """The most typical place, then again and again the one that is least like all that were taken (farthest first).

    A smaller k is the beginning of a larger one's.
    """
    if not len(features):
        return []
    unit = _unit(features)
    taken = pick_typical(features, identities, 1)
    closest = unit @ unit[taken[0]]
    while len(taken) < min(k, len(unit)):
        left = [place for place in range(len(unit)) if place not in set(taken)]
        best = min(left, key=lambda place: (round(float(closest[place]), 6), identities[place]))
        taken.append(best)
        closest = np.maximum(closest, unit @ unit[best])
    return taken


def _unit(rows: NDArray[Any]) -> NDArray[np.float64]:
    wide = np.asarray(rows, np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(np.divide(wide, length, out=np.zeros_like(wide), where=length > 0), np.float64)
