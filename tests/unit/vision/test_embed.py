"""Features of exemplars: each made once, however the run goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ovforge.errors import InputError, MissingInputError, PlanMismatchError
from ovforge.image_io.codec import decode_rgb
from ovforge.options.vision import EmbedOptions, VisionOptions
from ovforge.records.exemplar import Exemplar
from ovforge.records.features import feature_key
from ovforge.records.reporting import StepSummary
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.runs.executors.local import LocalExecutor
from ovforge.runs.run import ShardSelection
from ovforge.sources.crop_box import crop_rectangle
from ovforge.sources.features import FeatureFolder, part_files
from ovforge.vision import embed, embed_exemplars
from ovforge.vision.features import FeatureModel
from ovforge.vision.views import random_view

from .conftest import CAT, DOG, World, photograph

Tiny = Callable[[str], Path]


def options(world: World, model: Path, **changes: Any) -> EmbedOptions:
    given = {"out": world.root / "features", "lvis_images": world.coco}
    return EmbedOptions(world.drawn(), model, batch=2, **{**given, **changes})


def embedded(given: EmbedOptions, **how: Any) -> StepSummary:
    return embed_exemplars(given, InProcessExecutor(), **how)


def keys_of(world: World) -> list[str]:
    records = [record for records in world.records.values() for record in records]
    return [feature_key(Exemplar(r["dataset"], r["file_name"], bbox=tuple(r["bbox"]), id=r["id"])) for r in records]


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2"])
def test_a_feature_is_the_model_s_of_the_crop(tiny: Tiny, world: World, kind: str) -> None:
    summary = embedded(options(world, tiny(kind)))
    assert summary.counts == {"exemplars": 5, "had a feature": 0, "embedded": 5}
    reads_texts = kind != "dinov2"
    assert (f"--vision {tiny(kind)}" in summary.next_command) is reads_texts
    assert ("--kind image" in summary.next_command) is not reads_texts
    features = FeatureFolder(world.root / "features")
    assert len(features) == 5 and features.dimension == 16
    model = FeatureModel(VisionOptions(tiny(kind)))
    for record in world.records[DOG]:
        exemplar = Exemplar("lvis", record["file_name"], bbox=tuple(record["bbox"]), id=record["id"])
        image = decode_rgb((world.coco / record["file_name"]).read_bytes(), "x")
        rectangle = crop_rectangle(exemplar, 80, 60, context=0.4, square=True)
        assert rectangle is not None
        left, top, right, bottom = rectangle
        expected = model.embed_images([image[top:bottom, left:right]])
        assert np.abs(features.take([feature_key(exemplar)]) - expected).max() < 1e-5


def test_adding_exemplars_embeds_these_only(tiny: Tiny, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded(options(world, tiny("clip")))
    before = FeatureFolder(world.root / "features")
    world.add(CAT, 5)
    world.add(DOG, 6)
    seen: list[int] = []
    own = FeatureModel.embed
    monkeypatch.setattr(FeatureModel, "embed", lambda self, inputs: seen.append(len(inputs)) or own(self, inputs))
    summary = embedded(options(world, tiny("clip")))
    assert summary.counts == {"exemplars": 7, "had a feature": 5, "embedded": 2}
    assert sum(seen) == 2
    after = FeatureFolder(world.root / "features")
    old = [key for key in keys_of(world) if key in before]
    assert len(old) == 5 and np.array_equal(before.take(old), after.take(old))
    assert len(part_files(world.root / "features")) == 2
    assert embedded(options(world, tiny("clip"))).counts["embedded"] == 0
    assert sum(seen) == 2


def test_another_box_is_another_crop(tiny: Tiny, world: World) -> None:
    embedded(options(world, tiny("clip")))
    world.records[CAT][0]["bbox"] = [6, 6, 30.5, 24]
    assert embedded(options(world, tiny("clip"))).counts["embedded"] == 1


def test_the_same_features_by_several_processes_and_in_parts(tiny: Tiny, world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(embed, "EXEMPLARS_A_SHARD", 2)
    embedded(options(world, tiny("clip")))
    alone = FeatureFolder(world.root / "features").take(keys_of(world))
    embed_exemplars(options(world, tiny("clip"), out=world.root / "two"), LocalExecutor(2, ("cpu",)))
    assert np.array_equal(FeatureFolder(world.root / "two").take(keys_of(world)), alone)
    parts = options(world, tiny("clip"), out=world.root / "parts")
    first = embedded(parts, shards=ShardSelection(1, 2))
    assert "still to be done" in first.notes[0] and not part_files(world.root / "parts")
    embedded(parts, shards=ShardSelection(2, 2))
    assert np.array_equal(FeatureFolder(world.root / "parts").take(keys_of(world)), alone)


def test_whoever_finds_the_features_put_together_meanwhile_is_done_too(
    tiny: Tiny, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last two parts end at the same moment: the other one has made the part and taken the run away."""
    own = embed._make_part

    def too_late(folder: Path, shard_files: Sequence[Path]) -> None:
        own(folder, shard_files)
        own(folder, shard_files)

    monkeypatch.setattr(embed, "_make_part", too_late)
    summary = embedded(options(world, tiny("clip")))
    assert summary.notes == ("another process has put the features together",)
    assert len(FeatureFolder(world.root / "features")) == 5
    assert not (world.root / "features" / "run").exists()


def test_a_stopped_run_goes_on(tiny: Tiny, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "EXEMPLARS_A_SHARD", 2)
    given = options(world, tiny("clip"))
    embedded(given, shards=ShardSelection(1, 3))
    seen: list[int] = []
    own = FeatureModel.embed
    monkeypatch.setattr(FeatureModel, "embed", lambda self, inputs: seen.append(len(inputs)) or own(self, inputs))
    embedded(given)
    assert sum(seen) == 3  # the first two were done
    assert len(FeatureFolder(world.root / "features")) == 5


def test_what_a_stopped_run_did_is_kept_when_others_are_asked_for(
    tiny: Tiny, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "EXEMPLARS_A_SHARD", 2)
    embedded(options(world, tiny("clip")), shards=ShardSelection(1, 3))
    world.add(CAT, 0)
    summary = embedded(options(world, tiny("clip")))
    assert summary.counts == {"exemplars": 6, "had a feature": 2, "embedded": 4}
    assert len(FeatureFolder(world.root / "features")) == 6
    assert not (world.root / "features" / "run").exists()


def test_views_are_seeded_and_averaged(tiny: Tiny, world: World) -> None:
    three = options(world, tiny("clip"), augment=3, out=world.root / "three")
    embedded(three)
    embedded(replace(three, out=world.root / "again"))
    embedded(replace(three, out=world.root / "other", seed=1))
    keys = keys_of(world)
    features = [FeatureFolder(world.root / name).take(keys) for name in ("three", "again", "other")]
    assert np.array_equal(features[0], features[1])
    assert np.abs(features[0] - features[2]).max() > 1e-4
    model = FeatureModel(VisionOptions(tiny("clip")))
    record = world.records[CAT][0]
    exemplar = Exemplar("lvis", record["file_name"], bbox=tuple(record["bbox"]), id=record["id"])
    rectangle = crop_rectangle(exemplar, 80, 60, context=0.4, square=True)
    assert rectangle is not None
    left, top, right, bottom = rectangle
    crop = decode_rgb((world.coco / record["file_name"]).read_bytes(), "x")[top:bottom, left:right]
    views = [random_view(crop, 32, seed=0, key=feature_key(exemplar), view=view) for view in range(3)]
    expected = model.embed_images(views).mean(axis=0)
    assert np.abs(FeatureFolder(world.root / "three").take([feature_key(exemplar)])[0] - expected).max() < 1e-5


def test_views_differ_and_stay_close_to_their_crop() -> None:
    crop = photograph(1)
    views = [random_view(crop, 16, seed=0, key="x", view=view) for view in range(8)]
    assert {view.shape for view in views} == {(64, 64, 3)}
    assert len({view.tobytes() for view in views}) == 8
    mean = cv2.resize(crop, (64, 64), interpolation=cv2.INTER_AREA).astype(float).mean(axis=(0, 1))
    for view in views:
        assert np.abs(view.mean(axis=(0, 1)) - mean).max() < 60
    assert random_view(photograph(1, 3, 200), 16, seed=0, key="x", view=0).shape == (64, 64, 3)
    assert random_view(photograph(1, 1, 1), 16, seed=0, key="x", view=0).shape == (64, 64, 3)


def test_other_settings_are_refused_by_name(tiny: Tiny, world: World) -> None:
    embedded(options(world, tiny("clip")))
    with pytest.raises(PlanMismatchError, match="crop augment: 0 there, 5 now"):
        embedded(options(world, tiny("clip"), augment=5))
    with pytest.raises(PlanMismatchError, match="model model: clip there, dinov2 now"):
        embedded(options(world, tiny("dinov2")))
    assert embedded(options(world, tiny("clip"), seed=7)).counts["embedded"] == 0  # a seed decides nothing here
    summary = embedded(options(world, tiny("dinov2"), overwrite=True))
    assert summary.counts["embedded"] == 5


def test_what_cannot_be_embedded_is_counted_and_tried_again(tiny: Tiny, world: World) -> None:
    missing = world.coco / "train2017" / f"{3:012}.jpg"
    data = missing.read_bytes()
    missing.unlink()
    (world.coco / "train2017" / f"{4:012}.jpg").write_bytes(data[:200])
    world.add(CAT, 2, (0, 0, 0, 0))
    summary = embedded(options(world, tiny("clip")))
    assert {(drop.reason, drop.count) for drop in summary.drops} == {
        ("its image is missing", 1),
        ("its image is cut short", 1),
        ("its box is empty or outside its image", 1),
    }
    assert summary.counts["embedded"] == 3
    missing.write_bytes(data)
    assert embedded(options(world, tiny("clip"))).counts["embedded"] == 1


def test_wrong_inputs(tiny: Tiny, world: World) -> None:
    (world.root / "nothing").mkdir()
    with pytest.raises(MissingInputError, match="nor any other image"):
        embedded(options(world, tiny("clip"), lvis_images=world.root / "nothing"))
    with pytest.raises(InputError, match="OWLv2 is good for detect, not for image"):
        embedded(options(world, tiny("owlv2"), out=world.root / "owl"))
    (world.root / "drawn.json").write_text("[[], []]")
    with pytest.raises(InputError, match="names no exemplars"):
        embed_exemplars(EmbedOptions(world.root / "drawn.json", tiny("clip")))


def test_a_damaged_part_is_named(tiny: Tiny, world: World) -> None:
    embedded(options(world, tiny("clip")))
    part = part_files(world.root / "features")[0]
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(InputError, match=r"000000\.npz: cannot be read as features"):
        embedded(options(world, tiny("clip")))
    settings = world.root / "features" / "features.json"
    settings.write_text(json.dumps({"format": "x", "model": {}, "crop": {}}))
    with pytest.raises(InputError, match="has the format 'x'"):
        embedded(options(world, tiny("clip")))
