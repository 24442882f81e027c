"""Takes the screenshots of docs/viewing.md: real runs of the sample data, the real server, a headless Chromium.

    python tools/build_screenshots.py [--only clip] [--keep FOLDER]

Needs playwright and a Chromium. The images are reduced to 128 colours, so that they stay small.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

IMAGES = Path(__file__).resolve().parents[1] / "docs/images"


class Shot(NamedTuple):
    """One screenshot: of which run, at which place, how large, and what is clicked before."""

    run: str
    place: str
    width: int
    height: int
    click: str = ""


SHOTS = {
    "grid": Shot("my_pairs", "", 1200, 760),
    "pair": Shot("my_pairs", "#pair=000000900004_v0.jpg", 1200, 640),
    "slider": Shot("my_pairs", "#pair=000000900002_v0.jpg&mode=slider&divide=45", 1200, 720),
    "clip": Shot("my_clips", "#pair=000000900004_v0_f001.jpg&frame=3&outlines=1", 1200, 760),
    "statistics": Shot("my_pairs", "statistics", 1000, 900),
}


def make_runs(folder: Path) -> Path:
    """The sample data with a scored run of pairs and a run of clips; the folder of the runs."""
    from ovforge.options.judge import ScoreOptions
    from ovforge.options.pairs import ClipMotion, GenerateOptions
    from ovforge.options.sample_data import SampleDataOptions
    from ovforge.options.tracks import AnnotateOptions, MergeOptions
    from ovforge.runs.executors.in_process import InProcessExecutor
    from ovforge.sample_data import sample_data
    from ovforge.synthesis.generate import generate_pairs
    from ovforge.synthesis.judge import score_pairs
    from ovforge.synthesis.merge import merge_pairs
    from ovforge.synthesis.tracks import annotate_pairs
    from ovforge.synthesis.warp import FillEngine

    runs = folder / "data/tao/ovtrack"
    if runs.exists():
        return runs
    sample_data(SampleDataOptions(folder))
    more: dict[str, dict[str, Any]] = {
        "my_pairs": {"variants": 2, "masks": True},
        "my_clips": {"frames": 8, "motion": ClipMotion.VIDEO, "masks": True},
    }
    for name, options in more.items():
        generate_pairs(
            GenerateOptions(
                name,
                out=runs,
                images=folder / "data/lvis/train2017",
                annotations=folder / "data/lvis/annotations/lvis_v1_train.json",
                captions=folder / "data/lvis/annotations/captions_train2017.json",
                seed=1,
                **options,
            ),
            FillEngine(),
            InProcessExecutor(),
        )
        merge_pairs(MergeOptions(name, runs))
        if name == "my_pairs":
            score_pairs(ScoreOptions(name, folder=runs), InProcessExecutor())
        annotate_pairs(AnnotateOptions(name, runs))
    return runs


def take(runs: Path, wanted: dict[str, Shot], images: Path) -> None:
    """Open the pages and write the images."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    servers: dict[str, tuple[subprocess.Popen[str], str]] = {}
    try:
        for name in {shot.run for shot in wanted.values()}:
            command = [sys.executable, "-c", "from ovforge.cli.main import main; main()"]
            command += ["pairs", "view", name, "--folder", str(runs), "--port", "0"]
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            servers[name] = server, next(iter(server.stdout or ())).split()[1]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for name, shot in wanted.items():
                context = browser.new_context(
                    viewport={"width": shot.width, "height": shot.height}, color_scheme="light"
                )
                page = context.new_page()
                page.goto(servers[shot.run][1] + shot.place)
                page.wait_for_load_state("networkidle")
                path = images / f"viewing_{name}.png"
                page.screenshot(path=str(path))
                Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
                print(f"{path}: {path.stat().st_size:,} bytes")
    finally:
        for server, _ in servers.values():
            server.terminate()
            server.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SHOTS, help="take this one only")
    parser.add_argument("--keep", type=Path, help="keep the data and the runs in this folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        chosen = {name: shot for name, shot in SHOTS.items() if given.only in (None, name)}
        take(make_runs(given.keep or Path(scratch) / "sample"), chosen, IMAGES)
