"""What `exemplars check` found, with the places of the exemplars in the file that is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ovforge.errors import InputError, MissingInputError
from ovforge.records.exemplar_check import CheckedClass, ConfusedClass, ExemplarCheck, NearDuplicate, Outlier
from ovforge.records.json_errors import JSON_ERRORS

_HINT = "`ovforge exemplars check` writes it"


@dataclass(frozen=True)
class Place:
    """An exemplar of the file: its class's place and its own, both from 0."""

    position: int
    index: int


@dataclass(frozen=True)
class Side:
    """One of two that look alike."""

    identity: str
    synset: str
    place: Place | None
    """None: it is not in the file that is shown, but in the other list of train and val."""


@dataclass(frozen=True)
class Duplicate:
    """Two exemplars that look alike."""

    found: NearDuplicate
    first: Side
    second: Side


@dataclass(frozen=True)
class OddOne:
    """An exemplar that looks unlike its class."""

    found: Outlier
    side: Side


@dataclass(frozen=True)
class Findings:
    """The report, by exemplar and by class.

    Attributes:
        duplicates, outliers, confused, accuracies: the longest lists that a page shows, what is worst first.
        by_place: what was found of one exemplar.
        by_synset: what was found of one class.
        flagged: classes -> how many of their exemplars are near-duplicates or outliers.
    """

    report: ExemplarCheck
    duplicates: tuple[Duplicate, ...] = ()
    outliers: tuple[OddOne, ...] = ()
    confused: tuple[ConfusedClass, ...] = ()
    accuracies: tuple[CheckedClass, ...] = ()
    alike: Mapping[Place, list[tuple[Duplicate, Side]]] = field(default_factory=dict)
    odd: Mapping[Place, Outlier] = field(default_factory=dict)
    by_synset: Mapping[str, CheckedClass] = field(default_factory=dict)
    confused_by_synset: Mapping[str, ConfusedClass] = field(default_factory=dict)
    flagged: Mapping[int, int] = field(default_factory=dict)


def read_check(path: Path) -> ExemplarCheck:
    """The report of a file.

    Raises:
        MissingInputError, InputError: it is not there, or no such report.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=ExemplarCheck)
    except FileNotFoundError:
        raise MissingInputError(path, what="report on exemplars", hint=_HINT) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", hint=_HINT) from None
    except JSON_ERRORS as error:
        raise InputError(f"{path}: is no report on exemplars ({error})", hint=_HINT) from None


def identities(report: ExemplarCheck) -> frozenset[str]:
    """All exemplars that a report names."""
    alike = (identity for each in report.duplicates for identity in (each.first, each.second))
    return frozenset((*alike, *(each.exemplar for each in report.outliers)))


def locate(report: ExemplarCheck, places: Mapping[tuple[str, str], Place]) -> Findings:
    """A report with the places of its exemplars, by synset and identity."""

    def side(identity: str, synset: str) -> Side:
        return Side(identity, synset, places.get((synset, identity)))

    duplicates = sorted(
        (
            Duplicate(found, side(found.first, found.synsets[0]), side(found.second, found.synsets[1]))
            for found in report.duplicates
        ),
        key=lambda each: -each.found.similarity,
    )
    outliers = sorted(
        (OddOne(found, side(found.exemplar, found.synset)) for found in report.outliers),
        key=lambda each: each.found.similarity - each.found.usual,
    )
    alike: dict[Place, list[tuple[Duplicate, Side]]] = {}
    for each in duplicates:
        for one, other in ((each.first, each.second), (each.second, each.first)):
            if one.place is not None and (one.place != other.place or one is each.first):
                alike.setdefault(one.place, []).append((each, other))
    odd = {each.side.place: each.found for each in outliers if each.side.place is not None}
    accuracies = [each for each in report.classes if each.leave_one_out is not None]
    accuracies.sort(key=lambda each: each.leave_one_out or 0.0)
    return Findings(
        report,
        tuple(duplicates),
        tuple(outliers),
        tuple(sorted(report.confused, key=lambda each: each.own_similarity - each.similarity)),
        tuple(accuracies),
        alike,
        odd,
        {each.synset: each for each in report.classes if each.synset},
        {each.synset: each for each in report.confused},
        _flagged({*alike, *odd}),
    )


def _flagged(places: Iterable[Place]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for place in places:
        counts[place.position] = counts.get(place.position, 0) + 1
    return counts
