"""Pairs as plain values for a page."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ovforge.sources.pair_arrays import MOTION_KINDS, PairArrays
from ovforge.viewer.outlines import is_repainted, outline
from ovforge.viewer.source import PairDetails

TILE_BOXES = 40


def item(arrays: PairArrays, pair: int) -> dict[str, Any]:
    """One tile of the grid."""
    first, second = (int(row) for row in arrays.pairs[pair])
    width, height = arrays.image_size[second].tolist()
    return {
        "id": pair,
        "name": arrays.file_name(second),
        "rows": [first, second],
        "width": width,
        "height": height,
        "objects": int(arrays.pair_objects[pair]),
        "change": _rounded(arrays.pair_change[pair], 3),
        "fidelity": _rounded(arrays.pair_fidelity[pair], 4),
        "sizes": arrays.image_size[[first, second]].tolist(),
        **_tile_boxes(arrays, first, second),
    }


def _tile_boxes(arrays: PairArrays, first: int, second: int) -> dict[str, Any]:
    """How many objects the pair has, and the boxes in both views of at most TILE_BOXES of them: place and sides.

    The places are those of the pair's page, where objects are counted as they stand in the first view, then those that
    are in the second alone.
    """
    spans = [arrays.objects(row) for row in (first, second)]
    tracks = [arrays.track_id[span].tolist() for span in spans]
    places = {track: place for place, track in enumerate(dict.fromkeys(tracks[0] + tracks[1]))}
    boxes = [
        [
            [places[track], *(round(float(side)) for side in box)]
            for track, box in zip(of_view[:TILE_BOXES], arrays.box[span][:TILE_BOXES], strict=False)
        ]
        for of_view, span in zip(tracks, spans, strict=True)
    ]
    return {"count": len(places), "boxes": boxes}


def pair(
    arrays: PairArrays, number: int, details: PairDetails, masks: tuple[list[Any], list[Any]] = ([], [])
) -> dict[str, Any]:
    """One pair large; `masks` are the segmentations of both views' objects, where they are known."""
    first, second = (int(row) for row in arrays.pairs[number])
    names = {category.id: category for category in arrays.categories}
    views = []
    for row, segmentations in zip((first, second), masks, strict=True):
        width, height = arrays.image_size[row].tolist()
        span = arrays.objects(row)
        views.append(
            {
                "name": arrays.file_name(row),
                "image_id": int(arrays.image_id[row]),
                "width": width,
                "height": height,
                "objects": [
                    {
                        "track": int(arrays.track_id[position]),
                        "class": names[category].name if category in names else f"class {category}",
                        "frequency": names[category].frequency if category in names else "",
                        "box": [round(float(side), 1) for side in arrays.box[position]],
                        "area": _rounded(arrays.area[position], 0),
                        "fidelity": _rounded(arrays.fidelity[position], 4),
                        "outline": outline(segmentations[place], width, height) if place < len(segmentations) else [],
                    }
                    for place, position in enumerate(range(span.start, span.stop))
                    for category in (int(arrays.category_id[position]),)
                ],
            }
        )
    return {
        **item(arrays, number),
        "views": views,
        "caption": details.caption,
        "seed": details.seed,
        "engine": details.engine,
        "motion": motion_text(arrays, number, details.motion),
        "matrix": details.motion.get("matrix"),
        "mask": details.keep_mask is not None and is_repainted(details.keep_mask),
        "mask_noted": details.keep_mask is not None,
    }


def motion_text(arrays: PairArrays, number: int, motion: dict[str, Any]) -> str:
    """A motion in words."""
    kind, flip, scale, rotation = (float(value) for value in arrays.pair_motion[number])
    name = MOTION_KINDS[int(kind)]
    if name == "not noted":
        return ""
    if name == "none":
        return "none: the second view is the image itself"
    parts = [str(motion.get("kind", name))]
    if not math.isnan(scale):
        parts += [f"scale {scale:.2f}", f"rotation {rotation:+.0f}°"]
    if flip:
        parts.append("flipped")
    if motion.get("brightness"):
        parts.append(f"brightness {float(motion['brightness']):+.2f}")
    if motion.get("contrast") not in (None, 1, 1.0):
        parts.append(f"contrast {float(motion['contrast']):.2f}")
    return ", ".join(parts)


def classes(arrays: PairArrays) -> list[dict[str, Any]]:
    """The classes that second views have, most objects first."""
    if not arrays.categories:
        return []
    counts = np.bincount(second_view_objects(arrays), minlength=max(c.id for c in arrays.categories) + 1)
    found = [
        {"id": c.id, "name": c.name, "frequency": c.frequency, "objects": int(counts[c.id])}
        for c in arrays.categories
        if c.id >= 0 and counts[c.id]
    ]
    return sorted(found, key=lambda entry: (-int(str(entry["objects"])), str(entry["name"])))


def second_view_objects(arrays: PairArrays) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The class of every object in a second view."""
    is_second = np.zeros(len(arrays.image_id), np.bool_)
    is_second[arrays.pairs[:, 1]] = True
    chosen = arrays.category_id[np.repeat(is_second, np.diff(arrays.object_start))]
    return np.asarray(chosen[chosen >= 0], np.int64)


def _rounded(value: Any, digits: int) -> float | None:
    number = float(value)
    return None if math.isnan(number) else round(number, digits)
