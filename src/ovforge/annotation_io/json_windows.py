"""Reading a long JSON array of objects in windows, from any place that is known to be the start of a record.

Where a record ends is only known after reading it, but where it probably ends is seen at once: at `}`, a comma and
`{`. So a window is cut at such a place, unread, and the guess is proven afterwards: a window that starts at a record
and decodes, between brackets, as whole records, must end at a record's end, because a cut inside a string or a
nested value would leave something open. By induction each window proves the start of the next. So windows can be
decoded in any order, by several processes, as long as somebody checks them in order. Where a guess fails (nested
objects, braces in strings, the end of the array, a malformed file), `exact_window` reads token by token.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.json_text import check_utf8, is_ascii, json_problem
from ovforge.annotation_io.schema import RecordProblem
from ovforge.errors import AnnotationFileError
from ovforge.files.byte_file import ByteFile

WINDOW_BYTES = 512 << 10
_GUESS_BYTES = 64 << 10
_STEP = 128 << 10
_NONE = np.zeros(0, np.int64)

_BETWEEN_RECORDS = re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*\{")
_ARRAY_END = re.compile(rb"\}[ \t\r\n]*\]")
_TOKEN = re.compile(rb'["\[\]{}]')
_REFUSED = (msgspec.DecodeError, RecursionError, RecordProblem, UnicodeDecodeError)
"""What a decoder raises at records that it cannot read."""
_STRING_REST = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class MixedListError(AnnotationFileError):
    """A list that holds objects and something else."""


class Window(NamedTuple):
    """Whole records, read and decoded."""

    data: bytes | memoryview
    """The bytes from the first record's start to the last one's end; those of a `WindowReader` until its next."""
    start: int
    """Position of `data` in the file."""
    records: list[Any]
    array_end: int | None
    """Position of the array's closing bracket, if it comes right after these records."""

    @property
    def stop(self) -> int:
        """Position after the last record."""
        return self.start + len(self.data)


def guess_boundary(file: ByteFile, at: int) -> tuple[int, int]:
    """Where a record probably ends, at or after `at`: (position after its `}`, position of the next `{`)."""
    while at < file.size:
        data = file.read(at, at + _GUESS_BYTES)
        if match := _BETWEEN_RECORDS.search(data):
            return at + match.start() + 1, at + match.end() - 1
        # White space around the comma may straddle the edge.
        at += len(data) - min(1024, len(data) // 2) if len(data) > 1 else 1
    return file.size, file.size


class WindowReader:
    """Reads and decodes windows of one file, each into the memory of the one before.

    Fresh memory for each would cost as much as decoding it: the system has to find and clear its pages. But records
    with a `msgspec.Raw` hold on to the bytes that they were decoded from; who keeps those needs `fresh` memory.
    """

    def __init__(self, file: ByteFile, decoder: Any, *, fresh: bool = False) -> None:
        self._file = file
        self._decode = decoder.decode
        self._fresh = fresh
        self._memory = memoryview(b"")

    def guessed(self, start: int, stop: int) -> Window | None:
        """Decode the window [start, stop), or as much of it as belongs to the array; None if the guess was wrong."""
        size = stop - start + 2
        if self._fresh or len(self._memory) < size:
            self._memory = memoryview(bytearray(b"[") * max(size, WINDOW_BYTES + _GUESS_BYTES))
        data = self._file.read_into(self._memory[1 : 1 + stop - start], start)
        if not is_ascii(data):
            try:
                str(data, "utf-8")
            except UnicodeDecodeError:
                return None
        if stop < self._file.size:  # at the end of the file there is no next record that this one could prove
            with contextlib.suppress(*_REFUSED):
                return Window(data, start, self._decoded(data), None)
        if end := _ARRAY_END.search(data):
            with contextlib.suppress(*_REFUSED):
                whole = data[: end.start() + 1]
                return Window(whole, start, self._decoded(whole), start + end.end() - 1)
        return None

    def _decoded(self, data: memoryview) -> list[Any]:
        """The records of the memory's bytes after the first, which is the opening bracket."""
        after = len(data) + 1
        kept, self._memory[after] = self._memory[after], ord("]")
        try:
            records: list[Any] = self._decode(self._memory[: after + 1])
            return records
        finally:
            self._memory[after] = kept


def exact_window(file: ByteFile, start: int, decoder: Any, *, section: str, first: int) -> Window:
    """Read about a window's worth of records from `start` token by token.

    `section` and `first`, the number of the first record in its array, are for the error's text.

    Raises:
        AnnotationFileError: the file ends too early, or a record is malformed; names the record and its byte.
    """
    spans: list[tuple[int, int]] = []
    position, array_end = start, None
    while position < start + WINDOW_BYTES:
        stop = value_end(file, position, inside=f"{record_label(section, first + len(spans))}")
        spans.append((position, stop))
        after = file.skip_space(stop)
        mark = file.read(after, after + 1)
        if mark == b"]":
            array_end = after
            break
        position = file.skip_space(after + 1)
        if mark == b"," and file.read(position, position + 1) == b"{":
            continue
        if not mark or (mark == b"," and position >= file.size):
            raise truncated(file, f'in the list "{section}", after record number {len(spans) + first:,}')
        if mark != b",":
            raise AnnotationFileError(
                file.path,
                f'not JSON at byte {after:,}: in the list "{section}", after record number {len(spans) + first:,}, '
                "a comma or a closing bracket was expected",
            )
        raise not_a_record(file, position, section, len(spans) + first)
    data = file.read(start, spans[-1][1])
    for begin, end in spans if not is_ascii(data) else ():
        inside = f"{record_label(section, first + spans.index((begin, end)))} (byte {begin:,})"
        check_utf8(file.path, data[begin - start : end - start], begin, inside)
    try:
        return Window(data, start, decoder.decode(b"[%b]" % data), array_end)
    except _REFUSED:
        one_by_one = [(data[a - start : b - start], a) for a, b in spans]
    records: list[Any] = []
    for number, (record, position) in enumerate(one_by_one, first):
        try:
            records += decoder.decode(b"[%b]" % record)
        except (msgspec.ValidationError, RecordProblem) as error:
            raise AnnotationFileError(
                file.path, _in_words(error), record=record_label(section, number), byte=position
            ) from None
        except _REFUSED as error:
            raise AnnotationFileError(
                file.path,
                f"is not JSON: {json_problem(error, b'[%b]' % record, position - 1)}",
                record=record_label(section, number),
                byte=position,
            ) from None
    return Window(data, start, records, array_end)


def value_end(file: ByteFile, start: int, *, inside: str) -> int:
    """The position after the JSON value that starts at `start`. Only brackets and strings are looked at.

    Raises:
        AnnotationFileError: the file ends before the value does.
    """
    opening = file.read(start, start + 1)
    if not opening:
        raise truncated(file, inside)
    if opening not in b'[{"':
        size = 64
        while True:
            data = file.read(start, start + size)
            if match := re.search(rb"[ \t\r\n,\]}]", data):
                return start + match.start()
            if len(data) < size:
                return start + len(data)
            size *= 2
    size = 4096
    data = file.read(start, start + size)
    depth = position = 0
    while True:
        token = _TOKEN.search(data, position)
        end = token.end() if token else len(data)
        if token and token.group() == b'"':
            rest = _STRING_REST.match(data, end)
            if rest:
                end = rest.end()
            else:
                token = None
        elif token:
            depth += 1 if token.group() in b"[{" else -1
        if token:
            if depth == 0:
                return start + end
            position = end
        else:  # a token or a string is cut: read on, from where the last whole one ended
            if len(data) < size:
                raise truncated(file, inside)
            start += position
            size *= 2
            data, position = file.read(start, start + size), 0


def record_spans(window: Window) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions in the file of each record's `{` and of the byte after its `}`."""
    count = len(window.records)
    codes = np.frombuffer(window.data, np.uint8)
    # Every record has one `{` of its own, so if there are no more than records, each of them starts one. No other
    # byte of ASCII text but `|`, `~` and DEL is as high as `{`, so one comparison usually finds both kinds of braces.
    # In small steps, so that what is compared stays in the processor's cache.
    braces = np.concatenate(
        [np.flatnonzero(codes[at : at + _STEP] >= ord("{")) + at for at in range(0, len(codes), _STEP)] or [_NONE]
    )
    if len(braces) != 2 * count:
        braces = braces[(codes[braces] == ord("{")) | (codes[braces] == ord("}"))]
    if len(braces) == 2 * count and bool(np.all(codes[braces[0::2]] == ord("{"))):
        return braces[0::2] + window.start, braces[1::2] + (window.start + 1)
    if not (codes == ord("\\")).any():
        # Records in records: every quote opens or closes a string, and braces outside strings come in pairs.
        braces = braces[np.searchsorted(np.flatnonzero(codes == ord('"')), braces) % 2 == 0]
        depth = np.cumsum(np.where(codes[braces] == ord("{"), 1, -1))
        outside = np.append(0, depth) == 0
        return braces[outside[:-1]] + window.start, braces[outside[1:]] + (window.start + 1)
    starts, stops = np.empty(count, np.int64), np.empty(count, np.int64)
    data, position = bytes(window.data), 0
    for index, raw in enumerate(msgspec.json.decode(b"[%b]" % data, type=list[msgspec.Raw])):
        # Between two records there are white space and a comma only.
        start = data.index(b"{", position)
        position = start + len(bytes(raw))
        starts[index], stops[index] = window.start + start, window.start + position
    return starts, stops


def iterate_windows(
    file: ByteFile,
    start: int,
    decoder: Any,
    *,
    section: str,
    first: int = 0,
    fresh: bool = False,
) -> Iterator[Window]:
    """The windows of the array whose first record starts at `start`, in order, the last one with its `array_end`.

    Each is valid until the next, or, with `fresh`, for as long as it is kept.
    """
    reader = WindowReader(file, decoder, fresh=fresh)
    while True:
        stop, following = guess_boundary(file, start + WINDOW_BYTES)
        window = reader.guessed(start, stop)
        if window is None:
            window = exact_window(file, start, decoder, section=section, first=first)
            following = next_start(file, window)
        yield window
        if window.array_end is not None:
            return
        first += len(window.records)
        start = following


def next_start(file: ByteFile, window: Window) -> int:
    """Where the record after the window's last one starts."""
    if window.array_end is not None:
        return window.array_end
    return file.skip_space(file.skip_space(window.stop) + 1)


def record_label(section: str, index: int) -> str:
    """How an error names a record: `annotation number 6`, counted from 1."""
    kinds = {"annotations": "annotation", "images": "image", "categories": "category"}
    kind = kinds.get(section)
    return f"{kind} number {index + 1:,}" if kind else f'record number {index + 1:,} of "{section}"'


def truncated(file: ByteFile, inside: str) -> AnnotationFileError:
    """The error for a file that ends too early."""
    return AnnotationFileError(
        file.path,
        f"the file is cut short: it ends at byte {file.size:,}, {inside}",
        hint="download or unpack it again, and compare its size with the original's",
    )


def not_a_record(file: ByteFile, position: int, section: str, index: int) -> AnnotationFileError:
    """The error for an entry of a list of records, at `position`, that is not an object."""
    found = file.read(position, position + 16)
    what = {b"n": "null", b"[": "a list", b'"': "text", b"t": "true", b"f": "false", b"]": "nothing"}.get(
        found[:1], "a number" if found[:1] in b"-0123456789" else repr(found[:1].decode("latin-1"))
    )
    return MixedListError(
        file.path,
        f'is {what}: in the list "{section}" another record was expected, an object {{...}}',
        record=record_label(section, index),
        byte=position,
        hint="take the entry out, and the comma before it",
    )


def _in_words(error: Exception) -> str:
    if isinstance(error, RecordProblem):
        return str(error)
    text = re.sub(r" - at `\$\[(?:\d+|\.\.\.)\](.*)`$", lambda m: f" at {m[1].lstrip('.')}" if m[1] else "", str(error))
    if missing := re.fullmatch(r"Object missing required field `(\w+)`(.*)", text):
        return f"has no {missing[1]}{missing[2]}"
    return f"has a wrong value: {text[:1].lower() + text[1:]}"
