"""Changing fields of raw JSON records while everything else stays as it was: the one place where records are edited.

A record is taken apart into its own keys and the raw bytes of their values, so a key of the same name in a nested
object (`attributes`, `metadata`) is never met, whatever the bytes look like. Python's rules for `dict` apply: a field
that is set keeps its place, a new one comes last, and of a key that is there twice the last value counts, at the
first one's place, as `json.load` has it. Values keep their bytes; between fields stands what `json.dump` writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

BETWEEN = b", "
"""What stands between two records of a list, and two fields of a record, as `json.dump` writes them."""

RawFields = dict[str, "msgspec.Raw | bytes"]
"""A record taken apart: its own keys, and their values as JSON."""

_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MOST_FORMS = 4096
_forms: dict[tuple[str, ...], bytes] = {}


def take_apart(record: bytes | memoryview) -> RawFields:
    """The record's own keys, and the raw JSON of their values.

    Raises:
        msgspec.DecodeError: it is no JSON object.
    """
    fields: RawFields = _DECODER.decode(record)  # type: ignore[assignment]
    return fields


def put_together(fields: Mapping[str, msgspec.Raw | bytes]) -> bytes:
    """The record as JSON, laid out as `json.dump` does.

    >>> put_together({"id": b"7", "bbox": b"[0, 1.50, 2, 3]"})
    b'{"id": 7, "bbox": [0, 1.50, 2, 3]}'
    """
    # Records of a list mostly have the same keys: what stands between the values is made once for all of them.
    keys = tuple(fields)
    return (_forms.get(keys) or _form(keys)) % tuple(fields.values())


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
            fields[name] = value
    return put_together({**first, **fields} if first else fields)


def raw_fields(values: Mapping[str, Any]) -> dict[str, bytes]:
    """Plain values as raw JSON, as `json.dump` writes them."""
    return {name: json.dumps(value).encode() for name, value in values.items()}


def _form(keys: tuple[str, ...]) -> bytes:
    names = (json.dumps(key, ensure_ascii=False).encode().replace(b"%", b"%%") for key in keys)
    form = b"{%b}" % BETWEEN.join(b"%b: %%b" % name for name in names)
    if len(_forms) >= _MOST_FORMS:  # records whose keys are data: a place for each would only fill memory
        _forms.clear()
    _forms[keys] = form
    return form
