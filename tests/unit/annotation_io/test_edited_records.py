"""Records in a new order with changed fields: the values that are asked for, and every other byte as it was."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ovforge import parallel
from ovforge.annotation_io import edited_records
from ovforge.annotation_io.annotation_file import AnnotationFile
from ovforge.annotation_io.annotation_writer import write_annotation_file
from ovforge.annotation_io.edited_records import KEEP, EditedRecords
from ovforge.annotation_io.record_edit import edit_record
from ovforge.errors import AnnotationFileError
from ovforge.parallel import Workers


class Id(msgspec.Struct):
    id: int


@pytest.fixture(params=["this process", "workers"])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Edit here, and in workers with many small batches."""
    monkeypatch.setattr(edited_records, "BATCH_BYTES", 900)
    monkeypatch.setattr(edited_records, "_CACHE_BYTES", 300)
    if request.param == "workers":
        monkeypatch.setattr(parallel, "SMALL_BYTES", 0)
        monkeypatch.setattr(parallel, "cpu_count", lambda: 2)


RECORDS: list[dict[str, Any]] = [
    {"id": n, "image_id": n % 7, "note": 'id "x"' if n % 50 == 0 else "id, image_id", "box": [1.50, n, 1e-7]}
    for n in range(1, 400)
]


def opened(path: Path, records: list[dict[str, Any]]) -> AnnotationFile:
    path.write_text(json.dumps({"annotations": records}))
    return AnnotationFile(path, {"annotations": Id})


def test_two_files_in_any_order(tmp_path: Path, processes: None) -> None:
    ours, theirs = opened(tmp_path / "a.json", RECORDS), opened(tmp_path / "b.json", [*RECORDS, {"id": 9, "mask": {}}])
    tables = [file.table("annotations", Id) for file in (ours, theirs)]
    random = np.random.default_rng(0)
    sources = random.integers(0, 2, 1000).astype(np.int8)
    rows = random.integers(0, len(RECORDS), 1000)
    rows[500:510], sources[500:510] = len(RECORDS), 1
    starts = np.array([tables[s].starts[r] for s, r in zip(sources, rows, strict=True)])
    stops = np.array([tables[s].stops[r] for s, r in zip(sources, rows, strict=True)])
    new_ids = np.arange(1000) * 3
    images = np.where((sources == 1) & (rows < len(RECORDS)), 77, KEEP)
    seen: list[int] = []
    edited = EditedRecords(
        (ours.path, theirs.path),
        sources,
        starts,
        stops,
        numbers={"id": new_ids, "image_id": images},
        texts={"note": [b'"new"' if n % 3 == 0 else None for n in range(1000)]},
        appended={"track_id": np.arange(1000), "old": np.where(sources == 0, rows, KEEP)},
        tails=[b', "t": [%d]' % n for n in range(1000)],
        renamed={1: {"mask": "segmentation"}},
        progress=lambda stage, done, total: seen.append(done),
    )
    empty = EditedRecords((ours.path,), sources[:0], starts[:0], stops[:0])
    out = tmp_path / "out.json"
    write_annotation_file(out, {"x": [empty, b'{"first": 1}', empty, edited, b'{"last": 1}'], "y": b"[]"})
    expected = []
    for n, (source, row) in enumerate(zip(sources.tolist(), rows.tolist(), strict=True)):
        record = dict(RECORDS[row]) if row < len(RECORDS) else {"id": 9, "segmentation": {}}
        record["id"] = int(new_ids[n])
        if images[n] != KEEP:
            record["image_id"] = 77
        if n % 3 == 0:
            record["note"] = "new"
        record |= {"track_id": n} | ({"old": row} if source == 0 else {}) | {"t": [n]}
        expected.append(record)
    assert json.loads(out.read_bytes()) == {"x": [{"first": 1}, *expected, {"last": 1}], "y": []}
    assert len(seen) > 10
    assert multiprocessing.active_children() == []


def test_a_field_to_be_added_that_is_there_already_is_set(tmp_path: Path, processes: None) -> None:
    file = opened(tmp_path / "a.json", [{"id": 1, "track_id": 7, "x": 0}, {"id": 2}])
    table = file.table("annotations", Id)
    edited = EditedRecords(
        (file.path,), np.zeros(2, np.int8), table.starts, table.stops, appended={"track_id": np.array([50, 60])}
    )
    write_annotation_file(tmp_path / "out.json", {"x": [edited]})
    assert (tmp_path / "out.json").read_text() == ('{"x": [{"id":1,"track_id":50,"x":0},{"id":2,"track_id":60}]}')


def test_a_file_that_shrinks_meanwhile_is_noticed(tmp_path: Path, processes: None) -> None:
    file = opened(tmp_path / "a.json", RECORDS)
    table = file.table("annotations", Id)
    os.truncate(file.path, 5000)
    edited = EditedRecords((file.path,), np.zeros(len(table), np.int8), table.starts, table.stops)
    with pytest.raises(AnnotationFileError, match="changed while it was read"):
        write_annotation_file(tmp_path / "out.json", {"x": [edited]})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert multiprocessing.active_children() == []


def _dying(number: int, marker: Path) -> list[bytes]:
    if number == 7 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return [b"%d," % number] * (number % 5)


def test_a_worker_that_dies_while_it_writes_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cpu_count", lambda: 2)
    out = tmp_path / "out"
    out.write_bytes(b"head ")

    def jobs() -> Iterator[tuple[int, Path]]:
        return ((number, tmp_path / "marker") for number in range(40))

    with Workers() as workers:
        end = workers.write_in_order(out, 5, _dying, jobs)
        assert not workers.usable
    expected = b"head " + b"".join(b"%d," % number * (number % 5) for number in range(40))
    assert out.read_bytes() == expected
    assert end == len(expected)


def _fails(number: int) -> list[bytes]:
    if number == 3:
        raise ValueError("number 3")
    return [b"x"]


def test_an_error_in_a_worker_stops_the_writing_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "cpu_count", lambda: 2)
    (tmp_path / "out").touch()
    with Workers() as workers:
        with pytest.raises(ValueError, match="number 3"):
            workers.write_in_order(tmp_path / "out", 0, _fails, lambda: ((number,) for number in range(100)))
        assert list(workers.ordered(len, (("x" * n,) for n in range(20)))) == list(range(20))


def test_fields_are_set_taken_out_and_renamed_in_their_places() -> None:
    assert edit_record(b'{"a":1,"m":[1.0]}', {"b": b'"x"', "a": b"2"}) == b'{"a": 2, "m": [1.0], "b": "x"}'
    assert edit_record(b'{"a":1,"m":[1.0],"z":0}', {"a": None}, renamed={"m": "n"}) == b'{"n": [1.0], "z": 0}'
    assert edit_record(b'{"n":1,"m":[1.0]}', {}, renamed={"m": "n", "x": "y"}) == b'{"n": [1.0]}'
    assert json.loads(edit_record(b'{"\\u0062": 2, "a": 1}', {"b": b"3"})) == {"b": 3, "a": 1}
