"""Annotation files: any valid JSON is read as it is, anything else is refused with its place."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovforge import parallel
from ovforge.annotation_io import json_windows
from ovforge.annotation_io.annotation_file import AnnotationFile, read_records, read_value
from ovforge.annotation_io.annotation_writer import write_annotation_file
from ovforge.annotation_io.schema import Fields
from ovforge.errors import AnnotationFileError, MissingInputError, OutputExistsError


class AnyId(msgspec.Struct):
    id: int


class WithBox(msgspec.Struct):
    bbox: tuple[float, float, float, float]


KEY = Fields("annotations", ("id", "image_id", "category_id"))
BOX = Fields("annotations", ("bbox",))
URL = Fields("images", ("coco_url",))


def key(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": 10 + number % 3, "category_id": number % 7, **more}


def written(path: Path, value: object, **how: Any) -> Path:
    path.write_text(json.dumps(value, **how))
    return path


TRICKY = [
    key(1, note="a } , { b", more={"deep": [{"x": "]}"}, {}]}),
    key(2, segmentation={"counts": 'a\\"}], {"id": 7}', "size": [3, 4]}),
    key(3, **{'odd } "key" {': ["\\", '"', "\\\\", "é\u2028"]}),
    {"category_id": 3, "x": {"id": 99, "category_id": 98}, "image_id": 12, "id": 4},
]


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read even short files through worker processes."""
    monkeypatch.setattr(parallel, "SMALL_BYTES", 0)
    monkeypatch.setattr(parallel, "cpu_count", lambda: 2)


@pytest.fixture(params=["one window", "tiny windows"])
def windows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read through one window and through very many."""
    if request.param == "tiny windows":
        monkeypatch.setattr(json_windows, "WINDOW_BYTES", 100)


class RawBox(msgspec.Struct):
    id: int
    bbox: msgspec.Raw


def test_raw_values_outlive_the_window_they_were_read_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_windows, "WINDOW_BYTES", 200)
    records = [{"id": n, "bbox": [n, n + 1]} for n in range(100)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"annotations": records}))
    as_read = [json.loads(bytes(record)) for record in list(read_records(path, "annotations", msgspec.Raw))]
    assert as_read == records
    with AnnotationFile(path, {"annotations": RawBox}) as file:
        boxes = file.table("annotations", RawBox)["bbox"]
    assert [json.loads(bytes(box)) for box in boxes] == [record["bbox"] for record in records]


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize(
    "style", [{}, {"indent": 2}, {"separators": (",", ":")}, {"indent": "\t", "ensure_ascii": False}]
)
def test_columns_and_spans_are_those_of_json(tmp_path: Path, style: dict[str, Any]) -> None:
    records = [*TRICKY, *(key(n, area=1.5) for n in range(5, 60))]
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps({"info": {"a": [1, {}]}, "annotations": records, "images": [], "n": 1}, **style), "utf-8"
    )
    with AnnotationFile(path, {"annotations": KEY}) as file:
        assert file.sections == ("info", "annotations", "images", "n")
        table = file.table("annotations", KEY)
        assert len(table) == len(records)
        for field in ("id", "image_id", "category_id"):
            assert table[field].tolist() == [record[field] for record in records]
        assert [json.loads(table.raw(i)) for i in range(len(table))] == records
        assert json.loads(file.value("annotations")) == records
        assert file.value("n") == b"1"
        assert len(file.table("images", URL)) == 0
    assert [record.id for record in read_records(path, "annotations", AnyId)] == [record["id"] for record in records]
    assert json.loads(read_value(path, "info")) == {"a": [1, {}]}


scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | st.text(alphabet='ab{}[]",:\\ \n\u00e9\u2028\U0001f600', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('{}"\\ax', max_size=3), inner, max_size=3),
    max_leaves=6,
)
odd_records = st.lists(
    st.builds(lambda more, number: {**more, "id": number}, st.dictionaries(st.text(max_size=4), values, max_size=3),
              st.integers(-(2**63), 2**63 - 1)),
    max_size=12,
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(
    before=values, records=odd_records, after=values, indent=st.sampled_from([None, 0, 2]), ascii_=st.booleans(),
    window=st.integers(1, 300),
)  # fmt: skip
def test_any_valid_file_is_read_as_json_reads_it(
    *,
    tmp_path_factory: pytest.TempPathFactory,
    before: Any,
    records: Any,
    after: Any,
    indent: Any,
    ascii_: bool,
    window: int,
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.json"
    text = json.dumps({"{before": before, "records": records, "after": after}, indent=indent, ensure_ascii=ascii_)
    path.write_bytes(text.encode("utf-8"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_windows, "WINDOW_BYTES", window)
        with AnnotationFile(path, {"records": AnyId}) as file:
            table = file.table("records", AnyId)
            assert table["id"].tolist() == [record["id"] for record in records]
            assert [json.loads(table.raw(i)) for i in range(len(table))] == records
            assert json.loads(file.value("after")) == after
            copy = path.with_name("copy.json")
            keep = np.arange(len(table)) % 3 != 1
            write_annotation_file(
                copy,
                {"{before": file.value("{before"), "records": file.runs(table, keep), "after": file.whole("after")},
            )
    assert json.loads(copy.read_bytes()) == {
        "{before": before, "records": [r for r, kept in zip(records, keep, strict=True) if kept], "after": after,
    }  # fmt: skip


def test_untouched_bytes_come_through(tmp_path: Path) -> None:
    raw = (
        b'{"annotations": [{"id": 1,  "area": 1.10, "x": 1e-7,"big":123456789012345678901234567890,"u":"\\u00e9\\/"},'
        b'\n {"id":2, "y": -0.0, "counts": "a\\"}{,\\\\"}\n, {"id": 3}], "info": {"v": 1.0e+2 , "w":[ ]}}'
    )
    path, copy = tmp_path / "a.json", tmp_path / "b.json"
    path.write_bytes(raw)
    with AnnotationFile(path, {"annotations": AnyId}) as file:
        table = file.table("annotations", AnyId)
        write_annotation_file(
            copy,
            {
                "annotations": file.runs(table, np.array([True, True, True])),
                "info": file.whole("info"),
            },
        )
        assert copy.read_bytes() == raw
        write_annotation_file(copy, {"annotations": file.runs(table, np.array([False, True, False]))}, overwrite=True)
    assert copy.read_bytes() == b'{"annotations": [{"id":2, "y": -0.0, "counts": "a\\"}{,\\\\"}]}'


def test_long_ranges_are_copied_whole(tmp_path: Path) -> None:
    records = [key(n, note="x" * 997) for n in range(5_000)]
    path, copy = written(tmp_path / "a.json", {"annotations": records}), tmp_path / "b.json"
    keep = np.ones(len(records), np.bool_)
    keep[[0, 7, 4999]] = False
    with AnnotationFile(path, {"annotations": KEY}) as file:
        write_annotation_file(copy, {"annotations": file.runs(file.table("annotations", KEY), keep)})
    assert json.loads(copy.read_bytes())["annotations"] == [r for r, kept in zip(records, keep, strict=True) if kept]


def test_boxes_are_a_matrix_and_other_fields_are_objects(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.json",
        {
            "annotations": [key(1, bbox=[1, 2.5, 3, 4])],
            "images": [{"id": 1, "width": 3, "height": 4, "coco_url": "h/t/9.jpg"}],
        },
    )
    with AnnotationFile(path, {"annotations": BOX, "images": URL}) as file:
        assert file.table("annotations", BOX)["bbox"].tolist() == [[1, 2.5, 3, 4]]
        assert file.table("images", URL)["coco_url"].tolist() == ["h/t/9.jpg"]


def test_one_window_s_records_may_be_longer_than_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_windows, "WINDOW_BYTES", 1000)
    records = [key(n, note="}, {" * (30_000 if n % 5 == 0 else 3)) for n in range(20)]
    path = written(tmp_path / "a.json", {"annotations": records, "z": [1]})
    with AnnotationFile(path, {"annotations": KEY}) as file:
        table = file.table("annotations", KEY)
        assert [json.loads(table.raw(i)) for i in range(len(table))] == records


FIRST, SECOND = '{"id": 1, "image_id": 2, "category_id": 3}', '{"id": 2, "image_id": 2, "category_id": 3}'


def with_second(second: str, between: str = ", ") -> bytes:
    """A file whose second annotation starts at byte 73."""
    return f'{{"info": {{}}, "annotations": [{FIRST}{between}{second}]}}'.encode()


GOOD = with_second(SECOND)
BAD = {
    "empty": (b"", "is empty"),
    "white": (b" \n ", "is empty but for white space"),
    "text": (b"not found", "no object starts at byte 0"),
    "page": (b"\n<html>not found</html>", "is a web page (HTML), not JSON, from byte 1"),
    "list": (b"[1, 2]", "is a list at its top level (byte 0)"),
    "bom": (b"\xef\xbb\xbf" + GOOD, "byte order mark (byte 0)"),
    "utf16": (GOOD.decode().encode("utf-16"), "byte order mark (byte 0)"),
    "gzip": (b"\x1f\x8b\x08\x00", "is compressed"),
    "no section": (b'{"images": []}', 'has no "annotations" (it has images)'),
    "null list": (b'{"annotations": null}', '"annotations" (byte 16) is null: it needs a list of records'),
    "not a list": (b'{"annotations": {"a": 1}}', '"annotations" (byte 16) is not a list of records'),
    "not records": (b'{"annotations": [1]}', "annotation number 1 (byte 17) is a number"),
    "mixed": (with_second("5"), 'annotation number 2 (byte 73) is a number: in the list "annotations"'),
    "null record": (with_second("null"), "annotation number 2 (byte 73) is null"),
    "twice": (b'{"annotations": [], "annotations": []}', 'the key "annotations" twice (again at byte 20)'),
    "no field": (with_second('{"id": 1, "image_id": 2}'), "annotation number 2 (byte 73) has no category_id"),
    "wrong type": (
        with_second(SECOND.replace("3", '"3"')),
        'annotation number 2 (byte 73) has "3" as its category_id: it needs a whole number, such as 18',
    ),
    "null": (with_second(SECOND.replace("3", "null")), "has null as its category_id: it needs a whole number"),
    "too big": (with_second(SECOND.replace("3", "9" * 20)), "annotation number 2"),
    "garbage": (with_second(SECOND.replace("3", "3 4")), "annotation number 2 (byte 73) is not JSON"),
    "nan": (with_second(SECOND.replace("3", "NaN")), "is not JSON: NaN at byte 113: JSON has no such number"),
    "no comma": (with_second(SECOND, between=" "), "byte 72: in the list"),
    "no colon": (b'{"annotations" []}', "byte 15: ':' expected after the key \"annotations\", found b'['"),
    "key": (b"{annotations: []}", "byte 1: a key expected at the start"),
    "trailing comma": (b'{"annotations": [], }', "byte 20: a key expected"),
    "more": (GOOD + b" {}", "there is more after the end"),
    "bad value": (b'{"info": {"a": tru}, "annotations": []}', "not JSON: invalid character"),
    "bad scalar": (b'{"info": 1.2.3, "annotations": []}', "not JSON"),
}


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize(("data", "problem"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(data)
    with pytest.raises(AnnotationFileError) as caught, AnnotationFile(path, {"annotations": KEY}):
        pass
    assert str(path) in caught.value.message
    assert problem in caught.value.message


@pytest.mark.usefixtures("windows")
def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    whole = json.dumps(
        {"annotations": [key(n, note='\\"}, {') for n in range(4)], "n": 12, "info": {"a": "b"}}
    ).encode()
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(AnnotationFileError, match=r"cut short|not JSON") as caught:
            AnnotationFile(path, {"annotations": KEY})
        assert f"byte {length:,}" in caught.value.message or "not JSON" in caught.value.message


def test_nesting_beyond_reason_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_bytes(b'{"annotations": [{"id": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}")
    with pytest.raises(AnnotationFileError, match="number 1"):
        AnnotationFile(path, {"annotations": AnyId})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="nowhere"):
        AnnotationFile(tmp_path / "nowhere.json")


def test_duplicate_and_unknown_ids_are_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", {"annotations": [key(1), key(5), key(2), key(5), key(2)]})
    with AnnotationFile(path, {"annotations": KEY}) as file:
        table = file.table("annotations", KEY)
        with pytest.raises(
            AnnotationFileError, match=r"annotation number 4 \(byte 1\d\d\) has the id 5 of annotation number 2"
        ):
            table.check_unique("id")
        with pytest.raises(
            AnnotationFileError, match=r'number 2 .* has category_id 5, which is not in "categories" \(and 1 more'
        ):
            table.check_known("category_id", np.array([1, 2]), "categories")
        table.check_known("category_id", np.array([1, 2, 5]), "categories")


def test_an_output_is_whole_or_absent(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.json"

    def breaking() -> Any:
        yield b'{"id": 1}'
        raise RuntimeError("broken off")

    with pytest.raises(RuntimeError):
        write_annotation_file(out, {"annotations": breaking()})
    assert list(out.parent.iterdir()) == []
    write_annotation_file(out, {"annotations": [b'{"id": 1}', b'{"id": 2}'], "info": b"{}"})
    assert out.read_bytes() == b'{"annotations": [{"id": 1}, {"id": 2}], "info": {}}'
    with pytest.raises(OutputExistsError):
        write_annotation_file(out, {"info": b"{}"})
    assert out.read_bytes().startswith(b'{"annotations"')


def test_the_small_data_set_is_read_as_json_reads_it(mini: Path) -> None:
    for name in ("lvis/lvis_v1_train.json", "lvis/lvis_v1_val.json", "coco/annotations/instances_train2017.json"):
        expected = json.loads((mini / name).read_bytes())
        assert [a.bbox for a in read_records(mini / name, "annotations", WithBox)] == [
            tuple(a["bbox"]) for a in expected["annotations"]
        ]
        with AnnotationFile(mini / name) as file:
            assert file.sections == tuple(expected)
            assert json.loads(file.value("categories")) == expected["categories"]


@pytest.mark.usefixtures("workers")
def test_workers_give_the_same_and_end_with_their_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_windows, "WINDOW_BYTES", 2_000)
    records = [*TRICKY, *(key(n, note="}, {" * (n % 50 == 0), area=1.5) for n in range(5, 600))]
    path = written(tmp_path / "a.json", {"info": [{}], "annotations": records, "images": [{"id": 3}] * 50, "n": 1})
    with AnnotationFile(path, {"annotations": KEY, "images": AnyId}) as file:
        table = file.table("annotations", KEY)
        for field in ("id", "image_id", "category_id"):
            assert table[field].tolist() == [record[field] for record in records]
        assert [json.loads(table.raw(i)) for i in range(len(table))] == records
        assert len(file.table("images", AnyId)) == 50
    assert multiprocessing.active_children() == []


@pytest.mark.usefixtures("workers")
def test_workers_and_one_process_name_the_same_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_windows, "WINDOW_BYTES", 2_000)
    records = [key(n) for n in range(500)]
    del records[400]["category_id"]
    path = written(tmp_path / "a.json", {"annotations": records})
    byte = path.read_text().index('{"id": 400')
    with pytest.raises(AnnotationFileError) as caught:
        AnnotationFile(path, {"annotations": KEY})
    assert f"annotation number 401 (byte {byte:,}) has no category_id" in caught.value.message
    assert multiprocessing.active_children() == []


def test_a_pool_that_breaks_midway_loses_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaking:
        """Does the first three jobs, then is broken, as a pool of which a worker was killed."""

        def __init__(self) -> None:
            self.done = 0

        def submit(self, job: Any, *arguments: Any, **named: Any) -> Future[Any]:
            future: Future[Any] = Future()
            self.done += 1
            if self.done <= 3:
                future.set_result(job(*arguments, **named))
            else:
                future.set_exception(BrokenProcessPool("a worker died"))
            return future

        def shutdown(self, **_: Any) -> None:
            pass

    pool = Breaking()
    monkeypatch.setattr(parallel.Workers, "_started", lambda _: pool)
    monkeypatch.setattr(parallel, "SMALL_BYTES", 0)
    monkeypatch.setattr(parallel, "cpu_count", lambda: 2)
    monkeypatch.setattr(json_windows, "WINDOW_BYTES", 200)
    records = [key(n) for n in range(500)]
    with AnnotationFile(written(tmp_path / "a.json", {"annotations": records}), {"annotations": KEY}) as file:
        assert file.table("annotations", KEY)["id"].tolist() == list(range(500))
    assert pool.done > 3


def test_a_script_without_a_main_guard_gets_the_same(tmp_path: Path) -> None:
    written(tmp_path / "a.json", {"annotations": [key(n) for n in range(200)]})
    (tmp_path / "script.py").write_text(
        "from ovforge.annotation_io.schema import Fields\n"
        "from ovforge import parallel\n"
        "from ovforge.annotation_io.annotation_file import AnnotationFile\n"
        "parallel.SMALL_BYTES, parallel.cpu_count = 0, lambda: 2\n"
        "key = Fields('annotations', ('id', 'image_id', 'category_id'))\n"
        "print(len(AnnotationFile('a.json', {'annotations': key}).table('annotations', key)))\n"
    )
    source = str(Path(parallel.__file__).parents[1])
    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": source},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "200\n")
