"""Which objects are rejected: rules over columns of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ovforge.errors import InputError
from ovforge.options.rejection import Rule


def broken_rules(rules: Sequence[Rule], columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.int64]:
    """For each object the first of `rules` that it breaks, or -1. What was not measured (NaN) breaks none.

    Raises:
        InputError: a rule over a score that no object has; says how to measure it.
    """
    count = len(next(iter(columns.values()))) if columns else 0
    broken = np.full(count, -1, np.int64)
    for number, rule in enumerate(rules):
        values = columns.get(rule.score)
        if values is None or (count and np.isnan(values).all()):
            raise InputError(
                f"--reject={rule.score}: no object of the run has this score",
                hint="`ovforge pairs score NAME` measures it; same and margin need --vision=DIR, found --detector=DIR",
            )
        with np.errstate(invalid="ignore"):
            breaks = values < rule.limit if rule.below else values > rule.limit
        broken[(broken < 0) & breaks] = number
    return broken
