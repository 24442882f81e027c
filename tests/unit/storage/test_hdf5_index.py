"""The index that is written without the HDF5 library: the library reads it, and goes on with it as with its own."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from ovforge.storage.picture_hdf5 import PictureReader, PictureWriter


def _pictures(count: int) -> dict[str, bytes]:
    """Names of all lengths and not in their order."""
    names = (f"{'zä'[number % 2]}{number:0{6 + number % 9}d}.jpg" for number in range(count))
    return {name: b"%d" % number * (1 + number % 5) for number, name in enumerate(names)}


def _write(path: Path, pictures: dict[str, bytes]) -> None:
    with PictureWriter(path) as writer:
        for name, data in pictures.items():
            writer.add(name, data)


# A symbol table holds 64 names, a node of the tree 64 tables, and headers are made 4,096 at a time.
@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 4096, 4097, 9000])
def test_the_library_finds_every_picture(tmp_path: Path, count: int) -> None:
    pictures = _pictures(count)
    _write(tmp_path / "pictures.h5", pictures)
    with h5py.File(tmp_path / "pictures.h5") as file:
        assert list(file) == sorted(pictures, key=str.encode)
        assert "none.jpg" not in file
        for name in list(pictures)[:: max(1, count // 100)]:
            assert file[name].dtype == np.uint8
            assert file[name][()].tobytes() == pictures[name]
    with PictureReader(tmp_path / "pictures.h5") as reader:
        assert set(reader.names()) == set(pictures)


@pytest.mark.parametrize("count", [0, 65, 4200])
def test_the_library_adds_to_the_file_and_takes_from_it(tmp_path: Path, count: int) -> None:
    pictures = _pictures(count)
    path = tmp_path / "pictures.h5"
    _write(path, pictures)
    with h5py.File(path, "r+") as file:
        for number in range(100):  # tables fill up and are split
            file[f"m{number}.jpg"] = np.arange(number + 1, dtype=np.uint8)
        for name in list(pictures)[::2]:
            del file[name]
    kept = list(pictures)[1::2]
    with h5py.File(path) as file:
        assert len(file) == len(kept) + 100
        assert all(file[name][()].tobytes() == pictures[name] for name in kept)
        assert all(file[f"m{number}.jpg"].shape == (number + 1,) for number in range(100))


def test_the_pictures_headers_are_what_the_library_writes(tmp_path: Path) -> None:
    _write(tmp_path / "ours.h5", {"a.jpg": b"12345"})
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        space = h5py.h5s.create_simple((5,))
        h5py.h5d.create(file.id, b"a.jpg", h5py.h5t.STD_U8LE, space, creation)
    ours, theirs = ((tmp_path / name).read_bytes() for name in ("ours.h5", "theirs.h5"))
    start = b"\x01\x00\x18\x00\x00\x00\x00\x00\x01\x01\x01"  # of the dataspace message
    to_address = 24 + 24 + 16 + 8 + 2  # dataspace, datatype, fill value, the layout up to the address
    ours_at, theirs_at = ours.index(start), theirs.index(start)
    assert ours[ours_at : ours_at + to_address] == theirs[theirs_at : theirs_at + to_address]


def test_a_file_that_was_not_closed_is_no_hdf5_file(tmp_path: Path) -> None:
    writer = PictureWriter(tmp_path / "pictures.h5")
    writer.add("a.jpg", b"x")
    with pytest.raises(OSError, match="signature"):
        h5py.File(tmp_path / "pictures.h5")
    writer.close()
    with h5py.File(tmp_path / "pictures.h5") as file:
        assert list(file) == ["a.jpg"]
