"""`pairs score` over a run: what it writes, by whom, and what it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import h5py
import msgspec
import numpy as np
import pytest

from ovforge.errors import InputError, MissingInputError, OutputExistsError
from ovforge.options.judge import ScoreOptions
from ovforge.records.run_layout import tracks_file
from ovforge.records.scores import ViewScores
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.runs.executors.local import LocalExecutor
from ovforge.runs.run import ShardSelection
from ovforge.synthesis.judge import read_scores, score, score_pairs

from .conftest import Run

Tiny = Callable[[str], Path]


@pytest.fixture
def own_run(run_of_pairs: Run, tmp_path: Path) -> Run:
    """A copy of the run that a test may write to."""
    shutil.copytree(run_of_pairs.folder, tmp_path / "runs")
    return Run(tmp_path / "runs", run_of_pairs.annotations)


def scored(run: Run, **changes: Any) -> dict[str, ViewScores]:
    options = ScoreOptions(run.name, folder=run.folder, **changes)
    score_pairs(options, InProcessExecutor())
    return read_scores(run.folder / "pairs.scores.json", run.folder / "pairs.pairs.json")


def test_every_object_of_every_second_view_is_scored(own_run: Run) -> None:
    options = ScoreOptions(own_run.name, folder=own_run.folder)
    summary = score_pairs(options, InProcessExecutor())
    assert summary.counts == {"images": 5, "second views": 4, "objects": 8, "extra objects": 0}
    views = read_scores(own_run.folder / "pairs.scores.json", own_run.folder / "pairs.pairs.json")
    assert sorted(views) == [f"{number:012}_v0.jpg" for number in range(1, 5)]
    measured = 0
    for number, view in enumerate(sorted(views.values(), key=lambda view: view.file_name), start=1):
        assert [each.id for each in view.objects] == [10 * number, 10 * number + 1]
        assert view.extra is None
        for each in view.objects:
            assert each.same is None and each.found is None
            if each.sharpness is not None:  # the engine warp repaints nothing
                measured += 1
                assert 0.9 < each.sharpness < 1.1 and each.colour is not None and each.colour > 0.9
                assert each.boundary is not None and 0.7 < each.boundary < 1.3
    assert measured >= 4
    assert not (own_run.folder / "pairs.scores.run").exists()
    assert summary.next_command == f"ovforge pairs annotate pairs --folder {own_run.folder} --reject RULE"
    tracks = tracks_file(own_run.folder, "pairs")
    tracks.parent.mkdir(exist_ok=True)
    tracks.touch()
    again = score_pairs(replace(options, overwrite=True), InProcessExecutor())
    assert again.next_command == f"ovforge pairs annotate pairs --overwrite --folder {own_run.folder} --reject RULE"


def test_with_a_vision_model_and_a_detector(tiny: Tiny, own_run: Run) -> None:
    views = scored(own_run, vision=tiny("dinov2"), detector=tiny("owlv2"))
    objects = [each for view in views.values() for each in view.objects if each.sharpness is not None]
    assert objects and all(each.same is not None and each.same > 0.9 for each in objects)
    assert all(each.found is not None and 0 <= each.found <= 1 for each in objects)
    assert all(view.extra is not None for view in views.values())
    for kind in ("clip", "siglip"):
        views = scored(own_run, vision=tiny(kind), overwrite=True)
        objects = [each for view in views.values() for each in view.objects if each.sharpness is not None]
        assert all(each.same is not None and each.same > 0.9 for each in objects)


def test_a_spoiled_object_scores_low_and_its_neighbour_does_not(tiny: Tiny, own_run: Run) -> None:
    before = scored(own_run, vision=tiny("clip"))
    name = next(view.file_name for view in before.values() if all((each.sharpness or 0) > 0 for each in view.objects))
    with h5py.File(own_run.folder / "pairs.h5", "r+") as file:
        image = cv2.imdecode(np.asarray(file[name]), cv2.IMREAD_COLOR)
        record = msgspec.json.decode((own_run.folder / "pairs.pairs.json").read_bytes())["pairs"]
        entry = next(v for pair in record for v in pair["variants"] if v["file_name"] == name)["annotations"][0]
        x, y, w, h = entry["bbox"]
        image[y : y + h, x : x + w] = cv2.GaussianBlur(image[y : y + h, x : x + w], (0, 0), 8)
        done, data = cv2.imencode(".jpg", image)
        assert done
        del file[name]
        file[name] = np.frombuffer(data.tobytes(), np.uint8)
    after = scored(own_run, vision=tiny("clip"), overwrite=True)
    was, now = before[name].objects[0], after[name].objects[0]
    assert was.sharpness is not None and now.sharpness is not None and now.sharpness < 0.6 * was.sharpness
    assert was.same is not None and now.same is not None and now.same < was.same
    other = next(key for key in before if key != name)
    assert before[other] == after[other]


def test_the_same_scores_by_several_processes_and_in_parts(own_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = scored(own_run)
    monkeypatch.setattr(score, "IMAGES_A_SHARD", 2)
    options = ScoreOptions(own_run.name, folder=own_run.folder, overwrite=True)
    score_pairs(options, LocalExecutor(2))
    path, pairs = own_run.folder / "pairs.scores.json", own_run.folder / "pairs.pairs.json"
    assert read_scores(path, pairs) == alone
    path.unlink()
    options = ScoreOptions(own_run.name, folder=own_run.folder)
    first = score_pairs(options, InProcessExecutor(), shards=ShardSelection(1, 2))
    assert not path.exists() and "still to be done" in first.notes[-1]
    score_pairs(options, InProcessExecutor(), shards=ShardSelection(2, 2))
    assert read_scores(path, pairs) == alone


def test_whoever_finds_the_scores_put_together_meanwhile_is_done_too(
    own_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last two parts end at the same moment: the other one has written the scores and taken the run away."""
    expected = scored(own_run)
    path, run = own_run.folder / "pairs.scores.json", own_run.folder / "pairs.scores.run"
    content = path.read_bytes()
    path.unlink()

    def too_late(shard: Path) -> list[ViewScores]:
        path.write_bytes(content)
        shutil.rmtree(run)
        return msgspec.json.decode(shard.read_bytes(), type=list[ViewScores])

    monkeypatch.setattr(score, "_decode", too_late)
    summary = score_pairs(ScoreOptions(own_run.name, folder=own_run.folder), InProcessExecutor())
    assert summary.notes == ("another process has put the scores together",)
    assert read_scores(path, own_run.folder / "pairs.pairs.json") == expected
    assert not run.exists()

    path.unlink()
    monkeypatch.setattr(score, "_decode", lambda shard: Path(f"{shard}.gone").read_bytes())
    with pytest.raises(FileNotFoundError):
        score_pairs(ScoreOptions(own_run.name, folder=own_run.folder), InProcessExecutor())


def test_what_is_refused(tiny: Tiny, own_run: Run) -> None:
    options = ScoreOptions(own_run.name, folder=own_run.folder)
    with pytest.raises(InputError, match="DINOv2 is good for image, not for detect"):
        scored(own_run, detector=tiny("dinov2"))
    with pytest.raises(MissingInputError, match="model folder not found"):
        scored(own_run, vision=own_run.folder / "none")
    scored(own_run)
    with pytest.raises(OutputExistsError):
        score_pairs(options)
    pairs = own_run.folder / "pairs.pairs.json"
    path = own_run.folder / "pairs.scores.json"
    pairs.write_bytes(pairs.read_bytes() + b" ")
    with pytest.raises(InputError, match="was made from another pairs"):
        read_scores(path, pairs)
    path.write_text("{}")
    with pytest.raises(InputError, match="is not what `pairs score` writes"):
        read_scores(path, pairs)
    pairs.unlink()
    with pytest.raises(MissingInputError, match="records of the merged run not found"):
        score_pairs(ScoreOptions(own_run.name, folder=own_run.folder, overwrite=True))
