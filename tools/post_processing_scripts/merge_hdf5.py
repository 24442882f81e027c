"""OVTrack's command line for merging partitions: calls `ovforge pairs merge`."""

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
    parser.add_argument("--total_p", help="how many partitions there are; default: as their names say")
    parser.add_argument("--repeat_num", help="second views per image; default: all that are there")
    parser.add_argument("--default_save_dir", default="data/tao/ovtrack", help="where runs are and merged files go")
    parser.add_argument("--coco_lvis_path", help="the annotation file that the pairs were made from")
    parser.add_argument("--h5_img", "--img_dir", dest="images", help="the originals, where the partitions lack them")
    parser.add_argument("--overwrite", action="store_true", help="replace merged files that are already there")
    given = parser.parse_args()
    arguments = ["merge", given.h5_folder_name, "--folder", given.default_save_dir]
    for option, value in (
        ("--partitions", given.total_p),
        ("--variants", given.repeat_num),
        ("--annotations", given.coco_lvis_path),
        ("--images", given.images),
    ):
        arguments += [option, value] if value is not None else []
    return run_app(make_app(), arguments + ["--overwrite"] * given.overwrite)


if __name__ == "__main__":
    sys.exit(main())
