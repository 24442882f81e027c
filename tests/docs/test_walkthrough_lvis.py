"""`docs/walkthrough-lvis.md` is run, from its own text: every command, and it prints what the page shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from ovforge.cli.common import run_app
from ovforge.cli.main import app

PAGE = "walkthrough-lvis.md"
SERVING = re.compile(r"ovforge (pairs|exemplars) view (?!.*--export)")


def steps(blocks: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each command, and the lines that follow it on the page."""
    for block in blocks:
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, *shown = part.replace("\\\n", " ").splitlines()
            yield command, shown


def pattern(shown: list[str]) -> str:
    """What is printed has to match this: `...` stands for anything, alone on a line for any number of lines."""
    any_lines, any_text = r"(?:.*\n)*?", ".*"
    return "".join(
        any_lines if line.strip() == "..." else re.escape(line).replace(r"\.\.\.", any_text) + "\n" for line in shown
    )


def test_page_from_beginning_to_end(
    blocks: Callable[[str, str], list[str]],
    serve_and_stop: Callable[[list[str]], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("skimage", reason="the sample data's photographs come with scikit-image (extra 'sample')")
    pytest.importorskip("starlette", reason="the extra `viewer` is not installed")
    monkeypatch.chdir(tmp_path)
    ran = []
    for command, shown in steps(blocks(PAGE, "console")):
        words = shlex.split(command)
        if words[0] == "cd":
            monkeypatch.chdir(words[1])
            continue
        assert words[0] == "ovforge", command
        if SERVING.match(command):
            printed = serve_and_stop(words[1:])
            assert "http://127.0.0.1:" in printed
        else:
            assert run_app(app, words[1:]) == 0, (command, capsys.readouterr().err)
            told = capsys.readouterr()
            printed = told.out
            assert re.fullmatch(pattern(shown), printed), f"$ {command}\n{printed}{told.err}"
        ran.append(" ".join(words[1:3]))
    assert {"lvis remove-rare", "imagenet index", "exemplars crop", "lvis base-classes", "pairs annotate"} <= set(ran)
    assert {"doctor", "prepare", "pairs view", "exemplars view", "pairs export"} <= {*ran, *(r.split()[0] for r in ran)}
    written = msgspec.json.decode(Path("data/tao/ovtrack/annotations/my_pairs.json").read_bytes())
    assert len({a["track_id"] for a in written["annotations"]}) < len(written["annotations"])
