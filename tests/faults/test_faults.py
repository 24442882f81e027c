"""The short campaign of `make test`; the long one is `python -m tests.faults --kills 50` (docs/reliability.md)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.faults.harness import KINDS, Subject, kill_and_resume, unbroken
from tests.faults.synthetic import SyntheticSubject

SEEDS = (0, 1, 5)  # one of each kind


def check(subject: Subject, folder: Path, seeds: Sequence[int] = SEEDS) -> None:
    expected, seconds = unbroken(subject, folder / "unbroken")
    kills = [kill_and_resume(subject, folder / "broken", s, expected=expected, seconds=seconds) for s in seeds]
    assert [kill.equal for kill in kills] == [True] * len(seeds), kills
    if seeds == SEEDS:
        assert {kill.kind for kill in kills} == set(KINDS["local"])


def test_a_run_killed_and_resumed_gives_the_same_bytes(tmp_path: Path):
    check(SyntheticSubject(), tmp_path)


def test_pairs_of_real_photographs_killed_and_resumed_give_the_same_bytes(tmp_path: Path, mini: Path):
    from tests.faults.pairs import PairsSubject

    check(PairsSubject(), tmp_path)


def test_clips_killed_and_resumed_give_the_same_bytes(tmp_path: Path, mini: Path):
    from tests.faults.pairs import PairsSubject

    check(PairsSubject(engine="fill", variants=1, frames=4, limit=8), tmp_path, SEEDS[:1])
