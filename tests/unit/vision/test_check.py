"""What features tell of exemplars: look-alikes, odd ones out, confused classes; and picking by features."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ovforge.errors import InputError, MissingInputError
from ovforge.exemplars import sample_exemplars
from ovforge.exemplars.pick import pick_diverse, pick_typical
from ovforge.options.exemplars import Pick, SampleOptions, Shortage
from ovforge.options.vision import CheckOptions, EmbedOptions
from ovforge.records.coverage import Coverage
from ovforge.records.exemplar_check import ExemplarCheck
from ovforge.vision import check_exemplars, embed_exemplars
from ovforge.vision.exemplar_statistics import leave_one_out, near_duplicates, outliers

from .conftest import CAT, CUP, DOG, World

Tiny = Callable[[str], Path]


def test_leave_one_out_is_that_of_a_plain_loop() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(30, 6)) + 1
    labels = np.sort(generator.integers(0, 4, 30))
    labels[-1] = 5  # alone in its class; class 4 is empty
    found = leave_one_out(features, labels, 7)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for row in range(30):
        best, nearest = -2.0, -1
        for label in range(7):
            others = [unit[i] for i in range(30) if labels[i] == label and i != row]
            if others:
                mean = np.mean(others, axis=0)
                cosine = float(unit[row] @ mean / np.linalg.norm(mean))
                if label == labels[row]:
                    assert abs(found.own[row] - cosine) < 1e-5
                if cosine > best:
                    best, nearest = cosine, label
        assert found.nearest[row] == nearest
    assert np.isnan(found.own[-1])


def test_near_duplicates_and_outliers_on_plain_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ovforge.vision.exemplar_statistics._ROWS_AT_ONCE", 2)  # pairs over several blocks
    features = np.eye(6)[[0, 1, 2, 0, 4, 2]] * np.array([[1], [2], [3], [4], [5], [6]])
    assert [(i, j) for i, j, _ in near_duplicates(features, 0.99)] == [(0, 3), (2, 5)]
    own = np.array([0.9, 0.91, 0.89, 0.9, 0.4, 0.9, 0.3, np.nan], np.float32)
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 2])
    assert outliers(own, labels, 3.5).tolist() == [4]  # class 1 has too few to say
    assert outliers(np.array([0.9, 0.9, 0.9, 0.9, 0.899], np.float32), np.zeros(5, np.int64), 3.5).tolist() == []


def test_typical_ones_are_near_the_mean_and_diverse_ones_far_apart() -> None:
    features = np.array([[1, 0, 0], [1, 0.1, 0], [1, -0.1, 0], [0.2, 1, 0], [0.2, 0, 1.0]])
    names = ["a", "b", "c", "d", "e"]
    assert pick_typical(features, names, 2) == [1, 0]
    diverse = pick_diverse(features, names, 3)
    assert diverse[0] == 1 and set(diverse[1:]) == {3, 4}
    assert pick_diverse(features, names, 2) == diverse[:2]
    shuffled = [4, 2, 0, 3, 1]
    again = pick_diverse(features[shuffled], [names[place] for place in shuffled], 3)
    assert [shuffled[place] for place in again] == diverse
    assert len(pick_diverse(features, names, 9)) == 5 and pick_diverse(np.zeros((0, 3)), [], 2) == []


@pytest.fixture
def big_world(tiny: Tiny, world: World) -> World:
    """Six cats of which two are the same image under two names, and the rest of `world`."""
    for image in (11, 12, 13):
        world.add(CAT, image)
    world.add(CAT, 14)
    shutil.copy(world.coco / "train2017" / f"{13:012}.jpg", world.coco / "train2017" / f"{14:012}.jpg")
    options = EmbedOptions(world.drawn(), tiny("clip"), out=world.root / "features", lvis_images=world.coco)
    embed_exemplars(options)
    return world


def checked(world: World, **changes: Any) -> ExemplarCheck:
    given = {"features": world.root / "features", "categories": world.categories, "overwrite": True}
    options = CheckOptions(world.drawn(), **{**given, **changes})
    check_exemplars(options)
    return msgspec.json.decode(options.report.read_bytes(), type=ExemplarCheck)


def test_copies_are_found_within_and_across_train_and_val(big_world: World) -> None:
    alike = checked(big_world, similarity=0.9999, train_shots=10).duplicates
    (pair,) = [each for each in alike if "000013" in each.first]
    assert "000014" in pair.second and pair.similarity == 1.0 and not pair.across
    alike = checked(big_world, similarity=0.9999, train_shots=5).duplicates
    assert [each.across for each in alike if "000013" in each.first] == [True]


def test_two_lists_and_the_same_exemplar_in_both(big_world: World) -> None:
    train = big_world.root / "train.json"
    shutil.copy(big_world.drawn(), train)
    big_world.records[CAT] = big_world.records[CAT][:1]
    big_world.records[DOG].clear()
    big_world.records[CUP].clear()
    alike = checked(big_world, train_exemplars=train, similarity=1.0).duplicates
    same = [each for each in alike if each.first == each.second]
    assert [each.across for each in same] == [True] and same[0].synsets == (CAT, CAT)


def test_the_report_speaks_of_every_class(tiny: Tiny, big_world: World) -> None:
    coverage = big_world.root / "coverage.json"
    row = {
        "category_id": 3, "name": "cat", "synset": CAT, "frequency": "f", "lvis": 6, "imagenet21k": 0,
        "visual_genome": 0, "substitutes": 0, "total": 6,
    }  # fmt: skip
    coverage.write_text(json.dumps({"exemplars": 6, "enough": 10, "lacking": [CAT], "sources": {}, "classes": [row]}))
    report = checked(big_world, vision=tiny("clip"), coverage=coverage)
    assert [each.synset for each in report.classes] == [CAT, DOG, CUP]
    assert [each.exemplars for each in report.classes] == [6, 2, 1]
    assert report.classes[2].leave_one_out is None
    cats = report.classes[0].leave_one_out
    assert cats is not None and abs(cats * 6 - round(cats * 6)) < 1e-3
    assert msgspec.json.decode(coverage.read_bytes(), type=Coverage).classes[0].leave_one_out == cats
    for each in report.confused:
        assert each.synset != each.nearest and each.similarity > each.own_similarity and each.own_rank > 1
    # Three classes and one random model: at most one text can be right for all.
    assert report.exemplars == 9


def test_the_next_command_shows_what_was_found(big_world: World) -> None:
    options = CheckOptions(big_world.drawn(), features=big_world.root / "features", categories=big_world.categories)
    assert check_exemplars(options).next_command == f"ovforge exemplars view {options.exemplars}"
    report = big_world.root / "report.json"
    summary = check_exemplars(replace(options, out=report))
    assert summary.next_command == f"ovforge exemplars view {options.exemplars} --check {report}"


def test_what_is_missing_is_said(tiny: Tiny, big_world: World) -> None:
    with pytest.raises(MissingInputError, match="features of exemplars not found"):
        checked(big_world, features=big_world.root / "none")
    with pytest.raises(MissingInputError, match="coverage report not found"):
        checked(big_world, coverage=big_world.root / "none.json")
    with pytest.raises(InputError, match="not for text"):
        checked(big_world, vision=tiny("dinov2"))
    with pytest.raises(InputError, match=r"similarity=1\.5"):
        checked(big_world, similarity=1.5)


class TestSample:
    def options(self, world: World, **changes: Any) -> SampleOptions:
        dictionary = world.drawn(named=True)
        given = {"out": world.root / "picked.json", "k": 3, "overwrite": True, "features": world.root / "features"}
        return SampleOptions(dictionary, world.categories, **{**given, **changes})

    def picked(self, world: World, **changes: Any) -> list[list[int]]:
        options = self.options(world, **changes)
        sample_exemplars(options)
        return [[record["id"] for record in records] for records in json.loads(options.output.read_text())]

    def test_the_original_s_draw_does_not_change(self, big_world: World) -> None:
        assert self.picked(big_world) == self.picked(big_world, features=None)

    def test_typical_and_diverse_ones(self, big_world: World) -> None:
        typical = self.picked(big_world, pick=Pick.TYPICAL)
        diverse = self.picked(big_world, pick=Pick.DIVERSE)
        assert typical != diverse and typical[0][0] == diverse[0][0]
        assert len(set(typical[0])) == len(set(diverse[0])) == 3
        copies = {record["id"] for record in big_world.records[CAT] if record["image_id"] in (13, 14)}
        assert len(copies) == 2 and not copies <= set(diverse[0])  # of two copies, a diverse choice has one
        assert [len(each) for each in diverse] == [3, 3, 3]  # short classes repeat
        fewer = self.picked(big_world, pick=Pick.DIVERSE, shortage=Shortage.FEWER)
        assert [len(each) for each in fewer] == [3, 2, 1]

    def test_what_has_no_feature_is_not_picked(self, big_world: World) -> None:
        big_world.add(DOG, 20)
        options = self.options(big_world, pick=Pick.TYPICAL)
        summary = sample_exemplars(options)
        assert [(drop.reason, drop.count) for drop in summary.drops] == [("has no feature", 1)]

    def test_bad_options(self, big_world: World) -> None:
        with pytest.raises(InputError, match="pick='typical' needs the exemplars' features"):
            self.picked(big_world, pick=Pick.TYPICAL, features=None)
        with pytest.raises(InputError, match="nothing can be drawn again"):
            self.picked(big_world, pick=Pick.DIVERSE, shortage=Shortage.REDRAW)
