"""The notebook that the original document names runs on a run of ours."""

from __future__ import annotations

import base64
import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path

import msgspec
import pytest

import ovforge
from ovforge.image_io.codec import decode_rgb

NOTEBOOK = Path(__file__).parents[2] / "tools/notebook_scripts/visualize_generated_fake_images.ipynb"


def test_notebook_makes_pairs_and_shows_them(
    sample_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    root = Path(shutil.copytree(sample_folder, tmp_path / "root", symlinks=True))
    source = str(Path(ovforge.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OVFORGE_NOTEBOOK_ROOT", str(root))
    monkeypatch.setenv("OVFORGE_NOTEBOOK_RUN", "fresh")
    # A kernel of this very interpreter, whatever is registered on the machine.
    kernels = tmp_path / "kernels/python3"
    kernels.mkdir(parents=True)
    kernel = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
    }
    (kernels / "kernel.json").write_bytes(msgspec.json.encode(kernel))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    assert f"next: ovforge.pairs.merge('fresh', folder='{root}/data/tao/ovtrack')" in text
    assert "fresh: 16 images by fill: merged and annotated" in text
    assert re.search(r"^track +\d+  \w+ +area x\d\.\d\d  visible \d+%$", text, re.M)
    (sheet,) = (base64.b64decode(o["data"]["image/png"]) for o in outputs if "image/png" in o.get("data", {}))
    height, width = decode_rgb(sheet, "sheet").shape[:2]
    assert width < 1000  # so that a notebook shows it in full size, and its letters are legible
    assert height > width
    if importlib.util.find_spec("pandas"):
        assert any("text/html" in output.get("data", {}) for output in outputs)
