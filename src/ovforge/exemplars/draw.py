"""Drawing K exemplars of one class by area: the rules, on plain numbers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ovforge.options.exemplars import Shortage

TWO_TO_53 = float(1 << 53)


def draw(areas: Sequence[float], k: int, *, seed: int, shortage: Shortage) -> list[int]:
    """Draw k places of `areas` (square pixels), each with a chance proportional to its area, without replacement.

    Large objects make better exemplars. The generator is made again from `seed` for every class, so that a class's
    draw depends on no other class. The draws are those of MM-OVOD's and OVMR's scripts, number by number.

    A place whose area is not a positive number is never drawn. With fewer than k others, `shortage` decides; ERROR
    gives what there is, like FEWER, and leaves the complaint to the caller. No usable place gives an empty list.
    """
    weights = usable_weights(areas)
    usable = int(np.count_nonzero(weights))
    if usable == 0:
        return []
    # Added one by one, as Python's sum did up to 3.11: a sum that differs in its last bit could turn a draw.
    chances = weights / np.cumsum(weights)[-1]
    generator = np.random.default_rng(seed)
    if usable >= k:
        return _choice(generator, chances, k)
    if shortage is Shortage.REDRAW:
        return [int(place) for place in generator.choice(len(weights), size=k, p=chances, replace=True)]
    drawn = _choice(generator, chances, usable)
    while shortage is Shortage.REPEAT and len(drawn) < k:
        drawn += _choice(generator, chances, min(usable, k - len(drawn)))
    return drawn


def draw_nested(
    identities: Sequence[str], areas: Sequence[float], k: int, *, seed: int, shortage: Shortage
) -> list[int]:
    """Draw like `draw`, so that the draw of a smaller k is the beginning of a larger one's.

    Every exemplar gets an arrival time, exponentially distributed with its area as the rate; the first k to arrive are
    a weighted draw without replacement (Efraimidis and Spirakis 2006). The time comes from a hash of the seed and of
    what the exemplar is, not from its place in the file: taking some exemplars out, or listing them in another order,
    changes nothing for the others. `shortage` REPEAT goes round the order again; REDRAW cannot nest and is the
    caller's to refuse.
    """
    weights = usable_weights(areas)
    times = [
        -math.log(_uniform(seed, identity)) / weight if weight > 0 else math.inf
        for identity, weight in zip(identities, weights.tolist(), strict=True)
    ]
    arriving = (place for place in range(len(times)) if times[place] < math.inf)
    order = sorted(arriving, key=lambda place: (times[place], place))
    if not order or len(order) >= k or shortage is not Shortage.REPEAT:
        return order[:k]
    return [order[turn % len(order)] for turn in range(k)]


def usable_weights(areas: Sequence[float]) -> npt.NDArray[np.float64]:
    """The areas as weights, float64 (n,): 0 for those that are not positive and finite."""
    weights = np.asarray(areas, dtype=np.float64)
    return np.where(np.isfinite(weights) & (weights > 0), weights, 0.0)


def _choice(generator: np.random.Generator, chances: npt.NDArray[np.float64], k: int) -> list[int]:
    return [int(place) for place in generator.choice(len(chances), size=k, p=chances, replace=False)]


def _uniform(seed: int, identity: str) -> float:
    """A number in (0, 1) that depends on the seed and the identity alone."""
    digest = hashlib.blake2b(f"{seed}:{identity}".encode(), digest_size=8).digest()
    return ((int.from_bytes(digest, "little") >> 11) + 0.5) / TWO_TO_53
