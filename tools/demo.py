"""`make demo`: the main job end to end on real photographs, through the commands that a user would type."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

OVFORGE = Path(sysconfig.get_path("scripts")) / "ovforge"

COMMANDS = (
    "lvis remove-rare --ann datasets/lvis/lvis_v1_train.json",
    "lvis category-info --ann datasets/lvis/lvis_v1_train.json",
    "lvis merge-coco",
    "lvis base-classes",
    "lvis pack-images",
    "pairs generate demo --workers 2 --partitions 2 --variants 2 --seed 1",
    "pairs merge demo",
    "pairs annotate demo",
    "pairs sheet demo --out contact_sheet.png",
    "prepare",
)
EXPORT = "pairs view demo --export pairs.html"


def run(command: str, root: Path) -> float:
    """Run one command as a user would, from the root of the data; stop the demo where it fails."""
    print(f"\n$ ovforge {command}", flush=True)
    started = time.monotonic()
    result = subprocess.run([OVFORGE, *shlex.split(command)], cwd=root, check=False)
    if result.returncode:
        sys.exit(result.returncode)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="folder for the data; made anew")
    root = parser.parse_args().root.resolve()
    if root.exists():
        if not (root / "SOURCES.md").exists():
            sys.exit(f"error: {root} exists and is no earlier demo; name another folder with OVFORGE_DEMO=...")
        shutil.rmtree(root)
    seconds = run(f"sample-data {shlex.quote(str(root))}", Path.cwd())
    for command in COMMANDS:
        seconds += run(command, root)
    if importlib.util.find_spec("jinja2"):
        seconds += run(EXPORT, root)
    else:
        print(f"\nwithout the extra 'viewer' no page of pairs is written: ovforge {EXPORT}")
    print(f"\nThe work took {seconds:.1f} s. Everything is in {root}:")
    for what, place in (
        ("contact sheet of pairs", "contact_sheet.png"),
        ("the pairs to click through", "pairs.html"),
        ("merged images", "data/tao/ovtrack/demo.h5"),
        ("video annotations", "data/tao/ovtrack/annotations/demo.json"),
        ("exemplars and their crops", "datasets/lvis_exemplars_final"),
        ("photographs and licences", "SOURCES.md"),
    ):
        if (root / place).exists():
            print(f"  {what:<28}{root / place}")


if __name__ == "__main__":
    main()
