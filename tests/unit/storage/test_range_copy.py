"""Copying ranges in helper processes: the same answers as here, and errors that come through."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest

from ovforge.errors import InputError, WorkError
from ovforge.storage import picture_hdf5
from ovforge.storage.atomic import atomic_path
from ovforge.storage.picture_hdf5 import PictureReader, PictureWriter, copy_pictures
from ovforge.storage.range_copy import RangeCopier


def _store(path: Path, count: int = 1000) -> dict[str, bytes]:
    pictures = {f"{number}.jpg": os.urandom(1 + number * 997 % 9_000) for number in range(count)}
    with PictureWriter(path) as writer:
        for name, data in pictures.items():
            writer.add(name, data)
    return pictures


def test_helpers_give_the_same_file_as_copying_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = _store(tmp_path / "a.h5")
    monkeypatch.setattr(picture_hdf5, "_ALONE", -1)
    with PictureReader(tmp_path / "a.h5") as reader, PictureWriter(tmp_path / "b.h5") as writer:
        copied = list(copy_pictures(((reader, name, None) for name in pictures), writer))
    assert [(c.name, c.size, c.sha256) for c in copied] == [
        (name, len(data), hashlib.sha256(data).hexdigest()) for name, data in pictures.items()
    ]
    assert (tmp_path / "b.h5").read_bytes() == (tmp_path / "a.h5").read_bytes()


def test_a_source_that_ends_too_early_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = _store(tmp_path / "a.h5")
    for alone in (1 << 60, -1):
        monkeypatch.setattr(picture_hdf5, "_ALONE", alone)
        with PictureReader(tmp_path / "a.h5") as reader, PictureWriter(tmp_path / "b.h5") as writer:
            places = {name: reader.locate(name) for name in pictures}
            beyond = picture_hdf5.Location((tmp_path / "a.h5").stat().st_size - 5, 10)
            wanted = [(reader, name, place) for name, place in places.items() if isinstance(place, tuple)]
            with pytest.raises(InputError, match=r"a\.h5: cut short"):
                list(copy_pictures([*wanted[:10], (reader, "beyond.jpg", beyond)], writer))


def test_a_helper_that_dies_is_an_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = _store(tmp_path / "a.h5")
    monkeypatch.setattr(picture_hdf5, "_ALONE", -1)
    submit = RangeCopier.submit

    def killing(self: RangeCopier, *order: object) -> object:
        for helper in self._helpers:
            os.kill(helper.pid, signal.SIGKILL)
            helper.wait()
        return submit(self, *order)  # type: ignore[arg-type]

    monkeypatch.setattr(RangeCopier, "submit", killing)
    with (
        PictureReader(tmp_path / "a.h5") as reader,
        pytest.raises(WorkError, match=r"out\.h5: cannot be written"),
        atomic_path(tmp_path / "out.h5") as path,
        PictureWriter(path) as writer,
    ):
        list(copy_pictures(((reader, name, None) for name in pictures), writer))
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
