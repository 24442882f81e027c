"""The top-level keys of an annotation file, and where their values are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import msgspec

from ovforge.annotation_io import json_windows
from ovforge.annotation_io.json_text import EXPECTED, check_utf8, json_problem, opening_problem
from ovforge.errors import AnnotationFileError
from ovforge.files.byte_file import ByteFile

T = TypeVar("T")


class Section(NamedTuple):
    """Where the value of a top-level key is, in bytes."""

    start: int
    stop: int
    first_record: int | None
    """Position of the first record, where the value is a list of objects."""


def walk_sections(file: ByteFile, scan: Callable[[str, int], int | None]) -> Iterator[tuple[str, Section]]:
    """The top-level keys and where their values are, in file order.

    `scan(section, first_record)` is called for a list whose first element is an object and returns the position of its
    closing bracket, or None to have it skipped as any other value.
    """
    seen: set[str] = set()
    position = _opening(file)
    expect_more = False
    while True:
        position = file.skip_space(position)
        mark = file.read(position, position + 1)
        if mark == b"}" and not expect_more:
            break
        key_end = _expect_value(file, position, mark, b'"', "a key", after=seen)
        section = _decoded(file, position, key_end, str)
        if section in seen:
            raise AnnotationFileError(file.path, f'has the key "{section}" twice (again at byte {position:,})')
        position = file.skip_space(key_end)
        _expect(file, position, b":", f'after the key "{section}"')
        start = file.skip_space(position + 1)
        first_record = None
        if file.read(start, start + 1) == b"[":
            first = file.skip_space(start + 1)
            if file.read(first, first + 1) == b"{":
                first_record = first
        end = scan(section, first_record) if first_record is not None else None
        if end is not None:
            stop = end + 1
        else:
            stop = json_windows.value_end(file, start, inside=f'in the value of "{section}"')
            _decoded(file, start, stop, msgspec.Raw)
        seen.add(section)
        yield section, Section(start, stop, first_record)
        position = file.skip_space(stop)
        expect_more = file.read(position, position + 1) == b","
        if expect_more:
            position += 1
        elif file.read(position, position + 1) != b"}":
            _expect(file, position, b"}", f'after the value of "{section}"')
    rest = file.skip_space(position + 1)
    if rest < file.size:
        lines = file.read(rest, rest + 1) == b"{"
        raise AnnotationFileError(
            file.path,
            f"not JSON: there is more after the end, from byte {rest:,}",
            hint=f"it looks like JSON Lines, one object a line; {EXPECTED}" if lines else "",
        )


def _opening(file: ByteFile) -> int:
    """The position after the opening brace of the file's one object."""
    position = file.skip_space(0)
    if problem := opening_problem(file.read(0, 4) + file.read(4, position + 256)):
        raise AnnotationFileError(file.path, problem.text, hint=problem.hint)
    mark = file.read(position, position + 1)
    if mark == b"[":
        raise AnnotationFileError(file.path, f"is a list at its top level (byte {position:,})", hint=EXPECTED)
    if mark != b"{":
        raise AnnotationFileError(file.path, f"is not JSON: no object starts at byte {position:,}", hint=EXPECTED)
    return position + 1


def _expect(file: ByteFile, position: int, mark: bytes, place: str) -> None:
    found = file.read(position, position + 1)
    if not found:
        raise json_windows.truncated(file, place)
    if found != mark:
        raise AnnotationFileError(
            file.path, f"not JSON at byte {position:,}: {mark.decode()!r} expected {place}, found {found!r}"
        )


def _expect_value(file: ByteFile, position: int, mark: bytes, opening: bytes, what: str, *, after: set[str]) -> int:
    place = f"after {len(after)} top-level keys" if after else "at the start"
    if not mark:
        raise json_windows.truncated(file, place)
    if mark != opening:
        raise AnnotationFileError(file.path, f"not JSON at byte {position:,}: {what} expected {place}, found {mark!r}")
    return json_windows.value_end(file, position, inside=f"in {what}")


def _decoded(file: ByteFile, start: int, stop: int, kind: type[T]) -> T:
    data = file.read(start, stop)
    check_utf8(file.path, data, start, f"the value that starts at byte {start:,}")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise AnnotationFileError(
            file.path,
            f"not JSON: {json_problem(error, data, start)} (in the value that starts at byte {start:,})",
        ) from None
