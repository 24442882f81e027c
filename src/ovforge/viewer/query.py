"""Which pairs to show, and in which order: from a page's address to positions in the arrays."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ovforge.errors import InputError
from ovforge.sources.pair_arrays import MEASURES, MOTION_KINDS, PairArrays, lowest, second_pairs
from ovforge.viewer.source import Snapshot

SORTS = {
    "": "Order of the run",
    "shrunk": "Shrunk most",
    "grown": "Grown most",
    "fidelity": "Lowest fidelity",
    "-fidelity": "Highest fidelity",
    "-objects": "Most objects",
}
WORST = {
    "visibility": "Least visible",
    "sharpness": "Lowest sharpness",
    "boundary": "Lowest boundary",
    "-boundary": "Highest boundary",
    "colour": "Lowest colour",
    "-repeated": "Highest repeated",
    "same": "Lowest same",
    "margin": "Lowest margin",
    "found": "Lowest found",
    "-extra": "Most extra objects",
}
"""Orders by what was measured of the objects, the worst first; a minus: from the highest."""
VERDICTS = ("keep", "reject", "none")
"""What a review may say of a pair; `none`: nothing."""
_REMEMBERED = 8


@dataclass(frozen=True)
class Query:
    """What a pair has to fulfil. Classes, frequencies, size, fidelity and what else was measured have to hold for one
    and the same object of the second view; `size` is the square root of an object's area in the second view, in pixels.
    A clip fulfils it if one of its frames does.

    `class_name` is the name of one class, or else a part of the names of all that are meant; letter case counts no
    more than the difference between spaces and underscores. `verdict` and `tag` are of the review.
    """

    name: str = ""
    class_name: str = ""
    frequencies: frozenset[str] = frozenset()
    size_from: float | None = None
    size_to: float | None = None
    objects_from: int | None = None
    objects_to: int | None = None
    fidelity_from: float | None = None
    fidelity_to: float | None = None
    verdict: str = ""
    tag: str = ""
    motion: str = ""
    first_from: float | None = None
    first_to: float | None = None
    """As `size_from` and `size_to`, of the original's objects."""
    scale_from: float | None = None
    scale_to: float | None = None
    rotation_from: float | None = None
    rotation_to: float | None = None
    extra_from: float | None = None
    extra_to: float | None = None
    """How many objects a detector found where none is annotated."""
    measures: tuple[tuple[str, float | None, float | None], ...] = ()
    """One of MEASURES, from, to."""
    sort: str = ""

    @classmethod
    def parse(cls, values: Mapping[str, str]) -> Query:
        """Read the parameters of an address; what is empty does not count.

        Raises:
            InputError: a number that is none, an unknown order.
        """
        sort = values.get("sort", "")
        if sort not in SORTS and sort not in WORST:
            raise InputError(f"sort={sort!r}: not one of {', '.join(filter(None, (*SORTS, *WORST)))}")
        measures = ((name, _number(values, f"{name}_from"), _number(values, f"{name}_to")) for name in MEASURES)
        return cls(
            name=values.get("name", "").strip().lower()[:200],
            class_name=plain_name(values.get("class", ""))[:2000],
            frequencies=frozenset(values.get("freq", "")) & frozenset("rcf"),
            size_from=_number(values, "size_from"),
            size_to=_number(values, "size_to"),
            objects_from=_whole(values, "objects_from"),
            objects_to=_whole(values, "objects_to"),
            fidelity_from=_number(values, "fidelity_from"),
            fidelity_to=_number(values, "fidelity_to"),
            verdict=_one_of(values, "verdict", VERDICTS),
            tag=values.get("tag", "").strip()[:200],
            motion=_one_of(values, "motion", MOTION_KINDS),
            first_from=_number(values, "first_from"),
            first_to=_number(values, "first_to"),
            scale_from=_number(values, "scale_from"),
            scale_to=_number(values, "scale_to"),
            rotation_from=_number(values, "rotation_from"),
            rotation_to=_number(values, "rotation_to"),
            extra_from=_number(values, "extra_from"),
            extra_to=_number(values, "extra_to"),
            measures=tuple(one for one in measures if one[1:] != (None, None)),
            sort=sort,
        )


class Selector:
    """Answers queries, and remembers the last few answers."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, int, Query], NDArray[np.int32]] = OrderedDict()
        self._lock = Lock()

    def select(self, snapshot: Snapshot, query: Query) -> NDArray[np.int32]:
        """Positions of the pairs that fulfil the query, in its order."""
        key = (snapshot.generation, len(snapshot.arrays), query)
        with self._lock:
            answer = self._answers.pop(key, None)
        if answer is None:
            answer = select(snapshot.arrays, query)
        with self._lock:
            self._answers[key] = answer
            while len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)
        return answer


def sorts(arrays: PairArrays) -> dict[str, str]:
    """The orders that make sense for a run, and how they are called."""
    known = {*arrays.measured, *(["extra"] if not np.isnan(arrays.pair_extra).all() else [])}
    has_fidelity = bool(np.isfinite(arrays.pair_fidelity).any())
    return {
        **{key: label for key, label in SORTS.items() if has_fidelity or "fidelity" not in key},
        **{key: label for key, label in WORST.items() if key.lstrip("-") in known},
    }


def select(arrays: PairArrays, query: Query) -> NDArray[np.int32]:
    """Positions of the pairs that fulfil the query, in its order.

    Of a clip there is one, that of the frame which comes first in the order; without an order, of its last frame.
    """
    kept = np.ones(len(arrays), np.bool_)
    if query.objects_from is not None:
        kept &= arrays.pair_objects >= query.objects_from
    if query.objects_to is not None:
        kept &= arrays.pair_objects <= query.objects_to
    if (objects := _objects(arrays, query)) is not None:
        kept &= _has_any(arrays, objects, arrays.pairs[:, 1])
    if query.first_from is not None or query.first_to is not None:
        limits = _square(query.first_from), _square(query.first_to)
        kept &= _has_any(arrays, _between(arrays.area, *limits), arrays.pairs[:, 0])
    for column, low, high in ((2, query.scale_from, query.scale_to), (3, query.rotation_from, query.rotation_to)):
        if low is not None or high is not None:
            kept &= _between(arrays.pair_motion[:, column], low, high) & (arrays.pair_motion[:, 0] >= 2)
    if query.extra_from is not None or query.extra_to is not None:
        inside = ~np.isnan(arrays.pair_extra)
        inside &= arrays.pair_extra >= (query.extra_from if query.extra_from is not None else -np.inf)
        kept &= inside & (arrays.pair_extra <= (query.extra_to if query.extra_to is not None else np.inf))
    if query.motion:
        kept &= arrays.pair_motion[:, 0] == MOTION_KINDS.index(query.motion)
    if query.name:
        named = _named(arrays, query.name)
        kept &= named[arrays.pairs[:, 0]] | named[arrays.pairs[:, 1]]
    found = np.flatnonzero(kept)
    values = _sort_values(arrays, query.sort)
    if values is not None:
        # NaN sorts last, whatever the direction.
        found = found[np.argsort(values[found], kind="stable")]
    return (_one_of_each_clip(arrays, found, in_order=values is not None) if arrays.has_clips else found).astype(
        np.int32
    )


def _one_of_each_clip(arrays: PairArrays, found: NDArray[np.int64], *, in_order: bool) -> NDArray[np.int64]:
    first = arrays.first_of[found]
    if in_order:
        return found[np.sort(np.unique(first, return_index=True)[1])]
    order = np.lexsort((arrays.frame[found], first))
    last = np.flatnonzero(np.append(first[order][1:] != first[order][:-1], True)) if len(order) else order
    return found[order[last]]


def _has_any(arrays: PairArrays, objects: NDArray[np.bool_], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether image rows have one of these objects."""
    before = np.concatenate([[0], np.cumsum(objects)])
    found: NDArray[np.bool_] = before[arrays.object_start[rows + 1]] > before[arrays.object_start[rows]]
    return found


def _between(values: NDArray[np.float32], low: float | None, high: float | None) -> NDArray[np.bool_]:
    inside = ~np.isnan(values)
    if low is not None:
        inside &= values >= low
    if high is not None:
        inside &= values < high
    return inside


def plain_name(name: str) -> str:
    """A class's name as it is compared.

    >>> plain_name(" Flip-flop_(sandal)")
    'flip-flop (sandal)'
    """
    return " ".join(name.replace("_", " ").casefold().split())


def classes_named(arrays: PairArrays, wanted: str) -> frozenset[int]:
    """The classes whose name is `wanted`, a `plain_name`; where there is none, those in whose names it is found.

    Several names stand between bars, `cup|bowl`.
    """
    names = [(plain_name(category.name), category.id) for category in arrays.categories]
    found: set[int] = set()
    for part in wanted.split("|"):
        text = part.strip()
        exact = {number for name, number in names if name == text}
        found |= exact or {number for name, number in names if text in name}
    return frozenset(found)


def _objects(arrays: PairArrays, query: Query) -> NDArray[np.bool_] | None:
    """Which objects fulfil what is asked of one object; None where nothing is."""
    conditions: list[NDArray[np.bool_]] = []
    if query.class_name or query.frequencies:
        named = classes_named(arrays, query.class_name)
        wanted = [
            category.id
            for category in arrays.categories
            if category.id in named and (not query.frequencies or category.frequency in query.frequencies)
        ]
        conditions.append(np.isin(arrays.category_id, wanted))
    for values, low, high in (
        (arrays.area, _square(query.size_from), _square(query.size_to)),
        (arrays.fidelity, query.fidelity_from, query.fidelity_to),
        *((arrays.measure(name), low, high) for name, low, high in query.measures),
    ):
        if low is not None:
            conditions.append(np.asarray(values >= low))
        if high is not None:
            conditions.append(np.asarray(values <= high))
    return np.logical_and.reduce(conditions) if conditions else None


def _named(arrays: PairArrays, wanted: str) -> NDArray[np.bool_]:
    """Image rows whose file name holds `wanted`, in any case."""
    found = np.zeros(len(arrays.image_id), np.bool_)
    names, needle = arrays.names.tobytes().lower(), wanted.encode("utf-8", "surrogateescape")
    position = names.find(needle)
    while position >= 0:
        row = int(np.searchsorted(arrays.name_start, position, side="right")) - 1
        end = int(arrays.name_start[row + 1])
        if position + len(needle) <= end:
            found[row] = True
            position = names.find(needle, end)
        else:  # half of it belongs to the next name
            position = names.find(needle, position + 1)
    return found


def _sort_values(arrays: PairArrays, sort: str) -> NDArray[np.float32] | None:
    match sort:
        case "shrunk":
            return arrays.pair_change
        case "grown":
            return -arrays.pair_change
        case "fidelity":
            return arrays.pair_fidelity
        case "-fidelity":
            return -arrays.pair_fidelity
        case "-objects":
            return -arrays.pair_objects.astype(np.float32)
        case "-extra":
            return -arrays.pair_extra
    name = sort.lstrip("-")
    if name not in MEASURES:
        return None
    values = arrays.measure(name)
    owner = second_pairs(arrays.pairs, arrays.object_start)
    return lowest(-values if sort.startswith("-") else values, owner, len(arrays))


def _one_of(values: Mapping[str, str], key: str, known: Collection[str]) -> str:
    text = values.get(key, "")
    if text and text not in known:
        raise InputError(f"{key}={text[:40]!r}: not one of {', '.join(known)}")
    return text


def _number(values: Mapping[str, str], key: str) -> float | None:
    text = values.get(key, "")
    if not text.strip():
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) < 1e12:
        raise InputError(f"{key}={text[:40]!r}: not a number")
    return number


def _whole(values: Mapping[str, str], key: str) -> int | None:
    number = _number(values, key)
    return None if number is None else int(number)


def _square(side: float | None) -> float | None:
    return None if side is None else side * side
