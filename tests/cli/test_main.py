"""The command line as a whole: help, exit codes, what it imports."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.main import get_command

from ovforge.cli.common import run_app
from ovforge.cli.main import app

HEAVY = {"numpy", "cv2", "h5py", "torch", "diffusers", "transformers", "ray", "pycocotools", "skimage", "starlette"}


def _commands(command: object, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    children = getattr(command, "commands", None)
    if children is None:
        return [(path, command)]
    return [found for name, child in sorted(children.items()) for found in _commands(child, (*path, name))]


COMMANDS = _commands(get_command(app))


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from ovforge.cli.common import run_app; from ovforge.cli.main import app; run_app(app, ['--help'])"
    )
    code += f"; print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "[]"
    assert "Usage" in result.stdout


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS], ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, [*path, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"ovforge {' '.join(path)}" in " ".join(shown.split()), "the help names no example of the command itself"


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS], ids=" ".join)
def test_bad_usage_is_one_line_and_exit_code_2(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, [*path, "--no-such-option"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.strip().splitlines()) == 1
    assert "--no-such-option" in shown.err


def test_an_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, ["lvsi"]) == 2
    assert "lvsi" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, ["--version"]) == 0
    assert capsys.readouterr().out.startswith("ovforge ")
