"""Filters and orders, on arrays made by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ovforge.errors import InputError
from ovforge.records.lvis import Category
from ovforge.sources.pair_arrays import MEASURES, ObjectColumns, PairArrays, arrange, motion_row
from ovforge.viewer.query import Query, classes_named, plain_name, select, sorts


@pytest.fixture
def arrays() -> PairArrays:
    """Three pairs: `ab.jpg` with a small cat and a large dog, `bc.jpg` with a large cat, `cd.jpg` without objects."""
    per_image = [2, 2, 1, 1, 0, 0]
    area = [100, 400, 100, 1600, 900, 3600]
    measures = np.full((6, len(MEASURES)), np.nan)
    measures[[2, 3, 5], MEASURES.index("sharpness")] = 0.9, 0.2, 0.4
    measures[[2, 3], MEASURES.index("repeated")] = 0.1, 0.7
    columns = ObjectColumns(
        np.zeros((6, 4)),
        np.array(area),
        np.array([1, 2, 1, 2, 1, 1]),
        np.array([0, 1, 0, 1, 2, 2]),
        np.array([np.nan, np.nan, 0.9, 0.3, np.nan, 0.5]),
        measures,
    )
    made = arrange(
        pairs=np.array([[0, 1], [2, 3], [4, 5]]),
        image_id=np.arange(6),
        image_size=np.full((6, 2), 64),
        names=["ab.jpg", "ab_v0.jpg", "bc.jpg", "bc_v0.jpg", "cd.jpg", "cd_v0.jpg"],
        objects_per_image=np.array(per_image),
        objects=columns,
        motions=[motion_row("none", False, (), 64, 64)] * 3,
        extra=[0, 3, math.nan],
    )
    return PairArrays(categories=(Category(1, "cat", "", "f"), Category(2, "dog", "", "r")), **made)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"class": "cat"}, [0, 1]),
        ({"class": "dog|bird"}, [0]),
        ({"class": "bird"}, []),
        ({"freq": "f"}, [0, 1]),
        ({"freq": "r"}, [0]),
        ({"freq": "rcf"}, [0, 1]),
        ({"class": "cat", "freq": "r"}, []),
        ({"size_from": "40"}, [0, 1]),
        # The large object of the first pair is a dog: no cat in it is so large.
        ({"class": "cat", "size_from": "40"}, [1]),
        ({"size_to": "10"}, [0]),
        ({"fidelity_to": "0.4"}, [0]),
        ({"fidelity_from": "0.5"}, [0, 1]),
        ({"class": "cat", "fidelity_to": "0.5"}, [1]),
        ({"objects_to": "0"}, [2]),
        ({"objects_from": "2"}, [0]),
        ({"name": "AB.J"}, [0]),
        ({"name": "b"}, [0, 1]),
        ({"name": "c_v0"}, [1]),
        ({"name": "jpgab"}, []),  # one name's end and the next one's beginning
        ({"name": "g"}, [0, 1, 2]),
        ({"class": " CAT "}, [0, 1]),
        ({"class": "do"}, [0]),
        ({"class": "cat|dog"}, [0, 1]),
        ({"motion": "none"}, [0, 1, 2]),
        ({"motion": "affine"}, []),
        ({"first_from": "25"}, [1]),
        ({"first_to": "11"}, [0]),
        ({"scale_from": "0.5"}, []),  # nothing has moved
        ({"sharpness_to": "0.4"}, [0, 1]),
        ({"sharpness_from": "0.3", "sharpness_to": "0.5"}, [1]),
        # The blurred object of the first pair is the dog.
        ({"class": "cat", "sharpness_to": "0.3"}, []),
        ({"sharpness_from": "0.5", "repeated_from": "0.5"}, []),
        ({"visibility_from": "0"}, []),  # nothing is known of it
        ({"extra_from": "1"}, [1]),
        ({"extra_to": "0"}, [0]),
        ({"sort": "sharpness"}, [0, 1, 2]),
        ({"sort": "-repeated"}, [0, 1, 2]),
        ({"sort": "-extra"}, [1, 0, 2]),
        ({"sort": "fidelity"}, [0, 1, 2]),
        ({"sort": "-fidelity"}, [1, 0, 2]),
        ({"sort": "grown"}, [1, 0, 2]),
        ({"sort": "shrunk"}, [0, 1, 2]),
        ({"sort": "-objects"}, [0, 1, 2]),
    ],
)
def test_select(arrays: PairArrays, values: dict[str, str], expected: list[int]) -> None:
    assert select(arrays, Query.parse(values)).tolist() == expected


@pytest.mark.parametrize(
    "values", [{"size_from": "x"}, {"verdict": "cat"}, {"motion": "round"}, {"fidelity_to": "nan"}, {"sort": "name"}]
)
def test_parse_refuses(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        Query.parse(values)


def test_orders_are_of_what_was_measured(arrays: PairArrays) -> None:
    assert set(sorts(arrays)) == {
        "", "shrunk", "grown", "fidelity", "-fidelity", "-objects", "sharpness", "-repeated", "-extra",
    }  # fmt: skip


def test_frames_of_a_clip_are_known_by_their_names(arrays: PairArrays) -> None:
    """Two clips, whose frames stand in no helpful order, and a pair whose image is called as a frame is."""
    names = ["a.jpg", "a_v0_f002.jpg", "b.jpg", "b_v0_f001.jpg", "a_v0_f001.jpg", "x_v0_f001.jpg", "x_v0_f001_v0.jpg"]
    pairs = np.array([[0, 1], [2, 3], [0, 4], [5, 6]])
    nothing = np.zeros(0)
    columns = ObjectColumns(nothing, nothing, nothing, nothing, nothing, nothing)
    made = arrange(
        pairs=pairs,
        image_id=np.arange(7),
        image_size=np.full((7, 2), 64),
        names=names,
        objects_per_image=np.zeros(7, np.int64),
        objects=columns,
        motions=[motion_row("clip", False, (), 64, 64)] * 4,
    )
    clips = PairArrays(categories=(), **made)
    assert clips.frame.tolist() == [2, 1, 1, 0]
    assert clips.first_of.tolist() == [2, 1, 2, 3]
    assert clips.firsts.tolist() == [1, 2, 3]
    assert [clips.frames_of(pair) for pair in range(4)] == [[2, 0], [1], [2, 0], [3]]
    assert clips.has_clips
    assert not arrays.has_clips
    # The last frame stands for its clip; the clip stands where its first frame does.
    assert select(clips, Query()).tolist() == [1, 0, 3]
    assert select(clips, Query.parse({"name": "f001", "sort": "-objects"})).tolist() == [1, 2, 3]
    assert clips.measured == ()


def test_names_of_classes_forgive_case_and_underscores() -> None:
    names = ("Flip-flop_(sandal)", "cup", "cupboard", "paper cup")
    arrays = type("Arrays", (), {"categories": tuple(Category(i, name) for i, name in enumerate(names))})
    for text, expected in (
        ("flip-flop (SANDAL)", {0}),
        ("Cup", {1}),
        ("cupb", {2}),
        ("paper_cup", {3}),
        ("up", {1, 2, 3}),
        ("cup|sandal", {0, 1}),
        ("nothing", set()),
    ):
        assert classes_named(arrays, plain_name(text)) == expected, text  # type: ignore[arg-type]
