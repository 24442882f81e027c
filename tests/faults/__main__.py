"""The long campaign: `python -m tests.faults --help`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TextIO

from tests.faults.harness import Subject, campaign, summary
from tests.faults.synthetic import SyntheticSubject


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--subject", choices=("pairs", "synthetic"), default="pairs")
    parser.add_argument("--executor", choices=("local", "ray"), default="local")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", choices=("warp", "diffusion"), default="warp", help="of the subject pairs")
    parser.add_argument("--variants", type=int, default=2, help="of the subject pairs: more make the runs longer")
    given = parser.parse_args()
    subject: Subject
    if given.subject == "synthetic":
        subject = SyntheticSubject(given.executor, given.workers)
    else:
        from tests.faults.pairs import PairsSubject

        subject = PairsSubject(given.executor, given.workers, given.engine, given.variants)
    seeds = range(given.first_seed, given.first_seed + given.kills)
    with tempfile.TemporaryDirectory(prefix="ovforge-faults-") as folder:
        kills, seconds = campaign(subject, Path(folder), seeds, tell=lambda text: _say(sys.stderr, text))
    _say(sys.stdout, json.dumps(summary(subject, kills, seconds), indent=2))
    return 0 if all(kill.equal for kill in kills) else 1


def _say(stream: TextIO, text: str) -> None:
    stream.write(f"{text}\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
