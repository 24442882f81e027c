"""The scripts of benchmarks/ and tools/ start: what nobody runs every day breaks unnoticed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path for folder in ("benchmarks", "tools") for path in (ROOT / folder).rglob("*.py"))

# All in one process: most of the time would be spent on importing the same libraries.
_START_ALL = """
import contextlib, io, json, runpy, sys, traceback
problems = {}
for script in sys.argv[1:]:
    sys.argv[:] = [script, "--help"]
    sys.path.insert(0, script.rpartition("/")[0])
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told):
            runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code or not told.getvalue():
            problems[script] = f"exit code {end.code}, {told.getvalue()!r}"
    except BaseException:
        problems[script] = traceback.format_exc()
    else:
        if "__main__" in open(script).read():
            problems[script] = "took --help for nothing"
    del sys.path[0]
print(json.dumps(problems))
"""


def test_every_script_starts() -> None:
    pytest.importorskip("torch", reason="some benchmarks need the extra 'diffusion'")
    assert len(SCRIPTS) > 20
    done = subprocess.run(
        [sys.executable, "-c", _START_ALL, *map(str, SCRIPTS)], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}
