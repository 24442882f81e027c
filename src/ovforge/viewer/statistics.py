"""The numbers of the statistics page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from ovforge.sources.pair_arrays import MOTION_KINDS, PairArrays
from ovforge.viewer import describe
from ovforge.viewer.charts import Bar, Chart, Series

FREQUENCIES = {"f": "frequent", "c": "common", "r": "rare", "": "frequency unknown"}
_TABLE_ROWS = 12


@dataclass(frozen=True)
class Statistics:
    """What the page shows."""

    figures: dict[str, str]
    most: list[dict[str, Any]]
    fewest: list[dict[str, Any]]
    charts: list[Chart]
    has_frequencies: bool = False


def statistics(arrays: PairArrays) -> Statistics:
    """Count a run."""
    counted = describe.classes(arrays)
    has_frequencies = any(category.frequency for category in arrays.categories)
    seconds = _is_second(arrays)
    objects_second = np.repeat(seconds, np.diff(arrays.object_start))
    # An original counts as often as it has second views, so that before and after compare.
    uses = np.repeat(np.bincount(arrays.pairs[:, 0], minlength=len(arrays.image_id)), np.diff(arrays.object_start))
    originals = np.unique(arrays.pairs[:, 0])
    followed = int(np.count_nonzero(objects_second))
    planned = int(np.diff(arrays.object_start)[arrays.pairs[:, 0]].sum())
    fidelity = np.asarray(arrays.fidelity[objects_second])
    fidelity = fidelity[~np.isnan(fidelity)]
    figures = {
        "pairs": f"{len(arrays):,}",
        "images": f"{len(originals):,}",
        "objects in second views": f"{followed:,}",
        "objects lost on the way": f"{max(planned - followed, 0):,}",
        "classes": f"{len(counted):,}",
    }
    if len(fidelity):
        figures["median fidelity"] = f"{float(np.median(fidelity)):.3f}"
    return Statistics(
        figures=figures,
        most=counted[:_TABLE_ROWS],
        fewest=counted[: -_TABLE_ROWS - 1 : -1] if len(counted) > _TABLE_ROWS else [],
        charts=[
            _by_class(counted, has_frequencies=has_frequencies),
            _areas(arrays.area, uses, objects_second),
            *_motions(arrays),
            *([_fidelity(fidelity)] if len(fidelity) else []),
            _objects_per_pair(arrays),
        ],
        has_frequencies=has_frequencies,
    )


def _is_second(arrays: PairArrays) -> NDArray[np.bool_]:
    seconds = np.zeros(len(arrays.image_id), np.bool_)
    seconds[arrays.pairs[:, 1]] = True
    return seconds


def _by_class(counted: list[dict[str, Any]], *, has_frequencies: bool) -> Chart:
    """Many classes are gathered into at most 240 bars, each as high as its largest class."""
    per_bar = max(1, -(-len(counted) // 240))
    bars = []
    for start in range(0, len(counted), per_bar):
        group = counted[start : start + per_bar]
        label = ", ".join(f"{entry['name']}: {entry['objects']:,}" for entry in group[:6])
        kinds = [entry["frequency"] for entry in group]
        query = urlencode({"class": "|".join(entry["name"] for entry in group)})
        bars.append(Bar(group[0]["objects"], label, max(set(kinds), key=kinds.count) or "x", query))
    present = [key for key in FREQUENCIES if any(bar.kind == (key or "x") for bar in bars)]
    return Chart(
        title="Objects per class",
        note="Objects in second views, classes from most to fewest, on a logarithmic scale.",
        series=(Series("", tuple(bars)),),
        logarithmic=True,
        legend=tuple((key or "x", FREQUENCIES[key]) for key in present) if has_frequencies else (),
        first_label=counted[0]["name"] if counted else "",
        last_label=counted[-1]["name"] if counted else "",
    )


def _areas(area: NDArray[np.float32], uses: NDArray[np.int64], is_second: NDArray[np.bool_]) -> Chart:
    edges = 2.0 ** np.arange(4, 12.01, 0.5)
    series = []
    sides = np.sqrt(np.maximum(area, 0))
    for name, weights in (("original", uses), ("second view", is_second)):
        limits = np.concatenate([[0], edges[1:-1], [np.inf]])
        counts = np.histogram(sides, limits, weights=weights.astype(np.int64))[0]
        key = "first" if name == "original" else "size"
        bars = tuple(
            Bar(
                int(count),
                f"{name}, {low:.0f} to {high:.0f} px: {int(count):,} objects",
                name.split()[0],
                urlencode({f"{key}_from": round(low, 3)} | ({f"{key}_to": round(high, 3)} if high < edges[-1] else {})),
            )
            for count, low, high in zip(counts.tolist(), [0, *edges[1:-1]], edges[1:], strict=True)
        )
        series.append(Series(name, bars))
    return Chart(
        title="Object sizes before and after",
        note="Square root of the area in pixels.",
        series=tuple(series),
        legend=(("original", "original"), ("second", "second view")),
        first_label="under 23 px",
        last_label="1,448 px and more",
    )


def _motions(arrays: PairArrays) -> list[Chart]:
    motion = np.asarray(arrays.pair_motion)
    kinds = np.bincount(motion[:, 0].astype(np.int64), minlength=len(MOTION_KINDS))
    flipped = int(np.count_nonzero(motion[:, 1]))
    rows = [
        Bar(int(count), name, query=urlencode({"motion": name}))
        for name, count in zip(MOTION_KINDS, kinds, strict=True)
        if count
    ]
    charts = [
        Chart(
            title="Motions",
            note=f"{flipped:,} of {len(arrays):,} second views are flipped.",
            rows=tuple(rows),
        )
    ]
    moved = motion[(motion[:, 0] >= 2) & ~np.isnan(motion[:, 2])]
    if len(moved):
        charts.append(
            _histogram(
                "Scale",
                "How many times longer the image's middle became.",
                moved[:, 2],
                "scale",
                limits=(0.4, 2.4),
                bins=20,
            )
        )
        charts.append(
            _histogram("Rotation", "Degrees, counter-clockwise.", moved[:, 3], "rotation", limits=(-45, 45), bins=18)
        )
    return charts


def _fidelity(values: NDArray[np.float32]) -> Chart:
    return _histogram(
        "Fidelity",
        "Structural similarity of every object to what it was before repainting.",
        values,
        "fidelity",
        limits=(0, 1),
        bins=20,
    )


def _objects_per_pair(arrays: PairArrays) -> Chart:
    counts = np.bincount(np.minimum(arrays.pair_objects, 20), minlength=21).tolist()
    bars = tuple(
        Bar(
            count,
            f"{number}{' and more' if number == 20 else ''} objects: {count:,} pairs",
            query=urlencode({"objects_from": number} | ({} if number == 20 else {"objects_to": number})),
        )
        for number, count in enumerate(counts)
    )
    return Chart(
        "Objects per pair", "In the second view.", (Series("", bars),), first_label="0", last_label="20 and more"
    )


def _histogram(
    title: str, note: str, values: NDArray[Any], key: str, *, limits: tuple[float, float], bins: int
) -> Chart:
    low, high = limits
    edges = np.linspace(low, high, bins + 1)
    counts = np.histogram(np.clip(values, low, high), edges)[0].tolist()
    bars = tuple(
        Bar(
            count,
            f"{start:g} to {stop:g}: {count:,}",
            query=urlencode(  # the outer bars hold what is beyond the limits, too
                ({f"{key}_from": start} if start > low else {}) | ({f"{key}_to": stop} if stop < high else {})
            ),
        )
        for count, start, stop in zip(counts, edges[:-1].round(3).tolist(), edges[1:].round(3).tolist(), strict=True)
    )
    return Chart(title, note, (Series("", bars),), first_label=f"{low:g}", last_label=f"{high:g}")
