"""Copying ranges of bytes in threads: checksums, places, and errors that come through."""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path

import pytest

from ovforge.errors import InputError, WorkError
from ovforge.files import range_copy
from ovforge.files.atomic import atomic_path
from ovforge.files.range_copy import copy_ranges
from ovforge.image_io import hdf5
from ovforge.image_io.hdf5 import ImageReader, ImageWriter, copy_images


def _store(path: Path, count: int = 1000) -> dict[str, bytes]:
    images = {f"{number}.jpg": os.urandom(1 + number * 997 % 9_000) for number in range(count)}
    with ImageWriter(path) as writer:
        for name, data in images.items():
            writer.add(name, data)
    return images


def test_a_copy_is_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = _store(tmp_path / "a.h5")
    monkeypatch.setattr(hdf5, "_BATCH", 50_000)
    with ImageReader(tmp_path / "a.h5") as reader, ImageWriter(tmp_path / "b.h5") as writer:
        copied = list(copy_images(((reader, name, None) for name in images), writer))
    assert [(c.name, c.size, c.crc32) for c in copied] == [
        (name, len(data), zlib.crc32(data)) for name, data in images.items()
    ]
    assert (tmp_path / "b.h5").read_bytes() == (tmp_path / "a.h5").read_bytes()


def test_a_source_that_ends_too_early_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = _store(tmp_path / "a.h5")
    for batch in (1 << 60, 1):
        monkeypatch.setattr(hdf5, "_BATCH", batch)
        with ImageReader(tmp_path / "a.h5") as reader, ImageWriter(tmp_path / "b.h5") as writer:
            places = {name: reader.locate(name) for name in images}
            beyond = hdf5.Location((tmp_path / "a.h5").stat().st_size - 5, 10)
            wanted = [(reader, name, place) for name, place in places.items() if isinstance(place, tuple)]
            with pytest.raises(InputError, match=r"a\.h5: cut short"):
                list(copy_images([*wanted[:10], (reader, "beyond.jpg", beyond)], writer))


def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = _store(tmp_path / "a.h5")

    def full(target: int, data: bytes, offset: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(range_copy, "write_at", full)
    with (
        ImageReader(tmp_path / "a.h5") as reader,
        pytest.raises(WorkError, match=r"out\.h5: no space left"),
        atomic_path(tmp_path / "out.h5") as path,
        ImageWriter(path) as writer,
    ):
        list(copy_images(((reader, name, None) for name in images), writer))
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_every_range_gets_where_it_belongs_whether_it_has_neighbours_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(range_copy, "_BLOCK", 100)
    data = os.urandom(2000)
    (tmp_path / "source").write_bytes(data)
    ranges = [
        (0, 40, 7),
        (40, 60, 47),  # fills the block with the one before
        (100, 1, 107),  # follows, but no longer fits
        (101, 9, 300),  # follows in the source alone
        (500, 9, 309),  # follows in the target alone
        (509, 0, 318),
        (509, 101, 318),  # larger than a block
        (610, 350, 419),
        (0, 40, 900),  # again
    ]
    source = os.open(tmp_path / "source", os.O_RDONLY)
    target = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    try:
        sums = copy_ranges(source, target, ranges)
        assert sums == [zlib.crc32(data[start : start + size]) for start, size, _ in ranges]
        assert all(os.pread(target, size, into) == data[start : start + size] for start, size, into in ranges)
        assert os.pread(target, 7, 0) == bytes(7)
        with pytest.raises(EOFError):
            copy_ranges(source, target, [(1990, 5, 0), (1995, 6, 5)])
        with pytest.raises(EOFError):
            copy_ranges(source, target, [(1800, 201, 0)])
    finally:
        os.close(source)
        os.close(target)
