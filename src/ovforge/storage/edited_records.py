"""Many records of annotation files in a new order, with a few fields changed: a part of a new annotation file.

What is to be done is worked out in columns; the records themselves are only met by the worker processes, which
fetch them, change them and write them, a megabyte at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ovforge.errors import AnnotationFileError
from ovforge.records.reporting import Progress, no_progress
from ovforge.storage.record_edit import edit_record, set_numbers, set_text

KEEP = -(2**63)
"""Among new numbers: this record's stays as it is, or is not added."""
BATCH_BYTES = 1 << 20

Ints = NDArray[np.int64]


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
    """Integer fields to be added at the end."""
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

    def batches(self) -> Iterator[tuple[_Batch]]:
        """Arguments for `edited`, with about a megabyte each."""
        if not len(self):
            return
        ends = np.cumsum(self.stops - self.starts)
        edges = np.flatnonzero(np.diff(ends // BATCH_BYTES)) + 1
        for start, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(self)], strict=True):
            self.progress(self.stage, start, len(self))
            part = slice(start, stop)
            yield (
                _Batch(
                    start > 0,
                    tuple(self.paths),
                    self.sources[part],
                    self.starts[part],
                    self.stops[part],
                    {name: values[part] for name, values in self.numbers.items()},
                    {name: values[part] for name, values in self.texts.items()},
                    {name: values[part] for name, values in self.appended.items()},
                    None if self.tails is None else self.tails[part],
                    self.removed,
                    self.renamed,
                ),
            )


class _Batch(NamedTuple):
    """A part of `EditedRecords`, as it goes to a worker."""

    goes_on: bool
    """Whether a comma comes first."""
    paths: tuple[Path, ...]
    sources: NDArray[np.int8]
    starts: Ints
    stops: Ints
    numbers: dict[str, Ints]
    texts: dict[str, Sequence[bytes | None]]
    appended: dict[str, Ints]
    tails: Sequence[bytes] | None
    removed: tuple[str, ...]
    renamed: Mapping[int, Mapping[str, str]]


def edited(batch: _Batch) -> bytes:
    """The records of a batch, fetched and changed, with the commas between them.

    Raises:
        AnnotationFileError: a file is no longer as long as it was.
    """
    records = _fetched(batch)
    for name, values in batch.numbers.items():
        for source in range(len(batch.paths)):  # one file's records are laid out alike, which is quicker
            rows = np.flatnonzero((values != KEEP) & (batch.sources == source))
            if len(rows) == len(records):
                records = set_numbers(records, name, values.tolist())
            elif len(rows):
                places = rows.tolist()
                changed = set_numbers([records[place] for place in places], name, values[rows].tolist())
                for place, record in zip(places, changed, strict=True):
                    records[place] = record
    for source, names in batch.renamed.items():
        keys = [b'"%b"' % old.encode() for old in names]
        for row in np.flatnonzero(batch.sources == source).tolist():
            if any(key in records[row] for key in keys):
                records[row] = edit_record(records[row], {}, renamed=names)
    if batch.removed:
        records = [edit_record(record, dict.fromkeys(batch.removed)) for record in records]
    for name, texts in batch.texts.items():
        records = [
            record if text is None else set_text(record, name, text)
            for record, text in zip(records, texts, strict=True)
        ]
    if batch.appended or batch.tails:
        ends = _ends(batch, len(records))
        records = [record[:-1] + end for record, end in zip(records, ends, strict=True)]
    return (b", " if batch.goes_on else b"") + b", ".join(records)


def _fetched(batch: _Batch) -> list[bytes]:
    records: list[bytes] = [b""] * len(batch.starts)
    for source, path in enumerate(batch.paths):
        rows = np.flatnonzero(batch.sources == source)
        if not len(rows):
            continue
        starts, stops = batch.starts[rows], batch.stops[rows]
        found = _read(path, starts, stops)
        if sum(map(len, found)) != int((stops - starts).sum()):
            raise AnnotationFileError(path, "changed while it was read", hint="run the same command again")
        if len(rows) == len(records):
            return found
        for row, record in zip(rows.tolist(), found, strict=True):
            records[row] = record
    return records


def _read(path: Path, starts: Ints, stops: Ints) -> list[bytes]:
    first, after = int(starts.min()), int(stops.max())
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if after - first < 4 * BATCH_BYTES:  # neighbours: one call to the system for all
            data = os.pread(descriptor, after - first, first)
            return [
                data[start:stop]
                for start, stop in zip((starts - first).tolist(), (stops - first).tolist(), strict=True)
            ]
        # Millions of small reads in all: nothing but the call itself. Whether all came is seen by who called.
        pread = os.pread
        sizes = (stops - starts).tolist()
        return [pread(descriptor, size, start) for size, start in zip(sizes, starts.tolist(), strict=True)]
    finally:
        os.close(descriptor)


def _ends(batch: _Batch, count: int) -> list[bytes]:
    """What comes in the place of each record's closing brace."""
    parts: list[Sequence[bytes]] = []
    everywhere = {name: values for name, values in batch.appended.items() if not np.any(values == KEEP)}
    for name, values in batch.appended.items():
        if name not in everywhere:
            form = b', "%b": %%d' % name.encode()
            parts.append([form % value if value != KEEP else b"" for value in values.tolist()])
    if everywhere:
        form = b"".join(b', "%b": %%d' % name.encode() for name in everywhere)
        parts.append([form % row for row in zip(*(values.tolist() for values in everywhere.values()), strict=True)])
    if batch.tails:
        parts.append(batch.tails)
    parts.append([b"}"] * count)
    return list(map(b"".join, zip(*parts, strict=True)))
