"""A small run made for the tests, the real server over it, and a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

import ovforge
from ovforge.options.pairs import ClipMotion, GenerateOptions
from ovforge.options.sample_data import SampleDataOptions
from ovforge.options.tracks import AnnotateOptions, MergeOptions
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.runs.executors.local import LocalExecutor
from ovforge.synthesis.generate import generate_pairs
from ovforge.synthesis.merge import merge_pairs
from ovforge.synthesis.tracks import annotate_pairs
from ovforge.synthesis.warp import FillEngine, WarpEngine

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
WIDTH, HEIGHT, SEED = 480, 360, 1
DISCS = ((120, 110, 60), (250, 190, 55), (370, 260, 60))
"""x, y, radius of the discs of `clips`."""
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
    annotations = annotations_of(root)
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


@pytest.fixture(scope="session")
def clips_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run `clips`, merged and annotated; read only.

    An own data set (no frequencies, no captions) of 3 images with 3 discs each; 5 frames, in which discs pass before
    one another and leave the image.
    """
    root = tmp_path_factory.mktemp("clips")
    images, annotations = [], []
    (root / "images").mkdir()
    for number in range(1, 4):
        name = f"{number:012}.jpg"
        cv2.imwrite(str(root / "images" / name), _scene(number), [cv2.IMWRITE_JPEG_QUALITY, 95])
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for place, (x, y, radius) in enumerate(DISCS):
            angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
            polygon = np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)]).round(1).ravel()
            annotations.append(
                {
                    "id": 10 * number + place, "image_id": number, "category_id": 1 + place % 2, "iscrowd": 0,
                    "bbox": [x - radius, y - radius, 2 * radius, 2 * radius], "area": 3.14 * radius**2,
                    "segmentation": [polygon.tolist()],
                }
            )  # fmt: skip
    path = root / "own.json"
    categories = [{"id": 1, "name": "red_disc"}, {"id": 2, "name": "blue disc"}]
    path.write_bytes(msgspec.json.encode({"images": images, "annotations": annotations, "categories": categories}))
    options = GenerateOptions(
        "clips", out=root, images=root / "images", annotations=path, no_captions=True, frames=5,
        motion=ClipMotion.HARD, gap=30, masks=True, seed=SEED,
    )  # fmt: skip
    generate_pairs(options, FillEngine(), InProcessExecutor())
    merge_pairs(MergeOptions("clips", root))
    annotate_pairs(AnnotateOptions("clips", root))
    return root


def _scene(number: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(number)
    image = cv2.resize(rng.integers(90, 170, (4, 6, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    for place, (x, y, radius) in enumerate(DISCS):
        cv2.circle(image, (x, y), radius, ((40, 50, 200), (190, 90, 30))[place % 2], -1, cv2.LINE_AA)
        cv2.circle(image, (x, y), radius // 2, (230, 230, 230), 5, cv2.LINE_AA)
    return np.asarray(image, np.uint8)


def annotations_of(sample_root: Path) -> Path:
    """The annotation file of the sample data."""
    return sample_root / "data/lvis/annotations/lvis_v1_train.json"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts the real server on a free port and gives its address."""
    with _servers(tmp_path / "cache") as start:
        yield start


@pytest.fixture(scope="session")
def serve_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """The same, for servers that many tests look at and none writes to."""
    with _servers(tmp_path_factory.mktemp("cache")) as start:
        yield start


@pytest.fixture(scope="session")
def demo(serve_all: Callable[..., str], pairs_folder: Path) -> str:
    """The address of the run `demo`; nobody writes to it."""
    return serve_all("pairs", "view", "demo", "--folder", pairs_folder)


@pytest.fixture(scope="session")
def clips(serve_all: Callable[..., str], clips_folder: Path) -> str:
    """The address of the run `clips`; nobody writes to it."""
    return serve_all("pairs", "view", "clips", "--folder", clips_folder)


@pytest.fixture(scope="session")
def _judged(
    serve_all: Callable[..., str], pairs_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("judged") / "pairs"
    shutil.copytree(pairs_folder, folder)
    return folder, serve_all("pairs", "view", "demo", "--folder", folder)


@pytest.fixture
def run_folder(_judged: tuple[Path, str]) -> Path:
    """A folder with the run `demo` that may be judged; nobody has yet."""
    (_judged[0] / "demo.review.json").unlink(missing_ok=True)
    return _judged[0]


@pytest.fixture
def to_judge(_judged: tuple[Path, str], run_folder: Path) -> str:
    """The address of the run in `run_folder`."""
    del run_folder
    return _judged[1]


@pytest.fixture(scope="session")
def many_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run `many`: 1,000 pairs with two objects each."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    from many_pairs import make_pairs

    folder = tmp_path_factory.mktemp("many")
    make_pairs(folder, 1000, objects=2)
    return folder


@contextmanager
def _servers(cache: Path) -> Iterator[Callable[..., str]]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path) -> str:
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
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
