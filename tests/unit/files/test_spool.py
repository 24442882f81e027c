"""Bytes that wait for their turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovforge.files.spool import Spool


@pytest.mark.parametrize("in_memory", [1, 7, 100])
def test_pieces_come_back_in_their_order(tmp_path: Path, in_memory: int) -> None:
    pieces = [b"one", b"", b"three", b"\x00four"]
    spool = Spool(tmp_path, in_memory)
    for piece in pieces:
        spool.add(piece)
    assert len(spool) == 4
    assert list(spool) == pieces
    assert list(spool) == pieces
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_made_for_little(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "is not there")
    spool.add(b"little")
    assert list(spool) == [b"little"]


def test_a_file_has_no_name_and_is_in_the_folder(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10)
    spool.add(bytes(11))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        Spool(tmp_path / "is not there", 10).add(bytes(11))
