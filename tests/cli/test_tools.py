"""`ovforge tools`, and the command line as a whole: platforms, bare names, mistyped words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ovforge.cli import main
from ovforge.cli.common import run_app


def test_the_scripts_work_from_the_root_of_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(main.app, ["tools", str(tmp_path)]) == 0
    for name in ("remove_lvis_rare.py", "convert_datasets/create_base_lvis.py"):
        line = [sys.executable, f"tools/{name}", "--help"]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "--ann" in done.stdout or "--lvis" in done.stdout
    assert (tmp_path / "tools" / "run_ovtrack_generation.sh").stat().st_mode & 0o111
    assert not (tmp_path / "tools" / "demo.py").exists()
    assert run_app(main.app, ["tools", str(tmp_path)]) == 0  # the same again is no conflict
    script = tmp_path / "tools" / "remove_lvis_rare.py"
    script.write_text("my own")
    capsys.readouterr()
    assert run_app(main.app, ["tools", str(tmp_path)]) == 2
    assert "--overwrite replaces it, or name another folder" in capsys.readouterr().err
    assert script.read_text() == "my own"
    assert run_app(main.app, ["tools", str(tmp_path), "--overwrite"]) == 0
    assert script.read_text() != "my own"


def test_windows_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit, match="Linux and macOS") as caught:
        main.main()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [[], ["pairs"], ["lvis"]])
def test_a_bare_name_shows_the_help_and_no_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(main.app, arguments) == 2
    shown = capsys.readouterr()
    assert "Usage: " in shown.out + shown.err
    assert "error" not in shown.out + shown.err
