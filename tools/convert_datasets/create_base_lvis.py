#!/usr/bin/env python3
"""Keep the base classes of an LVIS file (OVTrack): see `ovforge lvis base-classes --help`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _checkout  # noqa: F401

from ovforge.cli.common import run_app
from ovforge.cli.lvis import app

if __name__ == "__main__":
    sys.exit(run_app(app, ["base-classes", *sys.argv[1:]]))
