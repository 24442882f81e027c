"""Changing a few fields of raw records while everything else stays as it was."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

import msgspec

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DIGITS = b"0123456789"
_FIRST_OF_A_NUMBER = frozenset(b"%d" % digit for digit in range(10))
_AFTER_A_NUMBER = frozenset([b",", b"}", b" ", b"\t", b"\r", b"\n"])


def edit_record(
    record: bytes, changes: Mapping[str, bytes | None], *, renamed: Mapping[str, str] | None = None
) -> bytes:
    """Set fields of one raw record to raw JSON values, or take them out (None).

    Fields keep their order, new ones come last; the values that stay keep their bytes. Fields in `renamed` get
    another name and come last, in the place of any field that has that name.
    """
    fields: dict[str, msgspec.Raw | bytes | None] = {**_FIELDS.decode(record), **changes}
    for old, new in (renamed or {}).items():
        if old in fields:
            fields[new] = fields.pop(old)
    return (
        b"{"
        + b", ".join(b"%b: %b" % (_name(field), bytes(value)) for field, value in fields.items() if value is not None)
        + b"}"
    )


def set_numbers(records: Sequence[bytes], field: str, values: Sequence[int]) -> list[bytes]:
    """Set an integer field of raw records, record i's to `values[i]`.

    Each record must have the field, with a number as its value, as it has where a record type with that field read it.
    """
    quick = _set_quickly(records, field, values)
    if quick is not None:
        return quick
    return [edit_record(record, {field: b"%d" % value}) for record, value in zip(records, values, strict=True)]


def set_text(record: bytes, field: str, value: bytes) -> bytes:
    """Set a field of a raw record that has other fields to a raw JSON value; a new field comes last."""
    if _name(field) in record or b"\\" in record:
        return edit_record(record, {field: value})
    return b"%b, %b: %b}" % (record[:-1], _name(field), value)


def _set_quickly(records: Sequence[bytes], field: str, values: Sequence[int]) -> list[bytes] | None:
    """Replace numbers without taking the records apart; None where that could hit something else.

    Without a backslash there is no quote inside a string, so a quoted field name before a colon is a key. Every
    record has that key, so where the quoted name is there once, that is the record's own and not an inner object's.
    """
    found = _before_number(field).search(records[0]) if records else None
    if found is None:
        return None
    # All at once, with a line feed between them; a record with one of its own goes the other way.
    joined = b"\n".join(records)
    key, name = found.group(), _name(field)
    heads_and_tails = joined.split(key)
    if (
        len(heads_and_tails) != len(records) + 1
        or joined.count(b"\n") != len(records) - 1
        or b"\\" in joined
        or joined.count(name) != len(records)
    ):
        return None
    after = heads_and_tails[1:]
    tails = [piece.lstrip(_DIGITS) for piece in after]
    # A key spaced in another way, a minus or a fraction.
    if not _FIRST_OF_A_NUMBER.issuperset({piece[:1] for piece in after}) or not _AFTER_A_NUMBER.issuperset(
        {tail[:1] for tail in tails}
    ):
        return None
    pieces = [heads_and_tails[0]] * (2 * len(records) + 1)
    pieces[1::2] = [b"%b%d" % (key, value) for value in values]
    pieces[2::2] = tails
    return b"".join(pieces).split(b"\n")


@cache
def _before_number(field: str) -> re.Pattern[bytes]:
    return re.compile(rb"%b[ \t\r\n]*:[ \t\r\n]*(?=[0-9])" % re.escape(_name(field)))


@cache
def _name(field: str) -> bytes:
    return msgspec.json.encode(field)
