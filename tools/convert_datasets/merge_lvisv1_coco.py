#!/usr/bin/env python3
"""Add COCO's annotations to LVIS's (OVTrack): see `ovforge lvis merge-coco --help`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _checkout  # noqa: F401

from ovforge.cli.common import run_app
from ovforge.cli.lvis import app

if __name__ == "__main__":
    sys.exit(run_app(app, ["merge-coco", *sys.argv[1:]]))
