"""Classes, exemplars and findings as plain values for a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ovforge.records.exemplar import Exemplar
from ovforge.records.exemplar_check import CheckedClass, ConfusedClass
from ovforge.viewer.exemplar_findings import Duplicate, OddOne, Side
from ovforge.viewer.exemplar_source import ExemplarClass, ExemplarSource

_ALIKE_SHOWN = 24
"""How many near-duplicates one exemplar is shown with."""


class Describer:
    """Describes what is in one file. Classes are told by their names."""

    def __init__(self, source: ExemplarSource) -> None:
        self._source = source
        self._by_synset = {entry.synset: entry for entry in source.classes}

    def listed(self, entry: ExemplarClass) -> dict[str, Any]:
        """A class in the list of classes."""
        findings = self._source.findings
        confused = None if findings is None else findings.confused_by_synset.get(entry.synset)
        return {
            "name": entry.name,
            "synset": entry.synset,
            "frequency": entry.frequency,
            "counts": entry.counts,
            "distinct": entry.distinct,
            "total": entry.total,
            "short": self._source.is_short(entry),
            "synonyms": entry.synonyms,
            "definition": entry.definition,
            "accuracy": entry.accuracy,
            "flagged": 0 if findings is None else findings.flagged.get(entry.position, 0),
            "nearer": None if confused is None else self.confused(confused),
        }

    def exemplars(self, entry: ExemplarClass, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Some exemplars of a class, with what was found of them."""
        exemplars = self._source.exemplars(entry.position)
        times: Counter[str] = Counter()
        if entry.distinct < entry.total:
            times.update(exemplar.identity for exemplar in exemplars)
        return [self._exemplar(entry, index, exemplars[index], times) for index in indices]

    def duplicate(self, each: Duplicate) -> dict[str, Any]:
        """Two exemplars that look alike."""
        sides = [self._side(side) for side in (each.first, each.second)]
        return {"sides": sides, "similarity": each.found.similarity, "across": each.found.across}

    def outlier(self, each: OddOne) -> dict[str, Any]:
        """An exemplar that looks unlike its class."""
        found = each.found
        return {
            "sides": [self._side(each.side)],
            "similarity": found.similarity,
            "usual": found.usual,
            "nearest": self._name(found.nearest),
        }

    def confused(self, each: ConfusedClass) -> dict[str, Any]:
        """A class that is nearer to another one's text."""
        return {
            **self._class(each.synset),
            "nearest": self._name(each.nearest),
            "similarity": each.similarity,
            "own": each.own_similarity,
            "rank": each.own_rank,
        }

    def accuracy(self, each: CheckedClass) -> dict[str, Any]:
        """How well a class is told apart."""
        return {**self._class(each.synset), "exemplars": each.exemplars, "accuracy": each.leave_one_out}

    def _exemplar(self, entry: ExemplarClass, index: int, exemplar: Exemplar, times: Counter[str]) -> dict[str, Any]:
        box = exemplar.box
        described: dict[str, Any] = {
            "index": index,
            "name": exemplar.file_name,
            "source": exemplar.dataset,
            "box": None if box is None else [round(float(side)) for side in box],
            "substitute": exemplar.synset if exemplar.synset not in ("", entry.synset) else "",
            "times": times.get(exemplar.identity, 1),
        }
        findings, place = self._source.findings, self._source.place(entry, exemplar)
        if findings is None or place is None:
            return described
        odd = findings.odd.get(place)
        if odd is not None:
            described["outlier"] = {
                "similarity": odd.similarity,
                "usual": odd.usual,
                "nearest": self._name(odd.nearest),
            }
        described["alike"] = [
            {**self._side(other), "similarity": each.found.similarity, "across": each.found.across}
            for each, other in findings.alike.get(place, ())[:_ALIKE_SHOWN]
        ]
        return described

    def _side(self, side: Side) -> dict[str, Any]:
        dataset, _, rest = side.identity.partition(":")
        return {
            "class": self._name(side.synset),
            "name": rest.rpartition(":")[0],
            "source": dataset,
            "place": None if side.place is None else side.place.position,
            "index": None if side.place is None else side.place.index,
        }

    def _class(self, synset: str) -> dict[str, Any]:
        entry = self._by_synset.get(synset)
        return {
            "class": self._name(synset),
            "place": None if entry is None else entry.position,
            "total": 0 if entry is None else entry.total,
        }

    def _name(self, synset: str) -> str:
        if (entry := self._by_synset.get(synset)) is not None:
            return entry.name
        findings = self._source.findings
        checked = None if findings is None else findings.by_synset.get(synset)
        return synset if checked is None else checked.name
