#!/usr/bin/env python3
"""Count images and objects of each LVIS class (MM-OVOD, OVMR): see `ovforge lvis category-info --help`."""

import sys

import _checkout  # noqa: F401

from ovforge.cli.common import run_app
from ovforge.cli.lvis import app

if __name__ == "__main__":
    sys.exit(run_app(app, ["category-info", *sys.argv[1:]]))
