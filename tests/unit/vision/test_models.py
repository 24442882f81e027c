"""Model folders: what they are good for, and that they give what transformers gives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ovforge.errors import InputError, MissingInputError
from ovforge.options.vision import Dtype, VisionOptions
from ovforge.vision.detector import Detector, box_iou
from ovforge.vision.features import FeatureModel
from ovforge.vision.model_folder import IMAGE, TEXT, check_vision_folder, inspect_vision_folder
from ovforge.vision.preprocessing import make_preprocessor

from .conftest import photograph

Tiny = Callable[[str], Path]
USES = {
    "clip": ("image", "text"),
    "siglip": ("image", "text"),
    "siglip2": ("image", "text"),
    "dinov2": ("image",),
    "dinov3_vit": ("image",),
    "owlv2": ("detect",),
    "grounding-dino": ("detect",),
}
IMAGES = [photograph(seed, 60 + 10 * seed, 90) for seed in range(3)]


@pytest.mark.parametrize("kind", USES)
def test_a_folder_says_what_it_is_good_for(tiny: Tiny, kind: str) -> None:
    found = inspect_vision_folder(tiny(kind))
    assert found.problems == ()
    assert found.uses == USES[kind]


PROCESSORS = {
    "clip": "CLIPImageProcessorPil",
    "siglip": "SiglipImageProcessorPil",
    "siglip2": "Siglip2ImageProcessorPil",
    "dinov2": "BitImageProcessorPil",
    "grounding-dino": "GroundingDinoImageProcessorPil",
}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_images_are_prepared_as_transformers_prepares_them(
    tiny: Tiny, preprocessors: dict[str, dict[str, Any]], kind: str
) -> None:
    import transformers

    theirs = getattr(transformers, PROCESSORS[kind], None)
    if theirs is None:
        pytest.skip(f"this transformers has no {PROCESSORS[kind]}, its processors need torchvision")
    config = {key: value for key, value in preprocessors[kind].items() if key != "image_processor_type"}
    processor = theirs(**config)
    ours = make_preprocessor(tiny(kind), kind, preprocessors[kind])
    for image in [*IMAGES, photograph(7, 20, 300), photograph(8, 33, 33)]:
        expected = processor([image], return_tensors="np")
        given = ours.collate([ours(image)])
        for key, value in given.items():
            assert value.shape == expected[key].shape
            assert np.abs(value - expected[key]).max() < 1e-5


def test_dinov3_images_are_scaled_before_they_are_resized(tiny: Tiny, preprocessors: dict[str, dict[str, Any]]) -> None:
    """As its processor does it, which needs torchvision: there a float image is resized by torch, antialiased."""
    import torch

    ours = make_preprocessor(tiny("dinov3_vit"), "dinov3_vit", preprocessors["dinov3_vit"])
    mean, std = (torch.tensor(preprocessors["dinov3_vit"][key])[:, None, None] for key in ("image_mean", "image_std"))
    for image in [*IMAGES, photograph(7, 20, 300), photograph(8, 33, 33)]:
        scaled = torch.from_numpy(image.transpose(2, 0, 1).copy()).float()[None] / 255
        resized = torch.nn.functional.interpolate(scaled, (32, 32), mode="bilinear", antialias=True)
        given = ours(image)["pixel_values"]
        assert np.abs(given - ((resized[0] - mean) / std).numpy()).max() < 1e-5


def test_dinov3_images_are_prepared_as_transformers_prepares_them(
    tiny: Tiny, preprocessors: dict[str, dict[str, Any]]
) -> None:
    pytest.importorskip("torchvision", reason="transformers' processor of DINOv3 needs torchvision")
    from transformers import DINOv3ViTImageProcessor

    config = {key: value for key, value in preprocessors["dinov3_vit"].items() if key != "image_processor_type"}
    ours = make_preprocessor(tiny("dinov3_vit"), "dinov3_vit", preprocessors["dinov3_vit"])
    for image in [*IMAGES, photograph(7, 20, 300), photograph(8, 33, 33)]:
        expected = DINOv3ViTImageProcessor(**config)([image], return_tensors="pt")["pixel_values"].numpy()
        assert np.abs(ours.collate([ours(image)])["pixel_values"] - expected).max() < 1e-5


def test_owl_images_are_padded_to_a_square_and_resized_much_as_transformers_does(
    tiny: Tiny, preprocessors: dict[str, dict[str, Any]]
) -> None:
    import transformers

    theirs = getattr(transformers, "Owlv2ImageProcessorPil", None)
    if theirs is None:
        pytest.skip("this transformers has no Owlv2ImageProcessorPil")
    config = {key: value for key, value in preprocessors["owlv2"].items() if key != "image_processor_type"}
    expected = theirs(**config)([IMAGES[0]], return_tensors="np")["pixel_values"]
    ours = make_preprocessor(tiny("owlv2"), "owlv2", preprocessors["owlv2"])
    given = ours.collate([ours(IMAGES[0])])["pixel_values"]
    # scipy's Gaussian and Pillow's filter differ at edges: here between the image and its padding.
    assert np.abs(given - expected).mean() < 0.05
    assert given.shape == expected.shape == (1, 3, 64, 64)


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2", "dinov2", "dinov3_vit"])
def test_features_of_images_are_the_model_s_own(tiny: Tiny, kind: str) -> None:
    import torch
    from transformers import AutoModel

    model = FeatureModel(VisionOptions(tiny(kind), batch=2))
    given = model.embed_images(IMAGES)
    network = AutoModel.from_pretrained(tiny(kind)).eval()
    batch = model.preprocessor.collate([model.preprocessor(image) for image in IMAGES])
    tensors = {key: torch.from_numpy(value) for key, value in batch.items()}
    with torch.inference_mode():
        out = network.get_image_features(**tensors) if hasattr(network, "get_image_features") else network(**tensors)
    expected = (out if isinstance(out, torch.Tensor) else out.pooler_output).numpy()
    assert given.dtype == np.float32 and given.shape == (3, 16)
    assert np.abs(given - expected).max() < 1e-5
    assert np.abs(given[0] - given[1]).max() > 1e-3


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_features_of_texts(tiny: Tiny, kind: str) -> None:
    model = FeatureModel(VisionOptions(tiny(kind)))
    alone = model.embed_texts(["a cat"])
    several = model.embed_texts(["a photo of a red cup", "a cat", "a dog"])
    assert several.shape == (3, 16)
    assert np.abs(several[1] - alone[0]).max() < 1e-5  # padding changes nothing
    assert np.abs(several[1] - several[2]).max() > 1e-3


def test_siglip2_reads_lower_case_in_64_places_and_pools_the_last(tmp_path: Path) -> None:
    """Against `get_text_features` on tokens written out by hand, as SigLIP 2 was trained: padded, nothing masked."""
    import torch
    from transformers import Siglip2Config, Siglip2Model, Siglip2Tokenizer

    letters = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "\u2581", *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    # As the published folders say it; the class alone would pad at the left.
    Siglip2Tokenizer(vocabulary, [], padding_side="right").save_pretrained(tmp_path)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": len(letters), "max_position_embeddings": 64, "projection_size": 16}
    config = Siglip2Config(text_config=text, vision_config={**sizes, "num_patches": 16, "patch_size": 8})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Siglip2Model(config).eval()
        for parameter in network.parameters():
            parameter.data.normal_(0, 0.2)
    network.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "Siglip2ImageProcessor", "patch_size": 8, "max_num_patches": 16})
    )
    texts = ["a CAT", "A photo of a dog", "x" * 100]
    given = FeatureModel(VisionOptions(tmp_path)).embed_texts(texts)
    ids = [[vocabulary[letter] for letter in text.lower().replace(" ", "\u2581")][:64] for text in texts]
    padded = torch.tensor([row + [0] * (64 - len(row)) for row in ids])
    with torch.inference_mode():
        out = network.get_text_features(input_ids=padded)
        states = network.text_model(input_ids=padded).last_hidden_state
        pooled = network.text_model.head(states[:, -1])
    expected = (out if isinstance(out, torch.Tensor) else out.pooler_output).numpy()
    assert np.abs(pooled.numpy() - expected).max() < 1e-6
    assert np.abs(given - expected).max() < 1e-5
    assert np.abs(given[0] - given[1]).max() > 1e-3


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_features_of_texts_are_the_model_s_own(tiny: Tiny, kind: str) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    network = AutoModel.from_pretrained(tiny(kind)).eval()
    texts = ["a photo of a red cup", "a cat"]
    padding = "max_length" if kind == "siglip" else True
    tokens = AutoTokenizer.from_pretrained(tiny(kind))(texts, padding=padding, max_length=16, return_tensors="pt")
    kept = ("input_ids",) if kind == "siglip" else ("input_ids", "attention_mask")
    with torch.inference_mode():
        out = network.get_text_features(**{key: tokens[key] for key in kept})
    expected = (out if isinstance(out, torch.Tensor) else out.pooler_output).numpy()
    assert np.abs(FeatureModel(VisionOptions(tiny(kind))).embed_texts(texts) - expected).max() < 1e-5


@pytest.mark.parametrize("dtype", [Dtype.FLOAT16, Dtype.BFLOAT16])
def test_half_precision_is_close(tiny: Tiny, dtype: Dtype) -> None:
    exact = FeatureModel(VisionOptions(tiny("clip"))).embed_images(IMAGES)
    half = FeatureModel(VisionOptions(tiny("clip"), dtype=dtype)).embed_images(IMAGES)
    assert half.dtype == np.float32
    cosine = (exact * half).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(half, axis=1)
    assert cosine.min() > 0.98
    assert np.abs(exact - half).max() > 0


@pytest.mark.parametrize("kind", ["owlv2", "grounding-dino"])
def test_detectors_give_boxes_of_named_classes(tiny: Tiny, kind: str) -> None:
    detector = Detector(VisionOptions(tiny(kind)))
    found = detector.detect(IMAGES[0], ["cat", "street_sign", "dog"], threshold=0.0)
    assert len(found.boxes) == len(found.scores) == len(found.labels) > 0
    height, width = IMAGES[0].shape[:2]
    assert (found.boxes >= 0).all() and (found.boxes <= (width, height, width, height)).all()
    assert (np.diff(found.scores) <= 0).all() and set(found.labels.tolist()) <= {0, 1, 2}
    for label in set(found.labels.tolist()):
        overlaps = box_iou(found.boxes[found.labels == label], found.boxes[found.labels == label])
        assert (overlaps - np.eye(len(overlaps))).max() <= 0.5
    sure = detector.detect(IMAGES[0], ["cat", "street_sign", "dog"], threshold=float(found.scores[0]))
    assert 1 <= len(sure.boxes) < len(found.boxes) + (len(found.boxes) == 1)
    assert len(detector.detect(IMAGES[0], [], threshold=0.0).boxes) == 0


def test_owlv2_gives_transformers_own_boxes(tiny: Tiny) -> None:
    import torch
    from transformers import AutoTokenizer, Owlv2ForObjectDetection

    detector = Detector(VisionOptions(tiny("owlv2")))
    found = detector.detect(IMAGES[0], ["cat", "dog"], threshold=0.0)
    network = Owlv2ForObjectDetection.from_pretrained(tiny("owlv2")).eval()
    tokens = AutoTokenizer.from_pretrained(tiny("owlv2"))(
        ["a photo of a cat", "a photo of a dog"], padding="max_length", max_length=16, return_tensors="pt"
    )
    pixels = torch.from_numpy(detector.preprocessor(IMAGES[0])["pixel_values"][None])
    with torch.inference_mode():
        out = network(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pixels)
    best = out.logits[0].sigmoid().max(dim=-1).values.numpy()
    side = max(IMAGES[0].shape[:2])
    centre, size = out.pred_boxes[0, :, :2].numpy() * side, out.pred_boxes[0, :, 2:].numpy() * side
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    height, width = IMAGES[0].shape[:2]
    corners = np.clip(corners, 0, (width, height, width, height))
    assert abs(found.scores[0] - best[((corners[:, 2:] - corners[:, :2]) > 0).all(axis=1)].max()) < 1e-5
    for box, score in zip(found.boxes, found.scores, strict=True):
        row = int(np.abs(best - score).argmin())
        assert np.abs(corners[row] - box).max() < 1e-3


class TestFoldersThatCannotBeUsed:
    def test_none(self, tmp_path: Path) -> None:
        with pytest.raises(MissingInputError, match="model folder not found"):
            check_vision_folder(tmp_path / "nothing", IMAGE)

    def test_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"has no config\.json"):
            check_vision_folder(tmp_path, IMAGE)

    def test_another_model(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"model_type": "bert"}')
        with pytest.raises(InputError, match="'bert'; CLIP, SigLIP"):
            check_vision_folder(tmp_path, IMAGE)

    def test_a_folder_of_diffusers(self, tmp_path: Path) -> None:
        (tmp_path / "model_index.json").write_text("{}")
        assert "diffusers" in inspect_vision_folder(tmp_path).problems[0]

    def test_the_folder_above(self, tmp_path: Path) -> None:
        (tmp_path / "clip").mkdir()
        (tmp_path / "clip" / "config.json").write_text("{}")
        assert f"did you mean {tmp_path / 'clip'}?" in inspect_vision_folder(tmp_path).problems[0]

    def test_another_use(self, tiny: Tiny) -> None:
        with pytest.raises(InputError, match="DINOv2 is good for image, not for text"):
            check_vision_folder(tiny("dinov2"), TEXT)

    @pytest.mark.parametrize(
        ("damage", "problem"),
        [
            (lambda f: (f / "model.safetensors").unlink(), "missing model.safetensors"),
            (lambda f: (f / "model.safetensors").write_bytes(b"version https://git-lfs"), "Git LFS pointer"),
            (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]), "cut short"),
            (lambda f: (f / "preprocessor_config.json").unlink(), r"missing preprocessor_config\.json"),
            (lambda f: (f / "config.json").write_text("{"), "cannot be read as JSON"),
        ],
    )
    def test_damaged(self, tiny: Tiny, tmp_path: Path, damage: Callable[[Path], Any], problem: str) -> None:
        folder = shutil.copytree(tiny("clip"), tmp_path / "clip")
        damage(folder)
        with pytest.raises(InputError, match=problem) as caught:
            FeatureModel(VisionOptions(folder))
        assert str(folder) in caught.value.message

    def test_pickled_weights_are_named_and_not_loaded(self, tiny: Tiny, tmp_path: Path) -> None:
        folder = shutil.copytree(tiny("clip"), tmp_path / "clip")
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(InputError, match=r"pytorch_model\.bin is another format, which is not loaded"):
            FeatureModel(VisionOptions(folder))

    def test_weights_of_another_model(self, tiny: Tiny, tmp_path: Path) -> None:
        folder = shutil.copytree(tiny("clip"), tmp_path / "clip")
        shutil.copy(tiny("dinov2") / "model.safetensors", folder / "model.safetensors")
        with pytest.raises(InputError, match="missing in the weights"):
            FeatureModel(VisionOptions(folder))

    def test_without_tokenizer_it_still_looks_at_images(self, tiny: Tiny, tmp_path: Path) -> None:
        folder = shutil.copytree(tiny("clip"), tmp_path / "clip")
        for path in folder.glob("tokenizer*"):
            path.unlink()
        assert inspect_vision_folder(folder).uses == ("image",)
        model = FeatureModel(VisionOptions(folder))
        expected = FeatureModel(VisionOptions(tiny("clip"))).embed_images(IMAGES)
        assert np.array_equal(model.embed_images(IMAGES), expected)
        with pytest.raises(InputError, match="not for text"):
            model.embed_texts(["a cat"])

    def test_a_size_that_is_none(self, tiny: Tiny, tmp_path: Path) -> None:
        folder = shutil.copytree(tiny("clip"), tmp_path / "clip")
        config = json.loads((folder / "preprocessor_config.json").read_text())
        (folder / "preprocessor_config.json").write_text(json.dumps({**config, "size": {"longest_edge": 3}}))
        with pytest.raises(InputError, match="preprocessor_config"):
            FeatureModel(VisionOptions(folder))

    def test_a_device_that_is_not_there(self, tiny: Tiny) -> None:
        with pytest.raises(InputError, match="device='cuda:99'"):
            FeatureModel(VisionOptions(tiny("clip"), device="cuda:99"))
