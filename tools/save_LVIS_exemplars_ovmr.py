#!/usr/bin/env python3
"""OVMR's command line for cutting exemplars out, two lists: `ovforge exemplars crop --form lists`."""

import sys

import _checkout  # noqa: F401
from _dead_options import without_dead_options

from ovforge.cli.common import run_app
from ovforge.cli.exemplars import app

if __name__ == "__main__":
    defaults = ["crop", "--form", "lists", "--save_dir", "datasets/lvis_exemplars_ovmr_K30"]
    sys.exit(run_app(app, [*defaults, *without_dead_options(sys.argv[1:])]))
