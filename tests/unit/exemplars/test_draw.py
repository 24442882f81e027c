"""The draws of one class."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovforge.exemplars.draw import draw, draw_nested
from ovforge.options.exemplars import Shortage

AREAS = [900.0, 100.0, 2500.0, 10000.0, 400.0, 1.0]
WITHOUT_ERROR = [Shortage.REPEAT, Shortage.FEWER, Shortage.REDRAW]


@pytest.mark.parametrize("seed", [0, 7, 42])
@pytest.mark.parametrize("k", [1, 3, 6])
def test_draws_are_the_originals(k: int, seed: int) -> None:
    things = [{"number": number} for number in range(len(AREAS))]
    chances = np.array(AREAS) / sum(AREAS)
    original = np.random.default_rng(seed).choice(things, size=k, p=chances, replace=False)
    assert draw(AREAS, k, seed=seed, shortage=Shortage.ERROR) == [each["number"] for each in original]


def test_redraw_is_ovmrs() -> None:
    chances = np.array(AREAS) / sum(AREAS)
    original = np.random.default_rng(42).choice(len(AREAS), size=10, p=chances, replace=True)
    assert draw(AREAS, 10, seed=42, shortage=Shortage.REDRAW) == original.tolist()


def test_repeat_takes_each_once_before_any_twice() -> None:
    drawn = draw(AREAS, 15, seed=42, shortage=Shortage.REPEAT)
    assert len(drawn) == 15
    for start in (0, 6):
        assert sorted(drawn[start : start + 6]) == list(range(6))
    assert len(set(drawn[12:])) == 3


def test_fewer_keeps_what_there_is() -> None:
    assert sorted(draw(AREAS, 99, seed=1, shortage=Shortage.FEWER)) == list(range(6))


@pytest.mark.parametrize("shortage", WITHOUT_ERROR)
def test_boxes_without_area_are_never_drawn(shortage: Shortage) -> None:
    areas = [0.0, 50.0, -1600.0, float("nan"), 70.0, float("inf")]
    assert set(draw(areas, 4, seed=3, shortage=shortage)) == {1, 4}
    assert draw([0.0, -1.0], 4, seed=3, shortage=shortage) == []
    assert draw([], 4, seed=3, shortage=shortage) == []


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=40), st.integers(0, 2**32), st.integers(1, 30))
def test_a_smaller_nested_draw_begins_a_larger_one(areas: list[float], seed: int, k: int) -> None:
    names = [str(number) for number in range(len(areas))]
    for shortage in (Shortage.REPEAT, Shortage.FEWER):
        small = draw_nested(names, areas, k, seed=seed, shortage=shortage)
        large = draw_nested(names, areas, k + 7, seed=seed, shortage=shortage)
        assert large[: len(small)] == small
        assert len(set(small[: len(areas)])) == min(k, len(areas))


@given(st.lists(st.floats(1, 1e6), min_size=3, max_size=30), st.integers(0, 99), st.randoms())
def test_a_nested_draw_goes_by_what_exemplars_are_not_where_they_stand(areas, seed, random) -> None:  # type: ignore[no-untyped-def]
    names = [f"lvis:{number}" for number in range(len(areas))]
    drawn = [names[place] for place in draw_nested(names, areas, 5, seed=seed, shortage=Shortage.FEWER)]
    order = random.sample(range(len(names)), len(names))
    moved_names, moved_areas = [names[place] for place in order], [areas[place] for place in order]
    moved = draw_nested(moved_names, moved_areas, 5, seed=seed, shortage=Shortage.FEWER)
    assert [moved_names[place] for place in moved] == drawn
    # Taking one away moves up the others and changes nothing else.
    without = [place for place in range(len(names)) if names[place] != drawn[0]]
    left = draw_nested([names[p] for p in without], [areas[p] for p in without], 4, seed=seed, shortage=Shortage.FEWER)
    assert [names[without[place]] for place in left][: len(drawn) - 1] == drawn[1:]


def test_nested_draws_go_by_area() -> None:
    # The first of a weighted draw is each with its share of the weight: 0.5, 0.25, 0.25.
    areas = [2000.0, 1000.0, 1000.0]
    first = collections.Counter(
        draw_nested(["a", "b", "c"], areas, 1, seed=seed, shortage=Shortage.FEWER)[0] for seed in range(4000)
    )
    expected = {0: 2000, 1: 1000, 2: 1000}
    # Five standard deviations of a binomial of 4000.
    assert all(abs(first[place] - count) < 5 * (count * (1 - count / 4000)) ** 0.5 for place, count in expected.items())
