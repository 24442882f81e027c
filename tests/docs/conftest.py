"""What the tests of pages share: running the commands that a page shows."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def blocks() -> Callable[[str, str], list[str]]:
    """`blocks(page, language)`: the code blocks of a page of docs/, in order."""

    def read(page: str, language: str) -> list[str]:
        found = re.findall(r"^```(\w*)\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.S | re.M)
        return [text for of, text in found if of == language]

    return read


@pytest.fixture
def serve_and_stop() -> Callable[[list[str]], str]:
    """Start a command that serves pages until somebody ends it; the line that it prints first, when it answers."""

    def serve(arguments: list[str]) -> str:
        process = subprocess.Popen(
            [sys.executable, "-m", "ovforge.cli.main", *arguments, "--port", "0", "--no-browser"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            return process.stdout.readline()
        finally:
            process.terminate()
            process.communicate(timeout=30)

    return serve
