"""Scores in the annotation file and in the dataset, and objects rejected by them."""

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

from ovforge.errors import InputError
from ovforge.options.judge import ScoreOptions
from ovforge.options.rejection import RejectAs
from ovforge.options.tracks import AnnotateOptions
from ovforge.records.reporting import StepSummary
from ovforge.records.scores import ExtraObject, Scores
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.sources.pair_index import open_pair_index
from ovforge.synthesis.judge import score_pairs
from ovforge.synthesis.second_views import SecondViews
from ovforge.synthesis.tracks import annotate_pairs

from .conftest import Run

Tiny = Callable[[str], Path]


@pytest.fixture
def scored(run_of_pairs: Run, tmp_path: Path) -> Run:
    """A copy of the run with its scores."""
    shutil.copytree(run_of_pairs.folder, tmp_path / "runs")
    run = Run(tmp_path / "runs", run_of_pairs.annotations)
    score_pairs(ScoreOptions(run.name, folder=run.folder), InProcessExecutor())
    return run


def annotated(run: Run, **changes: Any) -> tuple[dict[str, Any], StepSummary]:
    options = AnnotateOptions(run.name, run.folder, out=run.folder / "out.json", overwrite=True)
    summary = annotate_pairs(replace(options, **changes))
    return json.loads((run.folder / "out.json").read_bytes()), summary


def change(run: Run, edit: Callable[[Any], Any]) -> Scores:
    """Edit the scores as somebody else's judge would have given them."""
    path = run.folder / "pairs.scores.json"
    scores = msgspec.json.decode(path.read_bytes(), type=Scores)
    scores = msgspec.structs.replace(scores, views=tuple(edit(view) for view in scores.views))
    path.write_bytes(msgspec.json.encode(scores))
    return scores


def second_views(content: dict[str, Any]) -> list[dict[str, Any]]:
    frames = {image["id"] for image in content["images"] if image["frame_id"] > 0}
    return [each for each in content["annotations"] if each["image_id"] in frames]


def test_scores_stand_beside_the_objects_of_second_views(scored: Run) -> None:
    scores = change(scored, lambda view: view)
    expected = {(view.file_name, each.id): each for view in scores.views for each in view.objects}
    content, _ = annotated(scored)
    names = {image["id"]: image["file_name"] for image in content["images"]}
    objects = second_views(content)
    assert objects
    for each in objects:
        given = expected[names[each["image_id"]], each["ori_ann_id"]]
        assert each["sharpness"] == given.sharpness and each["colour"] == given.colour
        assert "same" not in each  # there was no model
    firsts = [each for each in content["annotations"] if each not in objects]
    assert firsts and not any("sharpness" in each for each in firsts)
    index = open_pair_index(scored.folder / "out.json")
    first, second = (index.objects(int(row)) for row in index.pairs[0])
    assert set(index.scores(second)) == {"sharpness", "boundary", "colour", "repeated"}
    assert np.isnan(index.scores(first)["sharpness"]).all()
    given = [each["sharpness"] for each in objects if each["image_id"] == index.image_id[index.pairs[0, 1]]]
    assert np.allclose(sorted(index.scores(second)["sharpness"]), sorted(given))


def test_the_original_s_own_file_has_no_scores(scored: Run) -> None:
    content, _ = annotated(scored, original=True)
    assert not any("sharpness" in each for each in content["annotations"])


def test_extra_objects_stand_with_their_image(scored: Run) -> None:
    extra = ExtraObject(2, (1.0, 2.0, 30.0, 40.0), 0.75)
    change(scored, lambda view: msgspec.structs.replace(view, extra=(extra,) if "1_v0" in view.file_name else ()))
    content, _ = annotated(scored)
    found = {image["file_name"]: image["extra"] for image in content["images"]}
    assert found["000000000001_v0.jpg"] == [{"category_id": 2, "bbox": [1.0, 2.0, 30.0, 40.0], "score": 0.75}]
    assert found["000000000002_v0.jpg"] == [] and found["000000000001.jpg"] is None


def spoil(view: Any) -> Any:
    """The first image's first object is a blur, the second image's objects have no scores."""
    if view.file_name == "000000000002_v0.jpg":
        return msgspec.structs.replace(view, objects=())
    if view.file_name != "000000000001_v0.jpg":
        return view
    objects = (msgspec.structs.replace(view.objects[0], sharpness=0.05), *view.objects[1:])
    return msgspec.structs.replace(view, objects=objects)


def flags(content: dict[str, Any], original: int = 10) -> list[tuple[bool, int]]:
    """Of one annotated object: in a second view or not, and `iscrowd`."""
    seconds = [each["id"] for each in second_views(content)]
    found = [each for each in content["annotations"] if each["ori_ann_id"] == original]
    return sorted((each["id"] in seconds, each["iscrowd"]) for each in found)


def reason(summary: StepSummary) -> tuple[str, int, tuple[str, ...]]:
    (drop,) = [drop for drop in summary.drops if "sharpness" in drop.reason]
    return drop.reason, drop.count, drop.examples


@pytest.mark.parametrize("knows_all", [True, False], ids=["all that is seen is known", "not all is known"])
def test_rejected_objects_become_ignore_regions_in_every_frame(
    scored: Run, knows_all: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SecondViews, "knows_all_that_is_seen", knows_all)
    change(scored, spoil)
    before, _ = annotated(scored)
    after, summary = annotated(scored, reject="sharpness<0.1")
    assert len(before["annotations"]) == len(after["annotations"])
    assert flags(before) == [(False, 0), (True, 0)]
    assert flags(after) == [(False, 1), (True, 1)]
    others = [each for each in after["annotations"] if each["ori_ann_id"] != 10]
    assert not any(each["iscrowd"] for each in others)  # objects without scores stay
    text = "its score sharpness is below 0.1: an ignore region where it is seen"
    assert reason(summary) == (text, 1, ("annotation 10 in 000000000001_v0.jpg",))


@pytest.mark.parametrize("knows_all", [True, False], ids=["all that is seen is known", "not all is known"])
def test_rejected_objects_are_skipped(scored: Run, knows_all: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SecondViews, "knows_all_that_is_seen", knows_all)
    change(scored, spoil)
    content, summary = annotated(scored, reject="sharpness<0.1", reject_as=RejectAs.SKIP)
    # In the first view it is to be seen, and nothing else of a pair may be taken for background.
    assert flags(content) == ([(False, 1)] if knows_all else [])
    assert flags(content, 11) == [(False, 0), (True, 0)]
    assert reason(summary) == ("its score sharpness is below 0.1", 1, ("annotation 10 in 000000000001_v0.jpg",))


def test_rules_that_cannot_be_followed(scored: Run) -> None:
    with pytest.raises(InputError, match="no object of the run has this score"):
        annotated(scored, reject="same<0.5")
    with pytest.raises(InputError, match="not of the form SCORE<NUMBER"):
        annotated(scored, reject="fine")
    with pytest.raises(InputError, match="has no ignore regions"):
        annotated(scored, reject="sharpness<0.1", reject_as=RejectAs.IGNORE, original=True)
    (scored.folder / "pairs.scores.json").unlink()
    with pytest.raises(InputError, match="no object of the run has this score"):
        annotated(scored, reject="sharpness<0.5")
    content, _ = annotated(scored, reject="fidelity<0.999")
    assert content["annotations"] is not None


def test_scores_of_another_run_are_refused(scored: Run) -> None:
    path = scored.folder / "pairs.scores.json"
    scores = msgspec.json.decode(path.read_bytes(), type=Scores)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(scores, pairs_size=1)))
    with pytest.raises(InputError, match="was made from another pairs"):
        annotated(scored)
