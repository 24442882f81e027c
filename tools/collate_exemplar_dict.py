#!/usr/bin/env python3
"""The original's command line for the exemplar dictionary: `ovforge exemplars collate`."""

import sys

import _checkout  # noqa: F401

from ovforge.cli.common import run_app
from ovforge.cli.exemplars import app

if __name__ == "__main__":
    sys.exit(run_app(app, ["collate", *sys.argv[1:]]))
