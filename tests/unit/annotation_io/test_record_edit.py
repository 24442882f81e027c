"""Editing raw records: whatever a record looks like, the result is what `json` and a dictionary make of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovforge.annotation_io import edited_records
from ovforge.annotation_io.annotation_file import AnnotationFile
from ovforge.annotation_io.annotation_writer import write_annotation_file
from ovforge.annotation_io.edited_records import KEEP, Choice, Conversion, EditedRecords
from ovforge.annotation_io.record_edit import edit_record, raw_fields, take_apart

EXAMPLES = int(os.environ.get("OVFORGE_EDIT_EXAMPLES", "300"))

NAMES = [
    "id",
    "image_id",
    "segmentation",
    "mask",
    "file_name",
    "area",
    "attributes",
    'a"b',
    "\\",
    "{%b}",
    "é",
    "",
    "\U0001f600",
]
"""The names that edits go for, and names that look like something else."""

names = st.sampled_from(NAMES) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(['"id": 1', "}, {", "\\", ', "mask": [', "\u2028"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
)  # fmt: skip


class Pairs(list[tuple[str, Any]]):
    """An object as its keys and values in order: a key may come twice."""


values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(names, inner), max_size=3).map(Pairs),
    max_leaves=8,
)
fields = st.tuples(names, values) | st.tuples(st.just("pos_category_ids"), st.lists(st.integers(0, 9), max_size=4))
records = st.lists(fields, max_size=6).map(Pairs)
space = st.text(" \t\r\n", max_size=2)


@st.composite
def written(draw: st.DrawFn, record: st.SearchStrategy[Pairs] = records) -> str:
    """A record as JSON text: any white space, any escapes, keys twice."""
    ascii_ = draw(st.booleans())
    spaces = draw(st.lists(space, min_size=1, max_size=4))
    escaped = draw(st.booleans())
    place = 0

    def gap() -> str:
        nonlocal place
        place += 1
        return spaces[place % len(spaces)]

    def text(value: Any) -> str:
        if isinstance(value, Pairs):
            inside = ",".join(f"{gap()}{text(key)}{gap()}:{gap()}{text(item)}{gap()}" for key, item in value)
            return "{" + (inside or gap()) + "}"
        if isinstance(value, list):
            return "[" + (",".join(gap() + text(item) + gap() for item in value) or gap()) + "]"
        if isinstance(value, str) and escaped:  # every character as \\uXXXX
            units = value.encode("utf-16-be")
            return '"' + "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2)) + '"'
        return json.dumps(value, ensure_ascii=ascii_)

    return text(draw(record))


@st.composite
def edits(draw: st.DrawFn) -> tuple[dict[str, Any], list[str], dict[str, str], dict[str, Any]]:
    """What to set, to take out, to rename, and to put first."""
    return (
        draw(st.dictionaries(names, scalars, max_size=3)),
        draw(st.lists(names, max_size=2)),
        draw(st.dictionaries(names, names, max_size=2)),
        draw(st.dictionaries(names, scalars, max_size=2)),
    )


def plain_edit(record: dict[str, Any], set_: dict[str, Any], renamed: dict[str, str]) -> dict[str, Any]:
    """The same with a dictionary of Python's own."""
    for old, new in renamed.items():
        if old in record and old != new:
            record.pop(new, None)
            record = {new if key == old else key: value for key, value in record.items()}
    for name, value in set_.items():
        if value is REMOVED:
            record.pop(name, None)
        else:
            record[name] = value
    return record


REMOVED = object()


def in_order(value: Any) -> Any:
    """Dictionaries as lists, so that the order of keys counts; 1.0 is not 1."""
    if isinstance(value, dict):
        return ("object", [(key, in_order(item)) for key, item in value.items()])
    if isinstance(value, list):
        return [in_order(item) for item in value]
    return type(value), value


@settings(deadline=None, max_examples=EXAMPLES)
@given(text=written(), edit=edits())
def test_an_edited_record_is_what_json_makes_of_it(text: str, edit: Any) -> None:
    set_, removed, renamed, first = edit
    changes: dict[str, bytes | None] = {**raw_fields(set_), **dict.fromkeys(removed)}
    expected = plain_edit(json.loads(text), {**set_, **dict.fromkeys(removed, REMOVED)}, renamed)
    result = edit_record(text.encode(), changes, renamed=renamed)
    assert in_order(json.loads(result)) == in_order(expected)
    result = edit_record(text.encode(), changes, renamed=renamed, first=raw_fields(first))
    assert in_order(json.loads(result)) == in_order({**first, **expected})


@settings(deadline=None, max_examples=EXAMPLES)
@given(texts=st.lists(written(), min_size=1, max_size=6), data=st.data(), gap=space)
def test_edited_files_are_what_json_makes_of_them(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: st.DataObject, gap: str
) -> None:
    """All that `EditedRecords` does, in one go, over records in any order and more than once."""
    path = tmp_path_factory.mktemp("edit") / "in.json"
    path.write_text('{"records": [' + f"{gap},{gap}".join(texts) + "]}", "utf-8", newline="")
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=8), "rows")
    ids = data.draw(
        st.lists(st.just(KEEP) | st.integers(-(2**62), 2**62), min_size=len(rows), max_size=len(rows)), "ids"
    )
    notes = data.draw(st.lists(st.none() | scalars, min_size=len(rows), max_size=len(rows)), "notes")
    extra = data.draw(st.dictionaries(names, scalars, max_size=2), "tail")
    renumbered = data.draw(st.dictionaries(st.integers(0, 9), st.integers(0, 9), max_size=4), "renumbered")
    which = data.draw(st.lists(st.integers(-1, 1), min_size=len(rows), max_size=len(rows)), "which")
    added = data.draw(st.lists(st.just(KEEP) | st.integers(0, 9), min_size=len(rows), max_size=len(rows)), "added")
    removed, old, new = data.draw(names, "removed"), data.draw(names, "old"), data.draw(names, "new")
    tail = (", " + json.dumps(extra)[1:-1]).encode() if extra else b""
    with AnnotationFile(path, {"records": _Any}) as file:
        table = file.table("records", _Any)
        edited = EditedRecords(
            (path,),
            np.zeros(len(rows), np.int8),
            table.starts[rows] if rows else np.zeros(0, np.int64),
            table.stops[rows] if rows else np.zeros(0, np.int64),
            numbers={"id": np.array(ids, np.int64)},
            texts={"note": [None if note is None else json.dumps(note).encode() for note in notes]},
            appended={"track_id": np.arange(len(rows))},
            chosen={"kind": Choice(np.array(which, np.int8), (b'"a"', b"null"))},
            converted={"area": Conversion(_as_list, np.array(added, np.int64).reshape(-1, 1))},
            id_lists={"pos_category_ids": renumbered},
            tails=[tail] * len(rows),
            removed=(removed,),
            renamed={0: {old: new}},
        )
        out = path.with_name("out.json")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(edited_records, "_CACHE_BYTES", 100)
            write_annotation_file(out, {"records": [edited]})
    expected = []
    for number, row in enumerate(rows):
        set_ = {removed: REMOVED} | ({} if notes[number] is None else {"note": notes[number]})
        record = plain_edit(json.loads(texts[row]), {removed: REMOVED}, {old: new})
        del set_[removed]
        set_ |= {} if ids[number] == KEEP else {"id": ids[number]}
        record = plain_edit(record, {**set_, "track_id": number}, {})
        if which[number] >= 0:
            record["kind"] = ("a", None)[which[number]]
        if "area" in record and added[number] != KEEP:
            record["area"] = [record["area"], added[number]]
        if record.get("pos_category_ids"):
            record["pos_category_ids"] = [renumbered[one] for one in record["pos_category_ids"] if one in renumbered]
        expected.append(plain_edit(record, extra, {}))
    assert in_order(json.loads(out.read_bytes())) == in_order({"records": expected})


def _as_list(value: bytes, arguments: tuple[int, ...]) -> bytes:
    return b"[%b, %d]" % (value, arguments[0])


class _Any(msgspec.Struct):
    """A record of which nothing is wanted."""


def test_values_keep_their_bytes_and_fields_their_places() -> None:
    record = b'{ "a" : 1.50 , "n":{"area":[ 1e2 ]},"area" : 2,"b":"\\u00e9"}'
    assert edit_record(record, {"area": b"3", "z": b"null"}) == (
        b'{"a": 1.50, "n": {"area":[ 1e2 ]}, "area": 3, "b": "\\u00e9", "z": null}'
    )
    assert edit_record(record, {"n": None, "a": None}, renamed={"b": "area"}) == b'{"area": "\\u00e9"}'
    assert edit_record(b"{}", {}) == b"{}"
    assert edit_record(b"{}", {"a": b"1"}) == b'{"a": 1}'


@pytest.mark.parametrize("text", [b"[]", b"{", b'{"a": NaN}', b""])
def test_what_is_no_record_is_refused(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        take_apart(text)


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    assert list(tmp_path.iterdir()) == []
