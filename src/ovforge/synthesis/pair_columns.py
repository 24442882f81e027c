"""The records of pairs as columns: what decides which objects are kept, and where each object's record is.

Kept apart from what reads images, since the worker processes load this.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge import parallel
from ovforge.errors import InputError
from ovforge.parallel import Workers
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.reporting import Drop
from ovforge.synthesis.pair_file import line_ranges, read_pairs

_RANGE_BYTES = 1 << 20

Ints = NDArray[np.int64]


class Entries(NamedTuple):
    """Objects in second views, one element each."""

    view: Ints
    """Which of all second views: `variants` for each image that the run has."""
    id: Ints
    """Of the original annotation."""
    area: NDArray[np.float64]
    box: NDArray[np.float64]
    """(n, 4) x, y, width, height."""
    fidelity: NDArray[np.float64]
    """NaN where it was not measured."""
    has_mask: NDArray[np.bool_]
    visibility: NDArray[np.float64]
    """NaN where it was not measured."""
    is_region: NDArray[np.bool_]
    """An ignore region."""
    start: Ints
    """Where the record is in the file of records; polygons, which were the original's, are not in it."""
    stop: Ints


class EntryFields(msgspec.Struct, gc=False):
    """What is read of an object in a second view."""

    id: int
    area: float
    bbox: tuple[float, float, float, float]
    image_name: str
    fidelity: float | None = None
    mask: msgspec.Raw = msgspec.Raw()
    """Empty where none was kept."""
    visibility: float | None = None
    iscrowd: int = 0


class _View(msgspec.Struct, gc=False):
    caption: str
    seed: int
    motion: msgspec.Raw
    annotations: list[EntryFields]
    keep_mask: msgspec.Raw = msgspec.Raw()
    """Empty where no masks were asked for."""

    def fields(self) -> bytes:
        """JSON fields of the second view's image record."""
        kept = b', "keep_mask": %b' % bytes(self.keep_mask) if bytes(self.keep_mask) else b""
        caption = msgspec.json.encode(self.caption)
        return b', "caption": %b, "seed": %d, "motion": %b%b' % (caption, self.seed, bytes(self.motion), kept)


class _Pair(msgspec.Struct, gc=False):
    file_name: str
    variants: list[_View]
    drops: tuple[Drop, ...] = ()


class _RawView(msgspec.Struct, gc=False):
    annotations: list[msgspec.Raw]


class _RawPair(msgspec.Struct, gc=False):
    variants: list[_RawView]


class PairColumns(NamedTuple):
    """The records of one range of lines."""

    names: list[str]
    is_used: list[bool]
    extras: list[bytes]
    drops: list[Drop]
    entries: Entries
    """`view` counts from the first one of the range."""


def join_entries(parts: list[Entries]) -> Entries:
    """The entries of all parts as one."""
    return Entries(*map(np.concatenate, zip(*(parts or [entry_columns([], [], [], [])]), strict=True)))


def read_pair_columns(path: Path, variants: int) -> Iterator[PairColumns]:
    """The records of a `.pairs.json`, some at a time, with the first `variants` second views of each.

    Raises:
        InputError: the file is cut short, a record does not fit or has fewer second views; says which.
    """
    jobs = ((path, start, stop, variants) for start, stop in line_ranges(path, _RANGE_BYTES))
    with Workers() as workers:
        if path.stat().st_size < parallel.SMALL_BYTES:
            results: Iterator[PairColumns | None] = (_read_range(*job) for job in jobs)
        else:
            results = workers.ordered(_read_range, jobs)
        for pairs in results:
            if pairs is None:
                raise _bad_record(path, variants)
            yield pairs


def _read_range(path: Path, start: int, stop: int, variants: int) -> PairColumns | None:
    """Some lines of a `.pairs.json`; None if one cannot be read."""
    with open(path, "rb") as file:
        file.seek(start)
        data = file.read(stop - start)
    records, raw_records = msgspec.json.Decoder(_Pair), msgspec.json.Decoder(_RawPair)
    pairs = PairColumns([], [], [], [], entry_columns([], [], [], []))
    entries: list[EntryFields] = []
    view, starts, stops = list[int](), list[int](), list[int]()
    at = start
    for line in data.split(b"\n"):
        record = line.rstrip(b",")
        if not record:
            continue
        try:
            pair, raw = records.decode(record), raw_records.decode(record)
        except JSON_ERRORS:
            return None
        pairs.names.append(pair.file_name)
        pairs.is_used.append(bool(pair.variants))
        if not pair.variants:
            pairs.drops.extend(drop for drop in pair.drops if drop.kind == "image")
        elif len(pair.variants) < variants:
            return None
        place = 0
        for one, raw_one in zip(pair.variants[:variants], raw.variants, strict=False):
            for text in map(bytes, raw_one.annotations):
                # Found elsewhere before, it would be the same bytes.
                place = line.index(text, place)
                starts.append(at + place)
                place += len(text)
                stops.append(at + place)
            entries += one.annotations
            view += [len(pairs.extras)] * len(one.annotations)
            pairs.extras.append(one.fields())
        at += len(line) + 1
    return pairs._replace(entries=entry_columns(entries, view, starts, stops))


def entry_columns(entries: list[EntryFields], view: list[int], starts: list[int], stops: list[int]) -> Entries:
    """Objects and their places as columns."""
    count = len(entries)
    boxes = np.fromiter(chain.from_iterable(entry.bbox for entry in entries), np.float64, 4 * count).reshape(-1, 4)
    return Entries(
        np.array(view, np.int64),
        np.fromiter((entry.id for entry in entries), np.int64, count),
        np.fromiter((entry.area for entry in entries), np.float64, count),
        boxes,
        np.array([entry.fidelity for entry in entries], np.float64),  # None becomes NaN
        np.fromiter((bool(bytes(entry.mask)) for entry in entries), np.bool_, count),
        np.array([entry.visibility for entry in entries], np.float64),
        np.fromiter((entry.iscrowd > 0 for entry in entries), np.bool_, count),
        np.array(starts, np.int64),
        np.array(stops, np.int64),
    )


def _bad_record(path: Path, variants: int) -> InputError:
    """The error for the first record that cannot be read."""
    number = 0
    try:
        for number, pair in enumerate(read_pairs(path, _Pair), start=1):
            if 0 < len(pair.variants) < variants:
                return InputError(f"{path}: record {number:,} has {len(pair.variants)} second views, not {variants}")
    except InputError as error:
        return error
    return InputError(f"{path}: cannot be read after record {number:,}")
