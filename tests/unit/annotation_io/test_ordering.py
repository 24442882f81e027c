"""The quick order is numpy's stable one."""

from __future__ import annotations

import numpy as np
import pytest

from ovforge.annotation_io.ordering import stable_order


@pytest.mark.parametrize(
    ("low", "high", "count"),
    [(0, 1, 0), (5, 6, 1), (0, 50, 1000), (-50, 50, 1000), (-(2**62), 2**62, 1000), (2**62, 2**63 - 1, 500), (7, 8, 9)],
)
def test_equal_keys_stay_in_their_order(low: int, high: int, count: int) -> None:
    keys = np.random.default_rng(0).integers(low, high, count)
    assert np.array_equal(stable_order(keys), np.argsort(keys, kind="stable"))


def test_all_of_64_bits() -> None:
    keys = np.array([2**63 - 1, -(2**63), 0, -(2**63), 2**63 - 1])
    assert stable_order(keys).tolist() == [1, 3, 2, 0, 4]
