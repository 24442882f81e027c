"""Records by image: each with its own, in file order, and none of a file that has changed."""

from __future__ import annotations

import pickle
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovforge.annotation_io.record_index import RecordIndex
from ovforge.errors import AnnotationFileError


def written(path: Path, owners: list[int]) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    records = [msgspec.json.encode({"id": i, "image_id": owner}) for i, owner in enumerate(owners)]
    starts = np.cumsum([1, *(len(r) + 2 for r in records)])[:-1].astype(np.int64)
    path.write_bytes(b"[" + b", ".join(records) + b"]")
    return records, starts, starts + [len(r) for r in records]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=40), st.lists(st.integers(0, 12), unique=True, max_size=10))
def test_groups_as_a_plain_loop_does(
    tmp_path_factory: pytest.TempPathFactory, owners: list[int], keys: list[int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "record_index.json"
    records, starts, stops = written(path, owners)
    index = RecordIndex(path, np.array(keys, np.int64), np.array(owners, np.int64), starts, stops)
    for position, key in enumerate(keys):
        assert index.records(position) == [r for r, owner in zip(records, owners, strict=True) if owner == key]
    assert index.orphans == sum(owner not in keys for owner in owners)
    if keys:
        assert pickle.loads(pickle.dumps(index)).records(0) == index.records(0)
    index.close()


@pytest.mark.parametrize("change", [lambda data: data + b" ", lambda data: data.replace(b'{"id":1', b' {"id":')])
def test_a_changed_file_is_refused(tmp_path: Path, change) -> None:
    path = tmp_path / "a.json"
    _, starts, stops = written(path, [5, 5, 6])
    index = RecordIndex(path, np.array([5, 6]), np.array([5, 5, 6]), starts, stops)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(AnnotationFileError, match="has changed since the run was started"):
        index.records(0)
    index.close()
