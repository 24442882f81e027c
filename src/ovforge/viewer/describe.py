"""Pairs as plain values for a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ovforge.sources.pair_arrays import MEASURES, MOTION_KINDS, PairArrays
from ovforge.viewer.outlines import is_repainted, outline
from ovforge.viewer.source import ObjectNotes, PairSource

TILE_BOXES = 40


def item(arrays: PairArrays, pair: int) -> dict[str, Any]:
    """One tile of the grid: a pair, or a clip, of which the tile shows the frame `pair` beside its image.

    `name` is that under which it is known: the second view's file name, or that of the clip's frame 1.
    """
    first, second = (int(row) for row in arrays.pairs[pair])
    width, height = arrays.image_size[second].tolist()
    name = arrays.file_name(int(arrays.pairs[arrays.first_of[pair], 1]))
    return {
        "id": pair,
        "name": name,
        "title": arrays.file_name(first) if arrays.frame[pair] else name,
        "frames": len(frames := arrays.frames_of(pair)) + 1,
        "frame": frames.index(pair) + 1,
        "rows": [first, second],
        "strip": [first, *arrays.pairs[frames, 1].tolist()] if arrays.frame[pair] else [],
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


def pair(source: PairSource, arrays: PairArrays, number: int, *, outlines: bool = True) -> dict[str, Any]:
    """One pair large, or the clip that it is a frame of, all its frames.

    Args:
        outlines: with the outlines of masks; without them it is only said whether there are any.
    """
    pairs = arrays.frames_of(number)
    is_clip = bool(arrays.frame[number])
    details = source.details(pairs[0])
    rows = [int(arrays.pairs[pairs[0], 0]), *(int(arrays.pairs[one, 1]) for one in pairs)]
    notes = [source.notes(row) for row in rows]
    views = [view(arrays, row, noted, outlines=outlines) for row, noted in zip(rows, notes, strict=True)]
    for one, shown in zip(pairs, views[1:], strict=True):
        shown["motion"] = motion_text(arrays, one, {} if is_clip else details.motion)
        shown["unseen"] = source.unseen(one) if is_clip else {}
    if math.isfinite(arrays.pair_extra[number]):
        views[1]["extra"] = [
            {"class": _class(arrays, one.category_id), "box": [round(side, 1) for side in one.bbox], "score": one.score}
            for one in details.extra
        ]
    return {
        **item(arrays, number),
        "clip": {key: details.motion[key] for key in ("preset", "gap") if key in details.motion} if is_clip else None,
        "views": views,
        "masks": any(note.segmentation for noted in notes for note in noted),
        "caption": details.caption,
        "seed": details.seed,
        "engine": details.engine,
        "motion": views[1]["motion"],
        "matrix": None if is_clip else details.motion.get("matrix"),
        "mask": not is_clip and details.keep_mask is not None and is_repainted(details.keep_mask),
        "mask_noted": details.keep_mask is not None,
    }


def view(arrays: PairArrays, row: int, notes: Sequence[ObjectNotes], *, outlines: bool) -> dict[str, Any]:
    """One image with its objects; `notes` are of the objects, or empty where nothing is known."""
    width, height = arrays.image_size[row].tolist()
    span = arrays.objects(row)
    objects = []
    for place, position in enumerate(range(span.start, span.stop)):
        noted = notes[place] if place < len(notes) else ObjectNotes()
        category = int(arrays.category_id[position])
        known = arrays.category_of.get(category)
        objects.append(
            {
                "track": int(arrays.track_id[position]),
                "class": _class(arrays, category),
                "frequency": known.frequency if known is not None else "",
                "box": [round(float(side), 1) for side in arrays.box[position]],
                "area": _rounded(arrays.area[position], 0),
                "fidelity": _rounded(arrays.fidelity[position], 4),
                "measures": {
                    name: round(value, 3)
                    for name, value in zip(MEASURES, arrays.measures[position].tolist(), strict=True)
                    if not math.isnan(value)
                },
                "occluded": noted.occluded,
                "outline": outline(noted.segmentation, width, height) if outlines else [],
            }
        )
    return {
        "name": arrays.file_name(row),
        "row": row,
        "image_id": int(arrays.image_id[row]),
        "width": width,
        "height": height,
        "objects": objects,
    }


def _class(arrays: PairArrays, category: int) -> str:
    return arrays.category_of[category].name if category in arrays.category_of else f"class {category}"


def motion_text(arrays: PairArrays, number: int, motion: dict[str, Any]) -> str:
    """A motion in words."""
    kind, flip, scale, rotation = (float(value) for value in arrays.pair_motion[number])
    name = MOTION_KINDS[int(kind)]
    if name == "not noted":
        return ""
    if name == "none":
        return "none: the second view is the image itself"
    parts = [str(motion.get("kind", "camera" if name == "clip" else name))]
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
