"""Many records of annotation files in a new order, with a few fields changed: a part of a new annotation file.

What is to be done is worked out in columns; the records themselves are only met by the worker processes, which
fetch them, change them and write them, a megabyte at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.batch_edit import BETWEEN, BatchEdit, NotPlainError
from ovforge.annotation_io.record_edit import edit_record, field_value
from ovforge.errors import AnnotationFileError
from ovforge.records.reporting import Progress, no_progress

KEEP = -(2**63)
"""Among new numbers: this record's stays as it is, or is not added."""
BATCH_BYTES = 4 << 20
"""What a worker is given at once."""
_CACHE_BYTES = 1 << 20
"""What is edited at once: with its copies it fits into the processor's cache."""

Ints = NDArray[np.int64]


class Conversion(NamedTuple):
    """A field whose new value follows from the old one."""

    function: Callable[[bytes, tuple[int, ...]], bytes | None]
    """Of a module, called in the worker processes: (old JSON value, arguments) -> new JSON value; None: stays."""
    arguments: Ints
    """(n, k), those of each record; a record whose first one is KEEP stays as it is."""


class Choice(NamedTuple):
    """A field that is set to one of a few values."""

    which: NDArray[np.int8]
    """For each record its value's number; -1: stays."""
    values: tuple[bytes, ...]
    """JSON."""


@dataclass(frozen=True)
class EditedRecords:
    """Records in the order of the output. Record i is `paths[sources[i]]`'s bytes [starts[i], stops[i])."""

    paths: Sequence[Path]
    sources: NDArray[np.int8]
    starts: Ints
    stops: Ints
    numbers: Mapping[str, Ints] = field(default_factory=dict)
    """New values of integer fields that the records have."""
    texts: Mapping[str, Sequence[bytes | None]] = field(default_factory=dict)
    """New JSON values of fields that the records may have; None: stays."""
    appended: Mapping[str, Ints] = field(default_factory=dict)
    """Integer fields to be added at the end, or set where the records have them already."""
    chosen: Mapping[str, Choice] = field(default_factory=dict)
    """Fields to be added at the end, or set where the records have them already, with values of few kinds."""
    converted: Mapping[str, Conversion] = field(default_factory=dict)
    """Fields whose values are converted in the records that have them. After renaming, by the new name."""
    tails: Sequence[bytes] | None = None
    """More to be added at the end of each, as JSON that begins with a comma."""
    removed: tuple[str, ...] = ()
    renamed: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """For each source: fields that get another name."""
    stage: str = "write"
    progress: Progress = no_progress

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def bytes_in(self) -> int:
        """Bytes of all records before the changes."""
        return int((self.stops - self.starts).sum())

    def rows(self, start: int, stop: int) -> EditedRecords:
        """The records [start, stop), without progress."""
        part = slice(start, stop)
        return replace(
            self,
            sources=self.sources[part],
            starts=self.starts[part],
            stops=self.stops[part],
            numbers={name: values[part] for name, values in self.numbers.items()},
            texts={name: values[part] for name, values in self.texts.items()},
            appended={name: values[part] for name, values in self.appended.items()},
            chosen={name: choice._replace(which=choice.which[part]) for name, choice in self.chosen.items()},
            converted={
                name: conversion._replace(arguments=conversion.arguments[part])
                for name, conversion in self.converted.items()
            },
            tails=None if self.tails is None else self.tails[part],
            progress=no_progress,
        )

    def batches(self) -> Iterator[tuple[EditedRecords, bool]]:
        """Arguments for `edited`, each with a few megabytes of records and whether others come before them."""
        for start, stop in _edges(self, BATCH_BYTES):
            self.progress(self.stage, start, len(self))
            yield self.rows(start, stop), start > 0


def _edges(records: EditedRecords, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows of about `size` bytes."""
    ends = np.cumsum(records.stops - records.starts)
    edges = [0, *(np.flatnonzero(np.diff(ends // size)) + 1).tolist(), len(records)]
    return ((start, stop) for start, stop in pairwise(edges) if start < stop)


def edited(records: EditedRecords, goes_on: bool) -> list[bytes]:
    """The records of a batch, fetched and changed, with the commas between them, in some pieces.

    Args:
        records: some megabytes.
        goes_on: whether a comma comes first.

    Raises:
        AnnotationFileError: a file is no longer as long as it was.
    """
    pieces = []
    for start, stop in _edges(records, _CACHE_BYTES):
        part = records.rows(start, stop)
        data, starts, stops = _fetched(part)
        before = BETWEEN if goes_on or start else b""
        try:
            piece = _apply_edits_together(part, BatchEdit(data, starts, stops)).result(before)
        except NotPlainError:
            spans = zip(starts.tolist(), stops.tolist(), strict=True)
            one_by_one = [_apply_edits(part, row, data[start:stop]) for row, (start, stop) in enumerate(spans)]
            piece = before + BETWEEN.join(one_by_one)
        pieces.append(piece)
    return pieces


def _apply_edits_together(batch: EditedRecords, edit: BatchEdit) -> BatchEdit:
    every = np.arange(len(batch.starts))
    for source, names in batch.renamed.items():
        for old, new in names.items():
            edit.rename(np.flatnonzero(batch.sources == source), old, new)
    for name in batch.removed:
        edit.remove(every, name)
    for name, conversion in batch.converted.items():
        rows = np.flatnonzero(conversion.arguments[:, 0] != KEEP)
        edit.convert(rows, name, partial(_converted, conversion))
    for name, values in batch.numbers.items():
        rows = np.flatnonzero(values != KEEP)
        edit.set_numbers(rows, name, values[rows])
    for name, texts in batch.texts.items():
        rows = np.array([row for row, text in enumerate(texts) if text is not None], np.int64)
        edit.set_texts(rows, name, [text for text in texts if text is not None])
    columns = list(batch.appended.items())
    if columns and all((values != KEEP).all() for _, values in columns):
        edit.append_numbers(every, columns)
    else:
        for name, values in columns:
            rows = np.flatnonzero(values != KEEP)
            edit.append_numbers(rows, [(name, values[rows])])
    for name, choice in batch.chosen.items():
        rows = np.flatnonzero(choice.which >= 0)
        edit.set_texts(rows, name, [choice.values[number] for number in choice.which[rows].tolist()])
    if batch.tails is not None:
        edit.append(every, batch.tails)
    return edit


def _converted(conversion: Conversion, row: int, value: bytes) -> bytes | None:
    return conversion.function(value, tuple(conversion.arguments[row].tolist()))


def _apply_edits(batch: EditedRecords, row: int, record: bytes) -> bytes:
    changes: dict[str, bytes | None] = dict.fromkeys(batch.removed)
    for name, texts in batch.texts.items():
        if (text := texts[row]) is not None:
            changes[name] = text
    for columns in (batch.numbers, batch.appended):
        for name, values in columns.items():
            if values[row] != KEEP:
                changes[name] = b"%d" % values[row]
    for name, choice in batch.chosen.items():
        if choice.which[row] >= 0:
            changes[name] = choice.values[choice.which[row]]
    renamed = batch.renamed.get(int(batch.sources[row]), {})
    for name, conversion in batch.converted.items():
        if conversion.arguments[row, 0] != KEEP:
            old = next((old for old, new in renamed.items() if new == name), name)
            value = field_value(record, old)
            new_value = _converted(conversion, row, value) if value is not None else None
            if new_value is not None:
                changes[name] = new_value
    record = edit_record(record, changes, renamed=renamed)
    return record if batch.tails is None else record[:-1] + batch.tails[row] + b"}"


def _fetched(batch: EditedRecords) -> tuple[bytes, Ints, Ints]:
    """Bytes that hold the records in their order, and where in them each starts and stops."""
    starts, stops = batch.starts, batch.stops
    if len(batch.paths) == 1 and bool(np.all(starts[1:] >= stops[:-1])) and _are_near(starts, stops):
        first = int(starts[0])
        return _read(batch.paths[0], first, int(stops[-1])), starts - first, stops - first
    records: list[bytes] = [b""] * len(starts)
    for source, path in enumerate(batch.paths):
        rows = np.flatnonzero(batch.sources == source)
        if not len(rows):
            continue
        found = _gather(path, starts[rows], stops[rows])
        if len(rows) == len(records):
            records = found
            break
        for row, record in zip(rows.tolist(), found, strict=True):
            records[row] = record
    ends = np.cumsum(stops - starts + len(BETWEEN)) - len(BETWEEN)
    return BETWEEN.join(records), ends - (stops - starts), ends


def _are_near(starts: Ints, stops: Ints) -> bool:
    return int(stops.max() - starts.min()) < 4 * _CACHE_BYTES


def _gather(path: Path, starts: Ints, stops: Ints) -> list[bytes]:
    if _are_near(starts, stops):  # one call to the system for all
        first = int(starts.min())
        data = _read(path, first, int(stops.max()))
        spans = zip((starts - first).tolist(), (stops - first).tolist(), strict=True)
        return [data[start:stop] for start, stop in spans]
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Millions of small reads in all: nothing but the call itself.
        sizes = (stops - starts).tolist()
        found = list(map(os.pread, repeat(descriptor), sizes, starts.tolist()))
    finally:
        os.close(descriptor)
    if sum(map(len, found)) != sum(sizes):
        raise _changed(path)
    return found


def _read(path: Path, start: int, stop: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = os.pread(descriptor, stop - start, start)
    finally:
        os.close(descriptor)
    if len(data) != stop - start:
        raise _changed(path)
    return data


def _changed(path: Path) -> AnnotationFileError:
    return AnnotationFileError(path, "changed while it was read", hint="run the same command again")
