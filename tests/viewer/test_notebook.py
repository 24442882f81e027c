"""The notebook that the original document names runs on a run of ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pytest

import ovforge

NOTEBOOK = Path(__file__).parents[2] / "tools/notebook_scripts/visualize_generated_fake_images.ipynb"


def test_notebook_runs_and_shows_pairs(sample_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    source = str(Path(ovforge.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OVFORGE_NOTEBOOK_ROOT", str(sample_root))
    monkeypatch.setenv("OVFORGE_NOTEBOOK_RUN", "demo")
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
    assert sum("image/jpeg" in output.get("data", {}) for output in outputs) == 4
    text = "".join(output.get("text", "") for output in outputs)
    assert "32 pairs" in text
    assert "fidelity 1.000" in text
