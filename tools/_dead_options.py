"""Options of the originals' crop scripts that never did anything: accepted, and done nothing with."""

from __future__ import annotations

import argparse


def without_dead_options(arguments: list[str]) -> list[str]:
    """The command line without them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--num-augs", "--nw", "--output-path"):
        parser.add_argument(name)
    return parser.parse_known_args(arguments)[1]
