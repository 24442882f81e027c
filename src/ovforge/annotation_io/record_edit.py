"""Changing a few fields of one raw record while everything else stays as it was."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def edit_record(
    record: bytes, changes: Mapping[str, bytes | None], *, renamed: Mapping[str, str] | None = None
) -> bytes:
    """Set fields of one raw record to raw JSON values, or take them out (None).

    Fields keep their order, new ones come last; the values that stay keep their bytes. Fields in `renamed` get
    another name first; a field that had that name goes.
    """
    fields: dict[str, msgspec.Raw | bytes | None] = dict(_FIELDS.decode(record))
    for old, new in (renamed or {}).items():
        if old in fields:
            fields = {new if name == old else name: value for name, value in fields.items() if name != new}
    fields.update(changes)
    return (
        b"{"
        + b", ".join(
            b"%b: %b" % (msgspec.json.encode(name), bytes(value)) for name, value in fields.items() if value is not None
        )
        + b"}"
    )


def field_value(record: bytes, name: str) -> bytes | None:
    """The raw JSON value of one field, or None where the record has no such field."""
    value = _FIELDS.decode(record).get(name)
    return None if value is None else bytes(value)
