"""Many records of annotation files in a new order, with a few fields changed: a part of a new annotation file.

What is to be done is computed in columns; the records themselves are only met by the worker processes, which
fetch them, change them and write them, a megabyte at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.record_edit import RawFields, put_all_together, rename_fields, take_apart
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
    id_lists: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """Lists of ids that the records may have, and the new id of each old one; others are taken out."""
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
        before = b"," if goes_on or start else b""
        pieces.append(before + put_all_together(_apply_edits(records.rows(start, stop))))
    return pieces


def _apply_edits(batch: EditedRecords) -> list[RawFields]:
    try:
        records = [take_apart(record) for record in _fetched(batch)]
    except msgspec.DecodeError:  # they were read as JSON before
        raise _changed(batch.paths[0]) from None
    if any(batch.renamed.values()):
        names = [batch.renamed.get(source, {}) for source in batch.sources.tolist()]
        records = [rename_fields(record, new) for record, new in zip(records, names, strict=True)]
    for name in batch.removed:
        for record in records:
            record.pop(name, None)
    for name, texts in batch.texts.items():
        for record, text in zip(records, texts, strict=True):
            if text is not None:
                record[name] = msgspec.Raw(text)
    for name, values in (*batch.numbers.items(), *batch.appended.items()):
        for record, value in zip(records, values.tolist(), strict=True):
            if value != KEEP:
                record[name] = value
    for name, choice in batch.chosen.items():
        choices = [msgspec.Raw(value) for value in choice.values]
        for record, number in zip(records, choice.which.tolist(), strict=True):
            if number >= 0:
                record[name] = choices[number]
    for name, (convert, arguments) in batch.converted.items():
        for record, given in zip(records, map(tuple, arguments.tolist()), strict=True):
            if given[0] != KEEP and name in record and (new := convert(_json(record[name]), given)) is not None:
                record[name] = msgspec.Raw(new)
    for name, new_ids in batch.id_lists.items():
        for record in records:
            if (ids := record.get(name)) is not None and (old := msgspec.json.decode(ids)):
                record[name] = [new_ids[one] for one in old if one in new_ids]
    if batch.tails is not None:
        for record, tail in zip(records, batch.tails, strict=True):
            if tail:
                record.update(take_apart(b"{%b}" % tail.lstrip(b", ")))
    return records


def _json(value: Any) -> bytes:
    return bytes(value) if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)


def _fetched(batch: EditedRecords) -> list[bytes]:
    """The records in their order."""
    records: list[bytes] = [b""] * len(batch.starts)
    for source, path in enumerate(batch.paths):
        rows = np.flatnonzero(batch.sources == source)
        if len(rows) == len(records):
            return _gather(path, batch.starts, batch.stops)
        if len(rows):
            for row, record in zip(rows.tolist(), _gather(path, batch.starts[rows], batch.stops[rows]), strict=True):
                records[row] = record
    return records


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
