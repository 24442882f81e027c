"""Changing fields of raw JSON records while everything else stays as it was: the one place where records are edited.

A record is taken apart into its own keys and the raw bytes of their values, so a key of the same name in a nested
object (`attributes`, `metadata`) is never met, whatever the bytes look like. Python's rules for `dict` apply: a field
that is set keeps its place, a new one comes last, and of a key that is there twice the last value counts, at the
first one's place, as `json.load` has it. Values keep their bytes. Taking apart and putting together are msgspec's, so
a million records take seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

RawFields = dict[str, Any]
"""A record taken apart: its own keys, and their values: `msgspec.Raw` JSON, or plain values that are set."""

take_apart: Callable[[bytes | memoryview], RawFields] = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
"""The record's own keys, and the raw JSON of their values; msgspec.DecodeError if it is not a JSON object."""


def decode_record(record: bytes | memoryview) -> Any:
    """A record, or the value of a field, as plain values: what `json.load` has of it.

    A number that no float can hold (`1e400`) is JSON, and may be in a field that nobody uses: it is infinite.
    """
    try:
        return msgspec.json.decode(record)
    except (msgspec.ValidationError, RecursionError):
        return json.loads(bytes(record))


def put_together(fields: Mapping[str, Any]) -> bytes:
    """The record as JSON, laid out as `json.dump` does: the originals' files can be met byte for byte.

    >>> put_together({"id": 7, "bbox": msgspec.Raw(b"[0, 1.50, 2, 3]")})
    b'{"id": 7, "bbox": [0, 1.50, 2, 3]}'
    """
    return b"{%b}" % b", ".join(
        b"%b: %b" % (msgspec.json.encode(name), msgspec.json.encode(value)) for name, value in fields.items()
    )


def put_all_together(records: Iterable[RawFields]) -> bytes:
    """Records of a list as JSON, with the commas between them: no white space, in half the time."""
    return msgspec.json.encode(list(records))[1:-1]


def rename_fields(fields: RawFields, names: Mapping[str, str]) -> RawFields:
    """The fields, those in `names` under their new names and at their places; a field that had such a name goes."""
    for old, new in names.items():
        if old in fields and old != new:
            fields = {new if name == old else name: value for name, value in fields.items() if name != new}
    return fields


def edit_record(
    record: bytes | memoryview,
    changes: Mapping[str, bytes | None],
    *,
    renamed: Mapping[str, str] | None = None,
    first: Mapping[str, bytes] | None = None,
) -> bytes:
    """Set fields of one raw record to raw JSON values, or take them out (None).

    Args:
        changes: fields keep their order, new ones come last.
        renamed: fields that get another name before anything is set.
        first: fields to stand in front of the record's own; where it has one of them, its own value counts.

    >>> edit_record(b'{"id": 1, "attributes": {"area": 2}}', {"area": b"9", "id": None})
    b'{"attributes": {"area": 2}, "area": 9}'
    """
    fields = rename_fields(take_apart(record), renamed or {})
    for name, value in changes.items():
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = msgspec.Raw(value)
    if first:
        fields = {**{name: msgspec.Raw(value) for name, value in first.items()}, **fields}
    return put_together(fields)


def raw_fields(values: Mapping[str, Any]) -> dict[str, bytes]:
    """Plain values as raw JSON, as `json.dump` writes them."""
    return {name: json.dumps(value).encode() for name, value in values.items()}
