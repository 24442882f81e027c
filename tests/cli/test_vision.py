"""The commands that look at images with a model."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ovforge.cli.common import run_app
from ovforge.cli.main import app


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: one image with two exemplars, a CLIP, and a model that is none of ours."""
    pytest.importorskip("transformers", reason="needs the extra 'vision'")
    path = Path(__file__).resolve().parents[1] / "tiny_vision_models.py"
    spec = importlib.util.spec_from_file_location("tiny_vision_models", path)
    assert spec is not None and spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    root = tmp_path_factory.mktemp("root")
    models.build_tiny_vision_model(root / "saved_models" / "tiny-clip", "clip")
    (root / "saved_models" / "bert").mkdir()
    (root / "saved_models" / "bert" / "config.json").write_text('{"model_type": "bert"}')
    images = root / "datasets" / "coco" / "train2017"
    images.mkdir(parents=True)
    cv2.imwrite(str(images / "1.jpg"), np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8))
    common = {"dataset": "lvis", "file_name": "train2017/1.jpg", "image_id": 1}
    records = [
        [{**common, "category_id": 1, "synset": "cat.n.01", "id": 1, "bbox": [1, 2, 20, 20]}],
        [{**common, "category_id": 2, "synset": "dog.n.01", "id": 2, "bbox": [15, 10, 20, 20]}],
    ]
    (root / "drawn.json").write_text(json.dumps(records))
    categories = [{"id": 1, "name": "cat", "synset": "cat.n.01"}, {"id": 2, "name": "dog", "synset": "dog.n.01"}]
    lvis = root / "datasets" / "lvis"
    lvis.mkdir()
    (lvis / "lvis_v1_val.json").write_text(json.dumps({"images": [], "annotations": [], "categories": categories}))
    return root


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_app(app, list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def test_from_exemplars_to_a_classifier(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    model = "saved_models/tiny-clip"
    code, out, err = call(capsys, "exemplars", "embed", "drawn.json", "--vision", model, "--json", "--device", "cpu")
    assert code == 0, err
    summary: dict[str, Any] = json.loads(out)
    assert summary["counts"]["embedded"] == 2
    assert (root / "datasets/metadata/exemplar_features/tiny-clip/features.json").exists()
    code, out, err = call(capsys, "exemplars", "classifier", "drawn.json", "--vision", model, "--out", "x.npy")
    assert code == 0, err
    assert np.load(root / "x.npy").shape == (2, 16)
    code, _, err = call(capsys, "exemplars", "classifier", "drawn.json", "--vision", model, "--out", "x.npy")
    assert code == 2 and "x.npy: already exists" in err
    code, _, err = call(
        capsys, "exemplars", "classifier", "--kind", "text", "--vision", model, "--out", "y.npy", "--add", "zebra"
    )
    assert code == 2 and "not of the form NAME=FOLDER" in err
    code, _, err = call(
        capsys, "exemplars", "classifier", "--kind", "text", "--vision", model, "--out", "y.npy", "--add", "zebra="
    )
    assert code == 0, err
    assert np.load(root / "y.npy").shape == (3, 16)


def test_a_folder_that_is_no_model(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    code, _, err = call(capsys, "exemplars", "embed", "drawn.json", "--vision", "datasets")
    assert code == 2
    assert err.startswith("error: datasets: has no config.json\n")
    assert "nothing" not in err and "none is downloaded" in err


def test_doctor_says_what_models_are_good_for(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "doctor", "--root", str(root))
    assert code == 0
    assert "[x] CLIP, good for image, text: saved_models/tiny-clip" in out
    assert "[!] model of the type 'bert', cannot be used" in out
