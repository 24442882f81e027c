#!/usr/bin/env python3
"""Index the ImageNet images of the LVIS classes (MM-OVOD, OVMR): see `ovforge imagenet index --help`."""

import sys

import _checkout  # noqa: F401

from ovforge.cli.common import run_app
from ovforge.cli.imagenet import app

if __name__ == "__main__":
    sys.exit(run_app(app, ["index", *sys.argv[1:]]))
