"""OVTrack's command line for writing the annotation file: calls `ovforge pairs annotate`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _checkout  # noqa: F401

from ovforge.cli.common import run_app
from ovforge.cli.pairs_tracks import make_app


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--h5_folder_name", required=True, help="the run's name")
    parser.add_argument("--repeat_num", help="second views per image; default: all that were merged")
    parser.add_argument("--default_save_dir", default="data/tao/ovtrack", help="where the merged files are")
    parser.add_argument("--coco_lvis_path", help="the annotation file that the pairs were made from")
    parser.add_argument("--out", help="the file to write; default: annotations/NAME.json in --default_save_dir")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is already there")
    given = parser.parse_args()
    arguments = ["annotate", given.h5_folder_name, "--original", "--folder", given.default_save_dir]
    for option, value in (
        ("--variants", given.repeat_num),
        ("--annotations", given.coco_lvis_path),
        ("--out", given.out),
    ):
        arguments += [option, value] if value is not None else []
    return run_app(make_app(), arguments + ["--overwrite"] * given.overwrite)


if __name__ == "__main__":
    sys.exit(main())
