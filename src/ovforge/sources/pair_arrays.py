"""Pairs as plain arrays: who belongs together, boxes, tracks, and what pairs are filtered and sorted by.

A clip stands in them as the pairs of its image with each further frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.ordering import find_positions
from ovforge.records.lvis import Category
from ovforge.records.scores import SCORES

MOTION_KINDS = ("not noted", "none", "affine", "perspective", "other", "clip")
"""What the first number of a motion row stands for; of a clip's frame the row is its camera's."""
MEASURES = ("visibility", *SCORES)
"""What is measured of an object besides its fidelity, in the order of `PairArrays.measures`."""
_CLIP_MARK, _FRAME_DIGITS, _NAME_END = b"_v0_f", 3, b".jpg"
"""How the name of a clip's frame ends, see `run_layout.frame_name`."""


@dataclass(frozen=True)
class PairArrays:
    """Pairs of images with their objects.

    Attributes:
        categories: the classes, in the file's order.
        pairs: int64 (pairs, 2): rows of the original and of its second view in the image arrays.
        image_id: int64 (images,).
        image_size: int32 (images, 2): width, height in pixels.
        name_start, names: the file name of image row i is the UTF-8 bytes names[name_start[i]:name_start[i + 1]].
        object_start: int64 (images + 1,): image row i has the objects object_start[i]:object_start[i + 1].
        box: float32 (objects, 4): x, y, width, height in pixels.
        area: float32 (objects,), square pixels. category_id, track_id: int64 (objects,).
        fidelity: float32 (objects,), NaN where the run has none.
        measures: float32 (objects, len(MEASURES)), NaN where nothing was measured.
        by_name: int64 (pairs,): the pairs in the order of their second views' file names.
        pair_objects: int32 (pairs,): how many objects the second view has.
        pair_change: float32 (pairs,): geometric mean over the followed objects of area after / area before; NaN
            without such objects.
        pair_fidelity: float32 (pairs,): the lowest fidelity of the second view's objects; NaN where none is known.
        pair_motion: float32 (pairs, 4): kind (see MOTION_KINDS), flip (0 or 1), scale (how many times longer the
            middle of the image became), rotation in degrees, counter-clockwise as seen on the screen.
        pair_extra: float32 (pairs,): how many objects a detector found where none is annotated; NaN without one.
    """

    categories: tuple[Category, ...]
    pairs: NDArray[np.int64]
    image_id: NDArray[np.int64]
    image_size: NDArray[np.int32]
    name_start: NDArray[np.int64]
    names: NDArray[np.uint8]
    object_start: NDArray[np.int64]
    box: NDArray[np.float32]
    area: NDArray[np.float32]
    category_id: NDArray[np.int64]
    track_id: NDArray[np.int64]
    fidelity: NDArray[np.float32]
    measures: NDArray[np.float32]
    by_name: NDArray[np.int64]
    pair_objects: NDArray[np.int32]
    pair_change: NDArray[np.float32]
    pair_fidelity: NDArray[np.float32]
    pair_motion: NDArray[np.float32]
    pair_extra: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pairs)

    def file_name(self, row: int) -> str:
        """The HDF5 key of image row `row`."""
        return self._name_bytes(row).decode("utf-8", "surrogateescape")

    def objects(self, row: int) -> slice:
        """Where the objects of image row `row` stand in the object arrays."""
        return slice(int(self.object_start[row]), int(self.object_start[row + 1]))

    def find(self, file_name: str) -> int | None:
        """The pair whose second view is called so, or None."""
        wanted = file_name.encode("utf-8", "surrogateescape")
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._name_bytes(int(self.pairs[self.by_name[middle], 1])) < wanted:
                low = middle + 1
            else:
                high = middle
        if low < len(self) and self._name_bytes(int(self.pairs[self.by_name[low], 1])) == wanted:
            return int(self.by_name[low])
        return None

    @cached_property
    def frame(self) -> NDArray[np.int64]:
        """For each pair the number of its frame in a clip, from 1; 0 where it is no frame of a clip. (pairs,)."""
        width = len(_CLIP_MARK) + _FRAME_DIGITS + len(_NAME_END)
        rows = self.pairs[:, 1]
        start, end = self.name_start[rows], self.name_start[rows + 1]
        number = np.zeros(len(self), np.int64)
        long = np.flatnonzero(end - start > width)
        tail = self.names[end[long, None] + np.arange(-width, 0)]
        digits = tail[:, len(_CLIP_MARK) : -len(_NAME_END)].astype(np.int64) - ord("0")
        fits = (tail[:, : len(_CLIP_MARK)] == np.frombuffer(_CLIP_MARK, np.uint8)).all(axis=1)
        fits &= (tail[:, -len(_NAME_END) :] == np.frombuffer(_NAME_END, np.uint8)).all(axis=1)
        fits &= ((digits >= 0) & (digits <= 9)).all(axis=1)
        number[long[fits]] = (digits @ np.array([100, 10, 1]))[fits]
        return number

    @cached_property
    def first_of(self) -> NDArray[np.int64]:
        """For each pair the first pair of its clip; a pair that is no frame of a clip is its own. (pairs,)."""
        first = np.arange(len(self))
        frames = np.flatnonzero(self.frame > 0)
        order = frames[np.lexsort((self.frame[frames], self.pairs[frames, 0]))]
        rows = self.pairs[order, 0]
        starts = np.flatnonzero(np.append(True, rows[1:] != rows[:-1])) if len(rows) else np.zeros(0, np.int64)
        first[order] = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
        return first

    @cached_property
    def firsts(self) -> NDArray[np.int64]:
        """The pairs that stand for themselves: one of each clip, and all that are no frame of a clip."""
        return np.flatnonzero(self.first_of == np.arange(len(self)))

    @property
    def has_clips(self) -> bool:
        """Whether there are clips among the pairs."""
        return len(self.firsts) < len(self)

    def frames_of(self, pair: int) -> list[int]:
        """The pairs of the clip that a pair is of, frame by frame; of any other pair itself."""
        first = int(self.first_of[pair])
        if not self.frame[pair]:
            return [pair]
        order, of_clip = self._by_clip
        low, high = np.searchsorted(of_clip, [first, first + 1]).tolist()
        found = order[low:high]
        return [int(one) for one in found[np.argsort(self.frame[found], kind="stable")]]

    @cached_property
    def _by_clip(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order = np.argsort(self.first_of, kind="stable")
        return order, self.first_of[order]

    @cached_property
    def category_of(self) -> dict[int, Category]:
        """The classes by their ids."""
        return {category.id: category for category in self.categories}

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """Those of MEASURES that some object has."""
        missing = np.asarray(np.isnan(self.measures).all(axis=0))  # all are missing where there is no object
        return tuple(name for number, name in enumerate(MEASURES) if not missing[number])

    def measure(self, name: str) -> NDArray[np.float32]:
        """One of MEASURES for all objects, float32 (objects,)."""
        return np.asarray(self.measures[:, MEASURES.index(name)])

    def _name_bytes(self, row: int) -> bytes:
        return bytes(self.names[self.name_start[row] : self.name_start[row + 1]])


ARRAYS = tuple(name for name in PairArrays.__dataclass_fields__ if name != "categories")


class ObjectColumns(NamedTuple):
    """The objects of all images, image by image."""

    box: NDArray[Any]
    area: NDArray[Any]
    category_id: NDArray[Any]
    track_id: NDArray[Any]
    fidelity: NDArray[Any]
    measures: NDArray[Any]
    """(objects, len(MEASURES))."""


def arrange(
    *,
    pairs: NDArray[Any],
    image_id: NDArray[Any],
    image_size: NDArray[Any],
    names: Sequence[str],
    objects_per_image: NDArray[Any],
    objects: ObjectColumns,
    motions: Sequence[tuple[float, ...]],
    extra: Sequence[float] | None = None,
) -> dict[str, NDArray[Any]]:
    """The arrays of `PairArrays`, by name; motions are `motion_row`s, one per pair.

    Args:
        extra: for each pair how many objects were found besides; None: nobody looked for any.
    """
    encoded = [name.encode("utf-8", "surrogateescape") for name in names]
    second = [encoded[row] for row in pairs[:, 1].tolist()]
    start = np.concatenate([[0], np.cumsum(objects_per_image)]).astype(np.int64)
    area = np.ascontiguousarray(objects.area, np.float32)
    fidelity = np.ascontiguousarray(objects.fidelity, np.float32)
    track = np.ascontiguousarray(objects.track_id, np.int64)
    pair_of_object = second_pairs(pairs, start)
    return {
        "pairs": np.ascontiguousarray(pairs, np.int64).reshape(-1, 2),
        "image_id": np.ascontiguousarray(image_id, np.int64),
        "image_size": np.ascontiguousarray(image_size, np.int32).reshape(-1, 2),
        "name_start": np.cumsum([0, *map(len, encoded)]).astype(np.int64),
        "names": np.frombuffer(b"".join(encoded), np.uint8),
        "object_start": start,
        "box": np.ascontiguousarray(objects.box, np.float32).reshape(-1, 4),
        "area": area,
        "category_id": np.ascontiguousarray(objects.category_id, np.int64),
        "track_id": track,
        "fidelity": fidelity,
        "measures": np.ascontiguousarray(objects.measures, np.float32).reshape(-1, len(MEASURES)),
        "by_name": np.array(sorted(range(len(second)), key=second.__getitem__), np.int64),
        "pair_objects": np.diff(start)[pairs[:, 1]].astype(np.int32),
        "pair_change": _changes(pairs, start, area, track, pair_of_object),
        "pair_fidelity": lowest(fidelity, pair_of_object, len(pairs)),
        "pair_motion": np.array(motions, np.float32).reshape(-1, 4),
        "pair_extra": np.array(extra if extra is not None else [math.nan] * len(pairs), np.float32),
    }


def motion_row(
    kind: str, flip: bool, matrix: Sequence[Sequence[float]], width: int, height: int
) -> tuple[float, float, float, float]:
    """A motion in four numbers, see `PairArrays.pair_motion`: what its 3x3 matrix does around the image's middle."""
    number = MOTION_KINDS.index(kind) if kind in MOTION_KINDS else MOTION_KINDS.index("other" if kind else "not noted")
    if len(matrix) != 3 or any(len(row) != 3 for row in matrix):
        return float(number), float(flip), math.nan if kind != "none" else 1.0, math.nan if kind != "none" else 0.0
    (a, b, c), (d, e, f), (g, h, i) = matrix
    x, y = (width - 1) / 2, (height - 1) / 2
    below = g * x + h * y + i
    if not below:
        return float(number), float(flip), math.nan, math.nan
    moved_x, moved_y = (a * x + b * y + c) / below, (d * x + e * y + f) / below
    # The derivative of the projective map at the middle.
    xx, xy = (a - moved_x * g) / below, (b - moved_x * h) / below
    yx, yy = (d - moved_y * g) / below, (e - moved_y * h) / below
    sign = -1.0 if flip else 1.0
    rotation = math.degrees(math.atan2(sign * xy - yx, sign * xx + yy))
    return float(number), float(flip), math.sqrt(abs(xx * yy - xy * yx)), rotation


def second_pairs(pairs: NDArray[Any], start: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each object the pair of whose second view it is, or -1."""
    pair_of_image = np.full(len(start) - 1, -1, np.int64)
    pair_of_image[pairs[:, 1]] = np.arange(len(pairs))
    return np.repeat(pair_of_image, np.diff(start))


def _changes(
    pairs: NDArray[Any],
    start: NDArray[np.int64],
    area: NDArray[np.float32],
    track: NDArray[np.int64],
    pair_of_object: NDArray[np.int64],
) -> NDArray[np.float32]:
    image_of_object = np.repeat(np.arange(len(start) - 1), np.diff(start))
    second = np.flatnonzero(pair_of_object >= 0)
    original_row = pairs[pair_of_object[second], 0]
    first = np.flatnonzero(np.isin(image_of_object, pairs[:, 0]))
    # Files from elsewhere may use a track id in several videos: the image belongs to the key.
    tracks = np.unique(track)
    rank = np.searchsorted(tracks, track)
    before = find_positions(
        image_of_object[first] * len(tracks) + rank[first], original_row * len(tracks) + rank[second]
    )
    known = before >= 0
    area_before, area_after = area[first[before[known]]].astype(np.float64), area[second[known]].astype(np.float64)
    measurable = (area_before > 0) & (area_after > 0)
    owner = pair_of_object[second[known]][measurable]
    logs = np.log(area_after[measurable] / area_before[measurable])
    count = np.bincount(owner, minlength=len(pairs))
    total = np.bincount(owner, weights=logs, minlength=len(pairs))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.exp(total / np.where(count, count, np.nan)).astype(np.float32)


def lowest(values: NDArray[np.float32], pair_of_object: NDArray[np.int64], pairs: int) -> NDArray[np.float32]:
    """The lowest value of each pair's objects, float32 (pairs,); NaN where none is known.

    Args:
        values: (objects,), NaN where nothing is known. pair_of_object: see `second_pairs`.
    """
    least = np.full(pairs, np.inf, np.float32)
    known = (pair_of_object >= 0) & ~np.isnan(values)
    np.minimum.at(least, pair_of_object[known], values[known])
    return np.where(np.isinf(least), np.nan, least).astype(np.float32)
