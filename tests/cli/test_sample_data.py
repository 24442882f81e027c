"""`ovforge sample-data`: exit codes, output, and what its help loads."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ovforge.cli.common import run_app
from ovforge.cli.sample_data import register

needs_photographs = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None, reason="the photographs come with scikit-image (extra 'sample')"
)


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer(rich_markup_mode="rich", add_completion=False)
    app.callback()(lambda: None)  # keeps the command a subcommand, as in ovforge
    register(app)
    return app


@needs_photographs
def test_writes_the_set_and_prints_licences(
    app: typer.Typer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_app(app, ["sample-data", str(tmp_path / "set")]) == 0
    out, err = capfd.readouterr()
    assert "CC0" in out
    assert "next: cd" in out
    assert err == ""  # not even libpng's warning about a colour profile


@needs_photographs
def test_json_summary(app: typer.Typer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, ["sample-data", str(tmp_path / "set"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["counts"]["photographs"] == 6


@needs_photographs
def test_a_second_run_is_refused_with_a_way_out(
    app: typer.Typer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_app(app, ["sample-data", str(tmp_path / "set")])
    assert run_app(app, ["sample-data", str(tmp_path / "set")]) == 2
    err = capfd.readouterr().err
    assert f"error: {tmp_path / 'set'}: already exists" in err
    assert "  --overwrite replaces it, or name another folder\n" in err
    assert run_app(app, ["sample-data", str(tmp_path / "set"), "--overwrite"]) == 0


def test_bad_usage(app: typer.Typer, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, ["sample-data"]) == 2
    assert "DIR" in capfd.readouterr().err


def test_help_has_an_example(app: typer.Typer, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, ["sample-data", "--help"]) == 0
    out = capfd.readouterr().out
    assert "Example:" in out
    assert "the extra `sample` installs" in " ".join(out.split())


def test_registering_loads_no_heavy_library() -> None:
    code = (
        "import sys, typer; from ovforge.cli.sample_data import register; register(typer.Typer());"
        "print([m for m in ('numpy', 'cv2', 'h5py', 'torch', 'skimage') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
