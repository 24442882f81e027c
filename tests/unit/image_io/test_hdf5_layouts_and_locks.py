"""HDF5 files from elsewhere: which layouts are read, how others are named, and disks with and without file locks."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from h5py import h5f

from ovforge.errors import ImageError, InputError, MissingImageError, MissingInputError, StorageError
from ovforge.image_io import hdf5
from ovforge.image_io.hdf5 import ImageReader, ImageWriter, is_hdf5
from ovforge.image_io.store import open_image_store

JPEG = cv2.imencode(".jpg", np.arange(48, dtype=np.uint8).reshape(4, 4, 3))[1].tobytes() + b"\0\0behind\0"
ARRAY = np.frombuffer(JPEG, np.uint8)


def of_variable_length(file: h5py.File, shape: tuple[int, ...]) -> None:
    dataset = file.create_dataset("a.jpg", shape, dtype=h5py.vlen_dtype(np.uint8))
    dataset[() if shape == () else 0] = ARRAY


LAYOUTS: dict[str, Any] = {
    "uint8": lambda file: file.create_dataset("a.jpg", data=ARRAY),
    "int8": lambda file: file.create_dataset("a.jpg", data=ARRAY.view(np.int8)),
    "fixed-length bytes": lambda file: file.create_dataset("a.jpg", data=np.frombuffer(JPEG, f"|V{len(JPEG)}")[0]),
    "compressed": lambda file: file.create_dataset("a.jpg", data=ARRAY, chunks=(64,), compression="gzip"),
    "scalar of variable length": lambda file: of_variable_length(file, ()),
    "list of one of variable length": lambda file: of_variable_length(file, (1,)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_that_holds_all_bytes_is_read(layout: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "p.h5", "w") as file:
        LAYOUTS[layout](file)
    with open_image_store(tmp_path / "p.h5") as store:
        assert store.read("a.jpg") == JPEG


OTHERS: dict[str, tuple[Any, str]] = {
    "numbers": (np.zeros(5), "is not stored as bytes .*float64.*uint8 of variable length are read"),
    "pixels": (np.zeros((4, 5, 3), np.uint8), "an array of 4x5x3, probably decoded pixels"),
    "text of variable length": ("text", "is not stored as bytes .*ends at the first zero byte"),
}


@pytest.mark.parametrize("layout", OTHERS)
def test_other_layouts_are_named_with_those_that_are_read(layout: str, tmp_path: Path) -> None:
    value, problem = OTHERS[layout]
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["a.jpg"] = value
    with open_image_store(tmp_path / "p.h5") as store, pytest.raises(ImageError, match=problem):
        store.read("a.jpg")


def test_images_in_groups_are_named_so(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["train2017/a.jpg"] = ARRAY
    with open_image_store(tmp_path / "p.h5") as store, pytest.raises(MissingImageError, match=r"groups \(train2017/"):
        store.read("a.jpg")


def test_signature_behind_a_user_block(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "p.h5", "w", userblock_size=1024) as file:
        file["a.jpg"] = ARRAY
    assert is_hdf5(tmp_path / "p.h5")
    (tmp_path / "q.h5").write_bytes(b"no signature" * 1000)
    assert not is_hdf5(tmp_path / "q.h5")


def written(path: Path) -> Path:
    with ImageWriter(path) as writer:
        writer.add("a.jpg", JPEG)
    return path


def test_a_lock_that_somebody_holds_is_called_a_lock(tmp_path: Path) -> None:
    path = written(tmp_path / "p.h5")
    program = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'r+b'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=r"p\.h5: is locked: another program") as caught:
            ImageReader(path)
        assert "not a whole HDF5 file" not in caught.value.message
        holder.stdin.close()
    with ImageReader(path) as reader:
        assert reader.read("a.jpg") == JPEG


@pytest.mark.parametrize(
    "message",
    [
        "Unable to open file (unable to lock file, errno = 38, error message = 'Function not implemented')",
        "Unable to open file (unable to lock file, errno = 37, error message = 'No locks available')",
        "Unable to open file (unable to lock file, errno = 95, error message = 'Operation not supported')",
    ],
)
def test_a_disk_without_locks_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    path = written(tmp_path / "p.h5")
    real = h5f.open

    def without_locks(name: bytes, flags: int, fapl: Any) -> Any:
        if fapl.get_file_locking()[0]:
            raise OSError(message)
        return real(name, flags, fapl=fapl)

    monkeypatch.setattr(hdf5.h5f, "open", without_locks)
    with ImageReader(path) as reader:
        assert reader.read("a.jpg") == JPEG


def test_writing_takes_no_lock(tmp_path: Path) -> None:
    with ImageWriter(tmp_path / "p.h5") as writer:
        writer.add("a.jpg", JPEG)
        with open(tmp_path / "p.h5", "rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_failing_disk_is_no_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "p.h5")

    def stale(*_: Any, **__: Any) -> Any:
        raise OSError("Unable to open file (file read failed: errno = 116, error message = 'Stale file handle')")

    monkeypatch.setattr(hdf5.h5f, "open", stale)
    with pytest.raises(StorageError, match="Stale file handle"):
        ImageReader(path)


def test_missing_and_cut_files(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        ImageReader(tmp_path / "none.h5")
    path = written(tmp_path / "p.h5")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a whole HDF5 file"):
        ImageReader(path)
