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
_MEASURED = {
    "visibility": ("The share of every object that is seen.", (0, 1)),
    "sharpness": ("Fine detail of every object against its first view: 1 as sharp, near 0 a blur.", (0, 2)),
    "boundary": ("How much the image changes at its mask's edge, against its first view: far above 1 a seam.", (0, 3)),
    "colour": ("Agreement of every object's colours with its first view's.", (0, 1)),
    "repeated": ("How much more like it another place is than before; from about 0.5 a second copy.", (0, 1)),
    "same": ("Cosine of every object's feature with its first view's.", (-0.2, 1)),
    "margin": ("That, less the highest cosine with another object.", (-0.6, 1)),
    "found": ("The best IoU of its box with a detected box of its class.", (0, 1)),
}
"""What is told of each of MEASURES, and the limits of its histogram."""


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
    clips = arrays.has_clips
    later = "frames after the first" if clips else "second views"
    figures = {
        **({"clips": f"{len(arrays.firsts):,}"} if clips else {"pairs": f"{len(arrays):,}"}),
        **({"frames": f"{len(arrays) + len(originals):,}"} if clips else {"images": f"{len(originals):,}"}),
        f"objects in {later}": f"{followed:,}",
        f"objects {'out of sight' if clips else 'lost on the way'}": f"{max(planned - followed, 0):,}",
        "classes": f"{len(counted):,}",
    }
    if len(fidelity):
        figures["median fidelity"] = f"{float(np.median(fidelity)):.3f}"
    return Statistics(
        figures=figures,
        most=counted[:_TABLE_ROWS],
        fewest=counted[: -_TABLE_ROWS - 1 : -1] if len(counted) > _TABLE_ROWS else [],
        charts=[
            _by_class(counted, later, has_frequencies=has_frequencies),
            _areas(arrays.area, uses, objects_second, "later frame" if clips else "second view"),
            *_motions(arrays),
            *([_fidelity(fidelity)] if len(fidelity) else []),
            *(_measure(name, arrays.measure(name)[objects_second]) for name in arrays.measured),
            *([_extra(arrays.pair_extra)] if np.isfinite(arrays.pair_extra).any() else []),
            _objects_per_pair(arrays),
        ],
        has_frequencies=has_frequencies,
    )


def _is_second(arrays: PairArrays) -> NDArray[np.bool_]:
    seconds = np.zeros(len(arrays.image_id), np.bool_)
    seconds[arrays.pairs[:, 1]] = True
    return seconds


def _by_class(counted: list[dict[str, Any]], where: str, *, has_frequencies: bool) -> Chart:
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
        note=f"Objects in {where}, classes from most to fewest, on a logarithmic scale.",
        series=(Series("", tuple(bars)),),
        logarithmic=True,
        legend=tuple((key or "x", FREQUENCIES[key]) for key in present) if has_frequencies else (),
        first_label=counted[0]["name"] if counted else "",
        last_label=counted[-1]["name"] if counted else "",
    )


def _areas(area: NDArray[np.float32], uses: NDArray[np.int64], is_second: NDArray[np.bool_], later: str) -> Chart:
    edges = 2.0 ** np.arange(4, 12.01, 0.5)
    series = []
    sides = np.sqrt(np.maximum(area, 0))
    for name, weights in (("original", uses), (later, is_second)):
        limits = np.concatenate([[0], edges[1:-1], [np.inf]])
        counts = np.histogram(sides, limits, weights=weights.astype(np.int64))[0]
        key = "first" if name == "original" else "size"
        bars = tuple(
            Bar(
                int(count),
                f"{name}, {low:.0f} to {high:.0f} px: {int(count):,} objects",
                "original" if name == "original" else "second",
                urlencode({f"{key}_from": round(low, 3)} | ({f"{key}_to": round(high, 3)} if high < edges[-1] else {})),
            )
            for count, low, high in zip(counts.tolist(), [0, *edges[1:-1]], edges[1:], strict=True)
        )
        series.append(Series(name, bars))
    return Chart(
        title="Object sizes before and after",
        note="Square root of the area in pixels.",
        series=tuple(series),
        legend=(("original", "original"), ("second", later)),
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
    charts = []
    if not arrays.has_clips:
        note = f"{flipped:,} of {len(arrays):,} second views are flipped."
        charts.append(Chart(title="Motions", note=note, rows=tuple(rows)))
    of = "The camera's: h" if arrays.has_clips else "H"
    moved = motion[(motion[:, 0] >= 2) & ~np.isnan(motion[:, 2])]
    if len(moved):
        charts.append(
            _histogram(
                "Scale",
                f"{of}ow many times longer the image's middle became.",
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


def _measure(name: str, values: NDArray[np.float32]) -> Chart:
    note, limits = _MEASURED[name]
    known = values[~np.isnan(values)]
    return _histogram(name.capitalize(), note, known, name, limits=limits, bins=20)


def _extra(values: NDArray[np.float32]) -> Chart:
    counts = np.bincount(np.minimum(values[np.isfinite(values)], 10).astype(np.int64), minlength=11).tolist()
    bars = tuple(
        Bar(
            count,
            f"{number}{' and more' if number == 10 else ''} extra objects: {count:,} pairs",
            query=urlencode({"extra_from": number} | ({} if number == 10 else {"extra_to": number})),
        )
        for number, count in enumerate(counts)
    )
    note = "Confident objects of annotated classes that a detector found where none is annotated."
    return Chart("Extra objects", note, (Series("", bars),), first_label="0", last_label="10 and more")


def _objects_per_pair(arrays: PairArrays) -> Chart:
    counts = np.bincount(np.minimum(arrays.pair_objects, 20), minlength=21).tolist()
    what = "frames" if arrays.has_clips else "pairs"
    bars = tuple(
        Bar(
            count,
            f"{number}{' and more' if number == 20 else ''} objects: {count:,} {what}",
            query=urlencode({"objects_from": number} | ({} if number == 20 else {"objects_to": number})),
        )
        for number, count in enumerate(counts)
    )
    return Chart(
        "Objects per frame" if arrays.has_clips else "Objects per pair",
        "In frames after the first." if arrays.has_clips else "In the second view.",
        (Series("", bars),),
        first_label="0",
        last_label="20 and more",
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
