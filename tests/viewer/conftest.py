"""A small run made for the tests, the real server over it, and a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ovforge
from ovforge.options.pairs import GenerateOptions
from ovforge.options.sample_data import SampleDataOptions
from ovforge.options.tracks import AnnotateOptions, MergeOptions
from ovforge.runs.executors.local import LocalExecutor
from ovforge.synthesis.generate import generate_pairs
from ovforge.synthesis.merge import merge_pairs
from ovforge.synthesis.tracks import annotate_pairs
from ovforge.synthesis.warp import WarpEngine

SERVE = """
import sys
from ovforge.cli import exemplars_view, pairs_view
from ovforge.cli.common import run_app
import typer
app, groups = typer.Typer(), {"pairs": typer.Typer(), "exemplars": typer.Typer()}
for name, module in (("pairs", pairs_view), ("exemplars", exemplars_view)):
    groups[name].callback()(lambda: None)
    module.register(groups[name])
    app.add_typer(groups[name], name=name)
sys.exit(run_app(app))
"""
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
]


def command_line(*arguments: str) -> list[str]:
    """A process of the viewer's commands."""
    source = str(Path(ovforge.__file__).parents[1])  # also from other folders, in a plain checkout
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r})\n{SERVE}", *arguments]


@pytest.fixture(scope="session")
def viewer_command() -> Callable[..., list[str]]:
    """Makes the command line of a process of the viewer's commands."""
    return command_line


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample data with a run `demo`: 16 images, two second views each, with masks, merged and annotated."""
    pytest.importorskip("skimage", reason="the sample data's photographs come with scikit-image")
    from ovforge.sample_data import sample_data

    root = tmp_path_factory.mktemp("viewer") / "sample"
    sample_data(SampleDataOptions(root))
    pairs = root / "data/tao/ovtrack"
    annotations = root / "data/lvis/annotations/lvis_v1_train.json"
    generate_pairs(
        GenerateOptions(
            "demo",
            out=pairs,
            images=root / "data/lvis/train2017",
            annotations=annotations,
            captions=root / "data/lvis/annotations/captions_train2017.json",
            variants=2,
            partitions=2,
            masks=True,
            seed=1,
        ),
        WarpEngine(),
        LocalExecutor(1),
    )
    merge_pairs(MergeOptions("demo", pairs))
    annotate_pairs(AnnotateOptions("demo", pairs, min_area=0, original=True))  # with the pairs that have no objects
    return root


@pytest.fixture(scope="session")
def pairs_folder(sample_root: Path) -> Path:
    """The folder of the run `demo`; read only."""
    return sample_root / "data/tao/ovtrack"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts the real server on a free port and gives its address."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path) -> str:
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        process = subprocess.Popen(
            command_line(*map(str, arguments), "--port", "0"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line, process.communicate(timeout=30)[1]
        return line.split()[1]

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page of 1440 x 900 that fails the test if a script on it fails."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    yield opened
    context.close()
    assert not problems
