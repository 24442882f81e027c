#!/usr/bin/env python3
"""The original's command line for drawing exemplars: `ovforge exemplars sample`, short classes redrawn as OVMR does."""

import sys

import _checkout  # noqa: F401

from ovforge.cli.common import run_app
from ovforge.cli.exemplars import app

if __name__ == "__main__":
    # What comes later on the line counts, so the user's own --shortage does; a nested draw cannot be redrawn.
    shortage = "repeat" if "--nested" in sys.argv else "redraw"
    sys.exit(run_app(app, ["sample", "--shortage", shortage, *sys.argv[1:]]))
