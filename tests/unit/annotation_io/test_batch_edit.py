"""Many records edited in one buffer: what taking each apart gives, or a refusal; never anything else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ovforge.annotation_io.batch_edit import BatchEdit, NotPlainError

Spans = tuple[bytes, NDArray[np.int64], NDArray[np.int64]]


def placed(records: list[bytes], between: bytes = b", ", around: bytes = b"") -> Spans:
    """A buffer with the records, and where each is."""
    sizes = np.array([len(record) for record in records])
    starts = len(around) + np.cumsum(sizes + len(between)) - sizes - len(between)
    return around + between.join(records) + around, starts, starts + sizes


def plain_records(count: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    records = []
    for n in range(count):
        record: dict[str, Any] = {
            "bbox": random.uniform(0, 1e3, 4).tolist(),
            "id": int(10 ** random.uniform(0, 9)),
            "segmentation": [random.uniform(0, 600, 6).round(2).tolist() for _ in range(random.integers(1, 4))],
            "image_id": n,
            "note": ["a cat, a dog", "[{", "", "}], {"][n % 4],
            "ids": random.integers(0, 1000, n % 4).tolist(),
        }
        if n % 10 == 3:
            record["segmentation"] = {"size": [480, 640], "counts": [1, 2, 3]}
        if n % 7 == 2:
            del record["ids"]
        records.append(record)
    return records


@pytest.mark.parametrize("between", [b", ", b",\n  ", b","])
def test_all_edits_of_plain_records_at_once(between: bytes) -> None:
    records = plain_records(300)
    edit = BatchEdit(*placed([json.dumps(record).encode() for record in records], between, b"  "))
    every, some = np.arange(300), np.arange(0, 300, 3)
    edit.set_numbers(every, "id", every * 1000)
    edit.set_numbers(some, "image_id", -some)
    edit.set_texts(some, "ids", [b"[%d]" % n for n in some.tolist()])
    edit.set_texts(np.arange(5), "note", [b'"new"'] * 5)
    edit.set_texts(some, "extra", [b"{}"] * len(some))
    edit.rename(every, "segmentation", "mask")
    edit.remove(every, "bbox")
    edit.append_numbers(every, [("track_id", every), ("video_id", -every)])
    edit.append(some, [b', "tail": []'] * len(some))
    for n, record in enumerate(records):
        record["id"] = n * 1000
        record["mask"] = record.pop("segmentation")
        del record["bbox"]
        if n < 5:
            record["note"] = "new"
        if n % 3 == 0:
            record |= {"image_id": -n, "ids": [n], "extra": {}, "tail": []}
        record |= {"track_id": n, "video_id": -n}
    result = edit.result(b"[")
    assert json.loads(result + b"]") == records
    assert result.count(b"}, {") >= 299


def test_records_that_are_left_out_are_not_looked_at() -> None:
    data, starts, stops = placed([b'{"id": 1}', b'{"id": 2, "x": "id"}', b'{"id": 3}'])
    edit = BatchEdit(data, starts[::2], stops[::2])
    edit.set_numbers(np.arange(2), "id", np.array([70, 80]))
    assert edit.result() == b'{"id": 70}, {"id": 80}'


def test_no_edit_changes_no_byte() -> None:
    records = [b'{"id":1,"x" : 1.50}', b'{ "id": 1e3 }', b"{}"]
    assert BatchEdit(*placed(records)).result() == b", ".join(records)


NASTY = [
    b'{"x": {"id": 7}, "id": 5}',
    b'{"id" : 5, "y": "id"}',
    b'{"x": "\\"id\\": 4", "id": 5}',
    b'{"id": -5}',
    b'{"id": 5.0, "x": 2}',
    b'{"id": 5e0}',
    b'{"id":  5}',
    b'{\n"id":\n5\n}',
    b'{"id": 5, "y": "id"}',
]


@pytest.mark.parametrize(
    "record", [b'{"id": 5, "x": 1}', b'{"id":5}', b'{"id":5 , "i":"d: 3"}', b'{"x": ", {", "id": 5}', *NASTY]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_number_is_set_where_it_is_sure_to_be_the_fields(record: bytes, place: int) -> None:
    records = [b'{"id": 1, "x": 0}', b'{"y": 0, "id": 123}']
    records.insert(place, record)
    expected = [{**json.loads(one), "id": 10 + n} for n, one in enumerate(records)]
    try:
        edit = BatchEdit(*placed(records))
        edit.set_numbers(np.arange(3), "id", np.arange(10, 13))
        result = edit.result()
    except NotPlainError:
        assert record in NASTY
    else:
        assert json.loads(b"[%b]" % result) == expected


@pytest.mark.parametrize(
    ("record", "left"),
    [
        (b'{"a": 1, "m": [[1, [2]], {"x": "]"}], "b": 2}', b'{"a": 1, "b": 2}'),
        (b'{"m": {"counts": "][", "size": [1, 2]}, "b": 2}', b'{"b": 2}'),
        (b'{"a": 1, "m": []}', b'{"a": 1}'),
        (b'{"a": 1, "m": "[["}', b'{"a": 1}'),
        (b'{"a": 1}', b'{"a": 1}'),
        (b'{"m": []}', None),
        (b'{"a": 1 ,"m": []}', None),
        (b'{"a": 1, "m": 5}', None),
        (b'{"a": 1, "m": [], "n": {"m": []}}', None),
    ],
)
def test_a_field_is_taken_out_with_its_comma(record: bytes, left: bytes | None) -> None:
    try:
        edit = BatchEdit(*placed([record, b'{"m": [3], "c": 0}']))
        edit.remove(np.arange(2), "m")
        result = edit.result()
    except NotPlainError:
        assert left is None
    else:
        assert left is not None
        assert result == left + b', {"c": 0}'


def test_edits_in_each_others_way_are_refused() -> None:
    edit = BatchEdit(*placed([b'{"a": [], "b": []}']))
    edit.remove(np.arange(1), "a")
    edit.remove(np.arange(1), "b")
    with pytest.raises(NotPlainError):
        edit.result()
    twice = BatchEdit(*placed([b'{"track_id": 1}']))
    with pytest.raises(NotPlainError):
        twice.append_numbers(np.arange(1), [("track_id", np.arange(1))])
    both = BatchEdit(*placed([b'{"m": [], "n": []}']))
    with pytest.raises(NotPlainError):
        both.rename(np.arange(1), "m", "n")
