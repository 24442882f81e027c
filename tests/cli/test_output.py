"""Printing never fails a command that has done its work, whatever stdout and stderr are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys
from pathlib import Path
from ovforge.cli.common import Console, run_app
from ovforge.records.reporting import StepSummary

def main(args=None, standalone_mode=False):
    Path(sys.argv[1]).write_text("done")
    summary = StepSummary("step", notes=("caf\\u00e9 \\u732b \\udce9",), outputs={"a": "b"})
    Console(json="--json" in sys.argv).show(summary)

sys.exit(run_app(main))
"""


def start(tmp_path: Path, redirect: str, *options: str, **environment: str) -> tuple[int, bytes, bytes]:
    """Run it in a shell with its streams redirected; the exit code, stdout and stderr."""
    marker = tmp_path / "marker"
    script = tmp_path / "script.py"
    script.write_text(CODE)
    command = f'"{sys.executable}" "{script}" "{marker}" {" ".join(options)} {redirect}'
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        capture_output=True,
        timeout=60,
    )
    assert marker.read_text() == "done"
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252", "utf-16"])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_any_encoding(tmp_path: Path, encoding: str, options: tuple[str, ...]):
    code, out, err = start(tmp_path, "", *options, PYTHONIOENCODING=encoding)
    assert (code, err) == (0, b"")
    text = out.decode(encoding)
    assert "step" in text
    if options:
        assert json.loads(text)["step"] == "step"


@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "| true"])
def test_streams_that_are_closed_or_full(tmp_path: Path, redirect: str):
    code, _, err = start(tmp_path, f"{redirect}; exit ${{PIPESTATUS[0]}}")
    assert code == 0
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err
    if redirect == ">/dev/full":
        assert b"could not be printed (No space left on device)" in err


@pytest.mark.parametrize("command", ["doctor", "doctor --json", "--help", "pairs list --folder .", "--version", "lvis"])
@pytest.mark.parametrize("stdout", ["closed", "full", "a pipe that nobody reads"])
def test_commands_that_only_print(tmp_path: Path, command: str, stdout: str):
    ovforge = f'"{sys.executable}" -m ovforge.cli.main'
    reader, writer = os.pipe()
    os.close(reader)
    redirect = {"closed": ">&-", "full": ">/dev/full"}.get(stdout, "")
    done = subprocess.run(
        ["bash", "-c", f"exec {ovforge} {command} {redirect}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    os.close(writer)
    assert done.returncode == (2 if command == "lvis" else 0)  # a group alone shows its help and is no success
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
