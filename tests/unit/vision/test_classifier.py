"""Classifiers: their arithmetic against plain computations and published files, and who reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import ovforge
from ovforge.errors import InputError, MissingInputError, OutputExistsError, PlanMismatchError, ShortageError
from ovforge.options.vision import (
    ClassifierKind,
    ClassifierLayout,
    ClassifierOptions,
    EmbedOptions,
    VisionOptions,
    WithoutExemplars,
    features_folder,
)
from ovforge.records.exemplar import Exemplar
from ovforge.records.features import feature_key
from ovforge.sources.features import FeatureFolder
from ovforge.vision import embed_exemplars, make_classifier
from ovforge.vision.classifier_rows import fused_rows, fusion_weights, mean_rows, normalised
from ovforge.vision.features import FeatureModel

from .conftest import CAT, CUP, DOG, World, photograph

Tiny = Callable[[str], Path]
ORDER = (CAT, DOG, CUP)
"""The classes by their category ids: 3, 5, 9."""
NAMES = ("cat", "dog", "cup")


@pytest.fixture
def published() -> Path:
    folder = Path(__file__).resolve().parents[4] / "shared" / "data" / "classifiers"
    if not folder.is_dir():
        pytest.skip("the published classifiers are not here (classifiers/ in the shared test data)")
    return folder


def test_published_fused_classifiers_are_the_sum_of_normalised_text_and_image(published: Path) -> None:
    text = np.load(published / "text_descriptions_first200.npy")
    image = np.load(published / "image_avg_k5_first200.npy")
    fused = np.load(published / "fused_avg_k5_first200.npy")
    assert np.abs(fused_rows(text, image) - fused).max() < 6e-4
    assert np.abs(normalised(fused_rows(text, image)) - fused).max() > 0.05  # not normalised again


def test_the_arithmetic_is_that_of_a_plain_computation() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(7, 5)).astype(np.float32)
    counts = [3, 0, 4]
    means = mean_rows(features, counts)
    for row, (start, stop) in enumerate([(0, 3), (3, 3), (3, 7)]):
        expected = [sum(float(f[i]) for f in features[start:stop]) / max(stop - start, 1) for i in range(5)]
        assert np.abs(means[row] - expected).max() < 1e-6
    text = generator.normal(size=(3, 5))
    fused = fused_rows(text, means)
    for row in (0, 2):
        lengths = [sum(float(x) ** 2 for x in table[row]) ** 0.5 for table in (text, means)]
        expected = [text[row][i] / lengths[0] + means[row][i] / lengths[1] for i in range(5)]
        assert np.abs(fused[row] - expected).max() < 1e-6
    assert np.isfinite(normalised(np.zeros((1, 5)))).all()


def test_fusion_weights_favour_what_sorts_the_exemplars() -> None:
    generator = np.random.default_rng(1)
    centres = np.eye(4, 16) * 3
    labels = np.repeat(np.arange(4), 6)
    features = (centres[labels] + generator.normal(size=(24, 16)) * 0.2).astype(np.float32)
    image = mean_rows(features, [6] * 4)
    wrong = np.roll(centres, 1, axis=0).astype(np.float32)
    weights = fusion_weights(features, labels, wrong, image, fused_rows(wrong, image))
    assert np.abs(weights.sum(axis=1) - 1).max() < 1e-6
    assert (weights[:, 1] > 0.5).all() and (weights[:, 2] < 0.01).all()
    right = centres.astype(np.float32)
    even = fusion_weights(features, labels, right, image, fused_rows(right, image))
    assert np.abs(even - 1 / 3).max() < 1e-6


def options(world: World, model: Path, **changes: Any) -> ClassifierOptions:
    given = {
        "out": world.root / "out.npy",
        "exemplars": world.drawn(),
        "categories": world.categories,
        "features": world.root / "features",
        "vision": model,
        "overwrite": True,
    }
    return ClassifierOptions(**{**given, **changes})


@pytest.fixture
def embedded_world(tiny: Tiny, world: World) -> World:
    embed(world, tiny("clip"))
    return world


def embed(world: World, model: Path, **changes: Any) -> None:
    given = {"out": world.root / "features", "lvis_images": world.coco}
    embed_exemplars(EmbedOptions(world.drawn(), model, **{**given, **changes}))


def image_means(world: World) -> Any:
    features = FeatureFolder(world.root / "features")
    rows = []
    for synset in ORDER:
        keys = [
            feature_key(Exemplar("lvis", r["file_name"], bbox=tuple(r["bbox"]), id=r["id"]))
            for r in world.records[synset]
        ]
        rows.append(features.take(keys).mean(axis=0))
    return np.stack(rows)


def text_rows(model: Path, *texts: list[str]) -> Any:
    looked = FeatureModel(VisionOptions(model))
    return np.stack([looked.embed_texts(each).mean(axis=0) for each in texts])


def unit(rows: Any) -> Any:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", list(ClassifierKind))
@pytest.mark.parametrize("named", [False, True])
def test_rows_are_in_the_order_of_the_category_ids(
    tiny: Tiny, embedded_world: World, kind: ClassifierKind, named: bool
) -> None:
    world = embedded_world
    given = options(world, tiny("clip"), kind=kind, exemplars=world.drawn(named=named))
    summary = make_classifier(given)
    rows = np.load(given.out)
    text = text_rows(tiny("clip"), *[[f"a {name}"] for name in NAMES])
    expected = {
        ClassifierKind.TEXT: text,
        ClassifierKind.IMAGE: image_means(world),
        ClassifierKind.FUSED: unit(text) + unit(image_means(world)),
    }[kind]
    assert rows.dtype == np.float32 and rows.shape == (3, 16)
    assert np.abs(rows - expected).max() < 1e-5
    assert summary.counts["classes"] == 3 and summary.counts["dimension"] == 16


def test_options_are_keywords_and_paths_may_be_text(tiny: Tiny, embedded_world: World) -> None:
    world, model = embedded_world, str(tiny("clip"))
    drawn, features, categories = str(world.drawn()), str(world.root / "features"), str(world.categories)
    again = ovforge.vision.embed_exemplars(drawn, vision=model, out=features, lvis_images=str(world.coco))
    assert again.counts["embedded"] == 0 and again.counts["exemplars"] == again.counts["had a feature"] > 0
    out = world.root / "by_keywords.npy"
    ovforge.vision.make_classifier(
        drawn, kind="text", template="a red {}", vision=model, categories=categories, out=str(out)
    )
    assert np.abs(np.load(out) - text_rows(tiny("clip"), *[[f"a red {name}"] for name in NAMES])).max() < 1e-5
    report = ovforge.vision.check_exemplars(drawn, features=features, categories=categories)
    assert report.paths["report"].is_file() and report.counts["classes"] == len(NAMES)
    with pytest.raises(InputError, match=r"kind='texts'.*\n.*did you mean text"):
        ovforge.vision.make_classifier(drawn, kind="texts", out=out)
    with pytest.raises(TypeError, match="exemplars"):
        ovforge.vision.make_classifier(drawn, exemplars=drawn, out=out)


def test_siglip(tiny: Tiny, world: World) -> None:
    embed(world, tiny("siglip"))
    make_classifier(options(world, tiny("siglip")))
    text = text_rows(tiny("siglip"), *[[f"a {name}"] for name in NAMES])
    assert np.abs(np.load(world.root / "out.npy") - unit(text) - unit(image_means(world))).max() < 1e-5


def test_dino_has_image_classifiers_and_no_others(tiny: Tiny, world: World) -> None:
    embed(world, tiny("dinov2"))
    make_classifier(options(world, tiny("dinov2"), kind=ClassifierKind.IMAGE, vision=None))
    assert np.abs(np.load(world.root / "out.npy") - image_means(world)).max() < 1e-6
    with pytest.raises(InputError, match="DINOv2 is good for image, not for text"):
        make_classifier(options(world, tiny("dinov2")))


def test_templates_and_descriptions(tiny: Tiny, embedded_world: World) -> None:
    world = embedded_world
    templates = ("a photo of a {}", "the small {}")
    make_classifier(options(world, tiny("clip"), kind=ClassifierKind.TEXT, template=templates, exemplars=None))
    expected = text_rows(tiny("clip"), *[[t.replace("{}", name) for t in templates] for name in NAMES])
    assert np.abs(np.load(world.root / "out.npy") - expected).max() < 1e-5
    path = world.root / "descriptions.json"
    path.write_text(json.dumps({"cat": ["a small cat", "the red cat"], DOG: "a dog of the street", "cup": ["a cup"]}))
    make_classifier(options(world, tiny("clip"), kind=ClassifierKind.TEXT, descriptions=path))
    expected = text_rows(tiny("clip"), ["a small cat", "the red cat"], ["a dog of the street"], ["a cup"])
    assert np.abs(np.load(world.root / "out.npy") - expected).max() < 1e-5
    path.write_text(json.dumps({"cat": ["a small cat"], "dog": []}))
    with pytest.raises(InputError, match="describes 1 of 3 classes, not dog, cup"):
        make_classifier(options(world, tiny("clip"), descriptions=path))
    path.write_text("[1]")
    with pytest.raises(InputError, match="not a JSON object from class name"):
        make_classifier(options(world, tiny("clip"), descriptions=path))
    with pytest.raises(InputError, match=r"has no \{\} for the class name"):
        options(world, tiny("clip"), template=("a photo",))


def test_a_class_without_exemplars(tiny: Tiny, embedded_world: World) -> None:
    world = embedded_world
    world.records[DOG].clear()
    for kind in (ClassifierKind.IMAGE, ClassifierKind.FUSED):
        with pytest.raises(ShortageError, match="1 of 3 classes have no exemplar with a feature: dog"):
            make_classifier(options(world, tiny("clip"), kind=kind))
        summary = make_classifier(options(world, tiny("clip"), kind=kind, without_exemplars=WithoutExemplars.TEXT))
        assert "no exemplars, so their text alone: dog" in summary.notes[0]
        rows = np.load(world.root / "out.npy")
        text = text_rows(tiny("clip"), ["a dog"])
        lengths = np.linalg.norm(rows, axis=1)
        assert np.abs(rows[1] / lengths[1] - unit(text)[0]).max() < 1e-5
        assert abs(lengths[1] - lengths[[0, 2]].mean()) < 1e-4


def test_exemplars_that_are_not_embedded_yet(tiny: Tiny, embedded_world: World) -> None:
    world = embedded_world
    world.add(CAT, 8)
    summary = make_classifier(options(world, tiny("clip")))
    assert [(drop.reason, drop.count) for drop in summary.drops] == [("has no feature", 1)]
    for records in world.records.values():
        for record in records:
            record["id"] += 1000
    with pytest.raises(InputError, match="has no feature of any exemplar") as caught:
        make_classifier(options(world, tiny("clip")))
    assert "ovforge exemplars embed" in caught.value.hint


def test_features_of_averaged_views_are_named_where_the_plain_ones_are_missing(
    tiny: Tiny, embedded_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(embedded_world.root)
    there = features_folder(tiny("clip"), 5)
    there.parent.mkdir(parents=True)
    (embedded_world.root / "features").rename(there)
    with pytest.raises(MissingInputError, match="features of exemplars not found") as caught:
        make_classifier(options(embedded_world, tiny("clip"), features=None))
    assert str(there) in caught.value.hint
    assert make_classifier(options(embedded_world, tiny("clip"), features=there)).counts["exemplars"] == 5


def test_features_of_another_model_are_refused(tiny: Tiny, embedded_world: World) -> None:
    with pytest.raises(PlanMismatchError, match="features are of the model"):
        make_classifier(options(embedded_world, tiny("siglip")))


def test_a_class_of_one_s_own(tiny: Tiny, embedded_world: World) -> None:
    world = embedded_world
    folder = world.root / "zebras"
    folder.mkdir()
    images = [photograph(40 + number) for number in range(2)]
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number}.png"), image[..., ::-1])
    (folder / "notes.txt").write_text("no image")
    summary = make_classifier(options(world, tiny("clip"), add=(f"zebra={folder}", "banana=")))
    rows = np.load(world.root / "out.npy")
    assert rows.shape == (5, 16)
    text = unit(text_rows(tiny("clip"), ["a zebra"], ["a banana"]))
    own = FeatureModel(VisionOptions(tiny("clip"))).embed_images(images).mean(axis=0)
    assert np.abs(rows[3] - text[0] - own / np.linalg.norm(own)).max() < 1e-5
    assert np.abs(rows[4] / np.linalg.norm(rows[4]) - text[1]).max() < 1e-5
    assert any("from row 3: zebra, banana" in note for note in summary.notes)
    assert [(drop.kind, drop.reason) for drop in summary.drops] == [("image", "is not an image of a known format")]
    with pytest.raises(InputError, match="add='zebra': given twice"):
        options(world, tiny("clip"), add=(f"zebra={folder}", "zebra="))
    with pytest.raises(InputError, match="there is a category of this name"):
        make_classifier(options(world, tiny("clip"), add=(f"cat={folder}",)))


def test_detic_s_own_loading_code_gives_unit_columns(tiny: Tiny, embedded_world: World) -> None:
    """Detic's and MM-OVOD's ZeroShotClassifier reads (classes, dimension), transposes and normalises."""
    import torch

    given = options(embedded_world, tiny("clip"), layout=ClassifierLayout.MM_OVOD)
    make_classifier(given)
    weight = torch.tensor(np.load(given.out), dtype=torch.float32).permute(1, 0).contiguous()
    weight = torch.cat([weight, weight.new_zeros((16, 1))], dim=1)
    weight = torch.nn.functional.normalize(weight, p=2, dim=0)
    assert weight.shape == (16, 4)
    assert torch.allclose(weight.norm(dim=0), torch.tensor([1.0, 1, 1, 0]))


def test_ovmr_s_file_holds_three_classifiers_of_unit_rows(tiny: Tiny, embedded_world: World) -> None:
    import torch

    world = embedded_world
    given = options(world, tiny("clip"), layout=ClassifierLayout.OVMR, out=world.root / "mm_classifiers.pt")
    make_classifier(given)
    tables = torch.load(given.out, map_location="cpu", weights_only=True)
    assert set(tables) == {"text_classifier", "vision_classifier", "mm_classifier", "fusion_weight"}
    text = unit(text_rows(tiny("clip"), *[[f"a {name}"] for name in NAMES]))
    image = unit(image_means(world))
    assert np.abs(tables["text_classifier"].numpy() - text).max() < 1e-5
    assert np.abs(tables["vision_classifier"].numpy() - image).max() < 1e-5
    assert np.abs(tables["mm_classifier"].numpy() - unit(text + image)).max() < 1e-5
    assert tables["fusion_weight"].shape == (3, 3)
    assert torch.allclose(tables["fusion_weight"].sum(dim=1), torch.ones(3))


def test_an_output_is_not_replaced(tiny: Tiny, embedded_world: World) -> None:
    given = options(embedded_world, tiny("clip"), overwrite=False)
    make_classifier(given)
    with pytest.raises(OutputExistsError):
        make_classifier(given)
