"""LVIS and COCO annotation files of any size, read as raw records.

A training file holds a million records in a gigabyte; as Python objects they take ten. Here only the fields that a
step names are decoded, into columns, and records that a step does not change are copied byte for byte: fields,
numbers and key order unknown to ovforge come through as they were. Memory stays within a few windows
(see `json_windows`) plus the columns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io import json_windows
from ovforge.annotation_io.json_sections import Section, walk_sections
from ovforge.annotation_io.json_text import EXPECTED
from ovforge.annotation_io.schema import RecordType, decoder_of, struct_of
from ovforge.annotation_io.window_pool import Block, WindowPool, tabulate
from ovforge.errors import AnnotationFileError
from ovforge.files.byte_file import ByteFile, FileRange

T = TypeVar("T")


class _Nothing(msgspec.Struct):
    """A record of which no field is wanted."""


class RecordTable:
    """The records of one section as columns: `table["image_id"]` is a numpy array, one element a record.

    int, float and (float, float, float, float) fields become int64, float64 and float64 (n, 4); others are objects.
    `starts` and `stops` are the byte offsets of each record in the file.
    """

    def __init__(
        self, file: ByteFile, section: str, record: RecordType, blocks: list[Block], first_record: int = 0
    ) -> None:
        self.section = section
        self.record = record
        self._file = file
        self._spans: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        self._first_record = first_record
        names = [field.name for field in msgspec.structs.fields(struct_of(record))]
        if not blocks:
            window = json_windows.Window(b"", 0, [], None)
            blocks = [tabulate(file.path, window, record, section=section, first=0, spans=True)]
        self._length = sum(block.records for block in blocks)
        if all(block.spans is not None for block in blocks):
            self._spans = _joined([block.spans for block in blocks if block.spans is not None])
        self._columns = {name: np.concatenate([block.columns.pop(name) for block in blocks]) for name in names}

    def __len__(self) -> int:
        return self._length

    @property
    def starts(self) -> NDArray[np.int64]:
        """The byte offset of each record's opening brace."""
        return self._known_spans()[0]

    @property
    def stops(self) -> NDArray[np.int64]:
        """The byte offset after each record's closing brace."""
        return self._known_spans()[1]

    def _known_spans(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self._spans is None:  # not asked for when the file was read: only an error wants them now
            with WindowPool() as pool:
                blocks = pool.blocks(self._file, self._first_record, _Nothing, section=self.section, spans=True)
                self._spans = _joined([block.spans for block in blocks if block.spans is not None])
        return self._spans

    def __getitem__(self, field: str) -> NDArray[Any]:
        return self._columns[field]

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(self._columns)

    def add_column(self, field: str, values: NDArray[Any]) -> None:
        """Add a column that was computed from others."""
        self._columns[field] = values

    def raw(self, index: int) -> bytes:
        """The bytes of one record, braces included."""
        return self._file.read(int(self.starts[index]), int(self.stops[index]))

    def where(self, index: int) -> str:
        """How an error names a record: `annotation number 6 (byte 18,204)`, counted from 1."""
        return f"{json_windows.record_label(self.section, int(index))} (byte {int(self.starts[index]):,})"

    def error(self, index: int, problem: str, *, hint: str = "") -> AnnotationFileError:
        """An error about one record."""
        record = json_windows.record_label(self.section, int(index))
        return AnnotationFileError(self._file.path, problem, record=record, byte=int(self.starts[index]), hint=hint)

    def check_unique(self, field: str = "id") -> None:
        """Refuse two records with the same value in an integer field.

        Raises:
            AnnotationFileError: names the second record of the first pair in file order, and where the first is.
        """
        values = self._columns[field]
        in_order = np.sort(values)
        if bool(np.all(in_order[1:] > in_order[:-1])):
            return
        order = np.argsort(values, kind="stable")
        again = np.flatnonzero(values[order[1:]] == values[order[:-1]])
        second = int(order[again + 1].min())
        first = int(np.flatnonzero(values == values[second])[0])
        raise self.error(second, f"has the {field} {values[second]} of {self.where(first)}")

    def check_known(self, field: str, known: NDArray[Any], section: str) -> None:
        """Refuse a record whose `field` is not among `known`, the ids of `section`.

        Raises:
            AnnotationFileError: names the record, its byte and the value.
        """
        values = self._columns[field]
        unknown = np.flatnonzero(~np.isin(values, known))
        if len(unknown):
            raise self.error(
                int(unknown[0]),
                f'has {field} {values[unknown[0]]}, which is not in "{section}"'
                + (f" (and {len(unknown) - 1:,} more records)" if len(unknown) > 1 else ""),
                hint="the file is probably cut from another release; `ovforge doctor` shows which release each file is",
            )


def _joined(spans: list[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    starts, stops = zip(*spans, strict=True)
    return np.concatenate(starts), np.concatenate(stops)


class AnnotationFile:
    """An open annotation file: its top-level keys in order, and tables of its records.

    Give the record types of the sections that are wanted, so that one pass over the file does everything; a table
    that is asked for later takes another pass over its section. Name in `spans` the sections of which the records'
    byte offsets will be wanted, if not all: without them a section is read a tenth faster. Record types are classes
    of a module, so that worker processes find them.

    Raises:
        MissingInputError: there is no such file.
        AnnotationFileError: not JSON, cut short, or a record lacks a field that its type wants; says where.
    """

    def __init__(
        self,
        path: Path | str,
        records: Mapping[str, RecordType] | None = None,
        *,
        spans: Collection[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self._file = ByteFile(self.path)
        self._wanted = dict(records or {})
        self._with_spans = self._wanted.keys() if spans is None else spans
        self._tables: dict[str, RecordTable] = {}
        self._spans: dict[str, Section] = {}
        try:
            with WindowPool() as pool:
                for section, span in walk_sections(self._file, lambda section, at: self._scan(pool, section, at)):
                    self._spans[section] = span
            for section in self._wanted:
                self.table(section, self._wanted[section])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> AnnotationFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop) of the file."""
        return self._file.read(start, stop)

    def close(self) -> None:
        """Close the file. Tables stay usable, but for `raw`."""
        self._file.close()

    @property
    def descriptor(self) -> int:
        """The open file, for reading by position."""
        return self._file.descriptor

    @property
    def size(self) -> int:
        """The file's size in bytes."""
        return self._file.size

    @property
    def sections(self) -> tuple[str, ...]:
        """The top-level keys, in file order."""
        return tuple(self._spans)

    def table(self, section: str, record: RecordType) -> RecordTable:
        """The records of `section` as columns of `record`'s fields."""
        if section not in self._tables or self._tables[section].record != record:
            self._tables[section] = self.new_table(section, record)
        return self._tables[section]

    def new_table(self, section: str, record: RecordType) -> RecordTable:
        """The records of `section` as columns of `record`'s fields, by another pass over the section."""
        span = self._span(section)
        if span.first_record is None:
            _check_empty(self._file, section, span)
            return RecordTable(self._file, section, record, [])
        with WindowPool() as pool:
            blocks = list(pool.blocks(self._file, span.first_record, record, section=section, spans=True))
        return RecordTable(self._file, section, record, blocks, span.first_record)

    def value(self, section: str) -> bytes:
        """The raw JSON bytes of one top-level value."""
        span = self._span(section)
        return self._file.read(span.start, span.stop)

    def whole(self, section: str) -> FileRange:
        """One top-level value as a range to copy."""
        span = self._span(section)
        return FileRange(self._file, span.start, span.stop)

    def runs(self, table: RecordTable, keep: NDArray[np.bool_]) -> Iterator[FileRange]:
        """The kept records as few ranges as possible: neighbours come in one, with what stands between them."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], keep, [False]]).astype(np.int8)))
        for first, after in zip(edges[0::2].tolist(), edges[1::2].tolist(), strict=True):
            yield FileRange(self._file, int(table.starts[first]), int(table.stops[after - 1]))

    def rows(self, table: RecordTable, first: int, after: int) -> Iterator[FileRange]:
        """The records [first, after) as one range, or nothing if there are none."""
        if first < after:
            yield FileRange(self._file, int(table.starts[first]), int(table.stops[after - 1]))

    def _span(self, section: str) -> Section:
        try:
            return self._spans[section]
        except KeyError:
            raise _missing(self.path, section, self.sections) from None

    def _scan(self, pool: WindowPool, section: str, first_record: int) -> int | None:
        if section not in self._wanted:
            return _skip_records(pool, self._file, section, first_record)
        record = self._wanted[section]
        with_spans = section in self._with_spans
        blocks = list(pool.blocks(self._file, first_record, record, section=section, spans=with_spans))
        self._tables[section] = RecordTable(self._file, section, record, blocks, first_record)
        return blocks[-1].array_end


def read_records(path: Path | str, section: str, record: type[T]) -> Iterator[T]:
    """The records of one section as typed structs, streamed.

    Raises:
        MissingInputError: there is no such file.
        AnnotationFileError: not JSON, no such section, or a record that does not fit; says where.
    """
    with ByteFile(Path(path)) as file, WindowPool() as pool:
        sections = []
        for name, span in walk_sections(
            file, lambda name, at: at if name == section else _skip_records(pool, file, name, at)
        ):
            sections.append(name)
            if name != section:
                continue
            if span.first_record is not None:
                decoder = decoder_of(record)
                for window in json_windows.iterate_windows(
                    file, span.first_record, decoder, section=section, fresh=True
                ):
                    yield from window.records
            else:
                _check_empty(file, section, span)
            return
        raise _missing(Path(path), section, tuple(sections))


def read_value(path: Path | str, section: str) -> bytes:
    """The raw JSON bytes of one top-level value.

    Raises:
        MissingInputError: there is no such file.
        AnnotationFileError: not JSON up to there, or no such section.
    """
    with ByteFile(Path(path)) as file, WindowPool() as pool:
        sections = []
        for name, span in walk_sections(file, lambda name, at: _skip_records(pool, file, name, at)):
            sections.append(name)
            if name == section:
                return file.read(span.start, span.stop)
        raise _missing(Path(path), section, tuple(sections))


def _skip_records(pool: WindowPool, file: ByteFile, section: str, first_record: int) -> int | None:
    end = None
    # A list that starts with an object may go on with something else; nobody has said that it holds records.
    with contextlib.suppress(json_windows.MixedListError):
        for block in pool.blocks(file, first_record, _Nothing, section=section, spans=False):
            end = block.array_end
    return end


def _check_empty(file: ByteFile, section: str, span: Section) -> None:
    """Refuse a section that does not begin with a record, unless it is an empty list."""
    value = msgspec.json.decode(file.read(span.start, span.stop))
    if value is None:
        raise AnnotationFileError(
            file.path, f'"{section}" (byte {span.start:,}) is null: it needs a list of records', hint=EXPECTED
        )
    if isinstance(value, list) and value:
        raise json_windows.not_a_record(file, file.skip_space(span.start + 1), section, 0)
    if value != []:
        raise AnnotationFileError(
            file.path, f'"{section}" (byte {span.start:,}) is not a list of records', hint=EXPECTED
        )


def _missing(path: Path, section: str, sections: tuple[str, ...]) -> AnnotationFileError:
    found = ", ".join(sections) if sections else "no keys at all"
    return AnnotationFileError(path, f'has no "{section}" (it has {found})', hint=EXPECTED)
