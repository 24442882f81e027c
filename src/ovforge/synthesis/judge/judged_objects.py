"""The scores of a merged run beside its second views' objects: as columns to reject by, and as JSON to be written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.records.run_layout import variant_name
from ovforge.records.scores import SCORES, ObjectScores, ViewScores
from ovforge.synthesis.judge.score import read_scores
from ovforge.synthesis.second_views import SecondViews

_NOT_LOOKED_FOR = b', "extra": null'
_NOTHING = ObjectScores(id=-1)


@dataclass(frozen=True)
class JudgedObjects:
    """What is known of a run's second views' objects.

    Attributes:
        columns: score -> value per entry, NaN where it was not measured.
        tails: per entry its scores as JSON fields; empty if there are no scores.
        extras: per second view, `extra` as a JSON field; empty if there was no detector.
    """

    columns: dict[str, NDArray[np.float64]]
    tails: list[bytes] = field(default_factory=list)
    extras: list[bytes] = field(default_factory=list)


def judged_objects(scores: Path, pairs: Path, names: Sequence[str], views: SecondViews) -> JudgedObjects:
    """Read the scores of a merged run, if there are any.

    Args:
        scores: `NAME.scores.json`; it may be missing.
        pairs: `NAME.pairs.json`, which it has to belong to.
        names: the images of the annotation file.

    Raises:
        InputError: the scores are malformed, or another run's.
    """
    entries = views.entries
    noted = {"fidelity": entries.fidelity, "visibility": entries.visibility}
    if not scores.is_file():
        return JudgedObjects(noted)
    by_name = read_scores(scores, pairs)
    view_names = [variant_name(names[image], r) for image in views.used.tolist() for r in range(views.variants)]
    of_view = [by_name.get(name) for name in view_names]
    objects = [{} if view is None else {each.id: each for each in view.objects} for view in of_view]
    found = [
        objects[view].get(id_, _NOTHING) for view, id_ in zip(entries.view.tolist(), entries.id.tolist(), strict=True)
    ]
    columns = {score: _column(found, score) for score in SCORES}
    has_extra = any(view is not None and view.extra is not None for view in of_view)
    return JudgedObjects(
        columns=noted | columns,
        tails=[_fields(each) for each in found],
        extras=[_extra(view) for view in of_view] if has_extra else [],
    )


def _column(objects: list[ObjectScores], score: str) -> NDArray[np.float64]:
    values = (getattr(each, score) for each in objects)
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _fields(scores: ObjectScores) -> bytes:
    values: dict[str, Any] = {name: value for name in SCORES if (value := getattr(scores, name)) is not None}
    return b", " + msgspec.json.encode(values)[1:-1] if values else b""


def _extra(view: ViewScores | None) -> bytes:
    if view is None or view.extra is None:
        return _NOT_LOOKED_FOR
    return b', "extra": ' + msgspec.json.encode(view.extra)
