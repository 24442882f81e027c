#!/usr/bin/env python3
"""OVMR's command line for listing cut-out exemplars: `ovforge exemplars index`."""

import sys

import _checkout  # noqa: F401

from ovforge.cli.common import run_app
from ovforge.cli.exemplars import app

if __name__ == "__main__":
    defaults = ["index", "--lvis-exemplar-path", "datasets/lvis_exemplars_mmovod"]
    sys.exit(run_app(app, [*defaults, *sys.argv[1:]]))
