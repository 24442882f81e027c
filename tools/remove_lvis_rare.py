#!/usr/bin/env python3
"""Take rare classes out of an LVIS file (MM-OVOD, OVMR): see `ovforge lvis remove-rare --help`."""

import sys

import _checkout  # noqa: F401

from ovforge.cli.common import run_app
from ovforge.cli.lvis import app

if __name__ == "__main__":
    sys.exit(run_app(app, ["remove-rare", *sys.argv[1:]]))
