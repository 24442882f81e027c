"""How far things move between two frames of a clip: distributions of a step's size, by the gap between the frames.

What real footage shows, measured on DAVIS sequences for objects above 64x64 pixels (10th, 50th and 90th percentile):

| video frames apart | absolute log area ratio | shift of the centre, share of the diagonal |
|---|---|---|
| 5  | .02 .12 .32  | .01 .02 .06 |
| 15 | .01 .24 1.06 | .01 .05 .13 |
| 30 | .08 .48 1.75 | .03 .06 .16 |

An object of a clip moves with the camera and, if it can, by itself, stays in bounds, is covered and leaves. So the
distributions that are drawn from are not those of the table: they were fitted so that the visible boxes and areas in
the finished clips follow it (`benchmarks/bench_clips.py` shows how well).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_NINETIETH = 1.2815515655446004
"""The 90th percentile of the standard normal distribution."""
_LOWEST = -2.2
"""No draw is further below the median than this many standard deviations."""
_MOST = 1.25
"""No step is larger than this times the 90th percentile: real things do not jump."""


@dataclass(frozen=True)
class Spread:
    """The 10th, 50th and 90th percentile of a step's size; between and below them it is log-normal on each side."""

    low: float
    middle: float
    high: float

    def at(self, normal: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sizes for draws of a standard normal variable."""
        normal = np.maximum(normal, _LOWEST)
        up, down = math.log(self.high / self.middle), math.log(self.middle / self.low)
        sizes = self.middle * np.exp(normal / _NINETIETH * np.where(normal > 0, up, down))
        return np.asarray(np.minimum(sizes, _MOST * self.high))

    def scaled(self, factor: float) -> Spread:
        """All percentiles times `factor`."""
        return Spread(self.low * factor, self.middle * factor, self.high * factor)


Spreads = Mapping[int, Spread]
"""Distributions by gap, in video frames, in ascending order."""


def spread_for(spreads: Spreads, gap: float) -> Spread:
    """The distribution for a gap: in proportion to it below the smallest known one, constant above the largest."""
    known = list(spreads)
    if gap <= known[0]:
        return spreads[known[0]].scaled(gap / known[0])
    for before, after in pairwise(known):
        if gap <= after:
            share = math.log(gap / before) / math.log(after / before)
            a, b = spreads[before], spreads[after]
            return Spread(*(x ** (1 - share) * y**share for x, y in zip(_parts(a), _parts(b), strict=True)))
    return spreads[known[-1]]


def _parts(spread: Spread) -> tuple[float, float, float]:
    return spread.low, spread.middle, spread.high
