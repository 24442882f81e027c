#!/usr/bin/env python3
"""The original's command line for cutting exemplars out, one list: `ovforge exemplars crop --form split`."""

import sys

import _checkout  # noqa: F401
from _dead_options import without_dead_options

from ovforge.cli.common import run_app
from ovforge.cli.exemplars import app

if __name__ == "__main__":
    sys.exit(run_app(app, ["crop", "--form", "split", *without_dead_options(sys.argv[1:])]))
