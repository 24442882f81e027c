"""Pickles: plain values out, nothing but plain values in."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from ovforge.errors import InputError, MissingInputError, WorkError
from ovforge.files.restricted_pickle import ListWriter, dump, load, load_list

ENTRY = {"id": 7, "bbox": [1, 2, 3, 4], "area": 12.5, "segmentation": [[0.5, 1.0]], "iscrowd": 0, "note": None}


@pytest.mark.parametrize("value", [[], [ENTRY], [ENTRY] * 2500, {"a": (1, True, b"x")}, "text", 2**80])
def test_what_is_dumped_is_read_by_pickle_and_by_load(tmp_path: Path, value: object) -> None:
    path = tmp_path / "values.pkl"
    dump(path, value)
    assert pickle.loads(path.read_bytes()) == value
    assert load(path) == value


@pytest.mark.parametrize("value", [[np.int32(3)], [{"bbox": np.zeros(4)}], [OrderedDict(a=1)], [Path("x")], [print]])
def test_only_builtin_types_are_written(tmp_path: Path, value: object) -> None:
    path = tmp_path / "values.pkl"
    with pytest.raises(WorkError, match="cannot be pickled as a plain value"):
        dump(path, value)
    assert not list(tmp_path.iterdir())


def test_equal_values_give_equal_bytes_whichever_parts_are_one_object(tmp_path: Path) -> None:
    shared = [1, 2]
    dump(tmp_path / "a.pkl", [{"x": shared, "y": shared}])
    dump(tmp_path / "b.pkl", [{"x": [1, 2], "y": [1, 2]}])
    assert (tmp_path / "a.pkl").read_bytes() == (tmp_path / "b.pkl").read_bytes()


class Command:
    """What an attacker puts into a pickle."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_runs_a_command_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    path, marker = tmp_path / "evil.pkl", tmp_path / "marker"
    path.write_bytes(pickle.dumps([Command(marker)], protocol))
    with pytest.raises(InputError, match=r"evil\.pkl: asks for posix\.system") as caught:
        load(path)
    assert caught.value.exit_code == 2
    assert not marker.exists()


@pytest.mark.parametrize(
    "wanted",
    [
        b"builtins\neval",
        b"numpy\nload",
        b"numpy\nfromfile",
        b"numpy.core.multiarray\nfromfile",
        b"copyreg\n_reconstructor",
    ],
)
def test_numpy_is_no_back_door(tmp_path: Path, wanted: bytes) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"c" + wanted + b"\n.")
    with pytest.raises(InputError, match="asks for"):
        load(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("old_names", [False, True])
def test_numpy_numbers_and_arrays_come_back_plain(tmp_path: Path, protocol: int, old_names: bool) -> None:
    value = [
        {
            "bbox": [np.int32(-4), np.int64(5)],
            "area": np.uint64(2**63),
            "score": np.float32(0.5),
            "flag": np.bool_(True),
            "box": np.arange(4, dtype=">i4"),
            "mask": np.asfortranarray(np.arange(6).reshape(2, 3)),
        }
    ]
    data = pickle.dumps(value, protocol)
    if old_names:
        # From protocol 4 on names are written with their length.
        data = _renamed(value, protocol) if protocol >= 4 else data.replace(b"numpy._core.", b"numpy.core.")
    path = tmp_path / "numpy.pkl"
    path.write_bytes(data)
    entry = load(path)[0]
    assert entry["bbox"] == [-4, 5]
    assert entry["area"] == 2**63
    assert entry["score"] == 0.5
    assert entry["flag"] is True
    assert entry["box"] == [0, 1, 2, 3]
    assert entry["mask"] == [[0, 1, 2], [3, 4, 5]]
    assert {type(number) for number in (*entry["bbox"], entry["area"])} == {int}


def _renamed(value: object, protocol: int) -> bytes:
    class Old(pickle._Pickler):
        def save_global(self, item, name=None):  # type: ignore[no-untyped-def]
            self.save("numpy.core.multiarray" if "_core" in item.__module__ else item.__module__)
            self.save(item.__qualname__)
            self.write(pickle.STACK_GLOBAL)
            self.memoize(item)

        dispatch: ClassVar = {**pickle._Pickler.dispatch, type: save_global, type(len): save_global}

    buffer = io.BytesIO()
    Old(buffer, min(protocol, 4)).dump(value)  # protocol 5 rebuilds arrays by another name, numeric._frombuffer
    return buffer.getvalue()


def test_numpy_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "objects.pkl"
    path.write_bytes(pickle.dumps([np.array([{"a": 1}], dtype=object)]))
    with pytest.raises(InputError, match="not a number"):
        load(path)


def test_the_originals_partitions_are_read(mini: Path) -> None:
    path = mini / "ovtrack" / "ovtrack_mini" / "ovtrack_mini_total_p_1_split_0.pkl"
    entries = load_list(path)
    assert len(entries) == 45
    assert entries[0]["bbox"] == [432, 0, 191, 175]
    assert type(entries[0]["area"]) is int


@pytest.mark.parametrize("keep", [0, 1, 5, 40, 0.5, -1])
def test_a_cut_or_foreign_file_is_an_input_error(tmp_path: Path, keep: float) -> None:
    whole = pickle.dumps([ENTRY] * 100)
    path = tmp_path / "cut.pkl"
    path.write_bytes(whole[: int(len(whole) * keep) if 0 < keep < 1 else int(keep)])
    with pytest.raises(InputError, match=r"cut\.pkl: not a whole pickle file"):
        load(path)


def test_other_inputs_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        load(tmp_path / "none.pkl")
    dump(tmp_path / "dict.pkl", {})
    with pytest.raises(InputError, match="holds a dict, not a list"):
        load_list(tmp_path / "dict.pkl")
    (tmp_path / "huge.pkl").write_bytes(b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b".")
    with pytest.raises(InputError):
        load(tmp_path / "huge.pkl")


@pytest.mark.parametrize("lengths", [(), (0,), (1, 0, 2), (1000, 999, 2001)])
def test_lists_are_joined_as_they_stand(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    parts, hashes = [], []
    for number, length in enumerate(lengths):
        parts.append(tmp_path / f"{number}.pkl")
        with open(parts[-1], "wb") as file:
            writer = ListWriter(file)
            writer.extend({**ENTRY, "id": (number, index)} for index in range(length))
            writer.close()
            hashes.append(writer.sha256)
    joined = tmp_path / "joined.pkl"
    with open(joined, "wb") as file:
        writer = ListWriter(file)
        writer.extend([ENTRY])
        for part, sha256 in zip(parts, hashes, strict=True):
            writer.append_written(part, sha256)
        writer.close()
    expected = [ENTRY, *({**ENTRY, "id": (n, i)} for n, length in enumerate(lengths) for i in range(length))]
    assert pickle.loads(joined.read_bytes()) == expected
    assert load(joined) == expected
    assert not [1 for code, _, _ in pickletools.genops(joined.read_bytes()) if "GLOBAL" in code.name]


def test_a_changed_list_is_not_joined(tmp_path: Path) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps([Command(tmp_path / "marker")], 3))
    with open(tmp_path / "joined.pkl", "wb") as file, pytest.raises(InputError, match="checksum mismatch"):
        ListWriter(file).append_written(path, "0" * 64)
