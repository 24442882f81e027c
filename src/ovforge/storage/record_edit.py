"""Changing a few fields of raw records while everything else stays as it was."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

import msgspec

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RECORDS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def edit_record(record: bytes, changes: Mapping[str, bytes | None]) -> bytes:
    """Set fields of one raw record to raw JSON values, or take them out (None).

    Fields keep their order, new ones come last; the values that stay keep their bytes.
    """
    return _assemble(_FIELDS.decode(record), changes)


def edit_numbers(records: bytes, count: int, changes: Mapping[str, Sequence[int]]) -> bytes:
    """Set integer fields of `count` raw records, which stand one after the other with commas between them.

    `changes[field]` holds the new values in the order of the records. Each record must have each field, with a number
    as its value, as it has where a record type with that field read it.
    """
    quick = _edit_quickly(records, count, changes)
    if quick is not None:
        return quick
    decoded = _RECORDS.decode(b"[%b]" % records)
    return b", ".join(
        _assemble(record, {field: b"%d" % values[index] for field, values in changes.items()})
        for index, record in enumerate(decoded)
    )


def _edit_quickly(records: bytes, count: int, changes: Mapping[str, Sequence[int]]) -> bytes | None:
    """Replace numbers without taking the records apart; None where that could hit something else.

    Without a backslash there is no quote inside a string, so a quoted field name before a colon is a key. Every
    record has that key, so if there are as many as records, each is its record's own and not that of an object in it.
    """
    if b"\\" in records:
        return None
    for field, values in changes.items():
        pieces = _number_after(field).split(records)
        if len(pieces) != 2 * count + 1:
            return None
        edited: list[bytes] = [b""] * (3 * count + 1)
        edited[0::3] = pieces[0::2]
        edited[1::3] = pieces[1::2]
        edited[2::3] = [b"%d" % value for value in values]
        records = b"".join(edited)
    return records


@cache
def _number_after(field: str) -> re.Pattern[bytes]:
    return re.compile(rb'("%b"[ \t\r\n]*:[ \t\r\n]*)-?[0-9][0-9.eE+-]*' % re.escape(field.encode()))


def _assemble(fields: Mapping[str, msgspec.Raw | bytes], changes: Mapping[str, bytes | None]) -> bytes:
    changed: dict[str, msgspec.Raw | bytes | None] = {**fields, **changes}
    return (
        b"{"
        + b", ".join(
            b"%b: %b" % (msgspec.json.encode(field), bytes(value))
            for field, value in changed.items()
            if value is not None
        )
        + b"}"
    )


def remove_field(records: bytes, field: str) -> bytes:
    """Take a field out of each of raw records that stand one after the other with commas between them."""
    return b", ".join(_assemble(record, {field: None}) for record in _RECORDS.decode(b"[%b]" % records))
