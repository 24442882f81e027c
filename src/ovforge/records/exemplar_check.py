"""The report of `exemplars check`: exemplars and classes that someone should look at."""

from __future__ import annotations

from typing import Any

import msgspec


class NearDuplicate(msgspec.Struct, frozen=True):
    """Two exemplars that look alike; the same one twice where both identities are equal."""

    first: str
    second: str
    similarity: float
    """Cosine of their features."""
    synsets: tuple[str, str]
    across: bool
    """One is in train, the other in val."""


class Outlier(msgspec.Struct, frozen=True):
    """An exemplar that looks unlike its class."""

    exemplar: str
    synset: str
    similarity: float
    """Cosine with the mean of the class's other exemplars."""
    usual: float
    """The median of that over the class."""
    nearest: str
    """The synset whose exemplars it looks most like."""


class ConfusedClass(msgspec.Struct, frozen=True):
    """A class whose exemplars look more like another class's text than like its own."""

    synset: str
    nearest: str
    similarity: float
    own_similarity: float
    own_rank: int
    """1 would be the nearest."""


class CheckedClass(msgspec.Struct, frozen=True):
    """One class."""

    category_id: int
    name: str
    synset: str
    exemplars: int
    leave_one_out: float | None
    """The share of its exemplars that are nearest to the mean of the class's others; None with fewer than two."""


class ExemplarCheck(msgspec.Struct, frozen=True):
    """The report, as it stands in its file."""

    model: dict[str, Any]
    """What the features were made with."""
    exemplars: int
    leave_one_out: float | None
    """Over all exemplars of classes with at least two."""
    duplicates: tuple[NearDuplicate, ...]
    outliers: tuple[Outlier, ...]
    confused: tuple[ConfusedClass, ...]
    classes: tuple[CheckedClass, ...]
