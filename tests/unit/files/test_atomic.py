"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import pytest

from ovforge.errors import OutputExistsError, WorkError
from ovforge.files.atomic import atomic_file, atomic_path, is_temporary, write_bytes


def test_a_file_appears_with_its_folders(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "out.json"
    write_bytes(out, b"{}")
    assert out.read_bytes() == b"{}"
    assert list(out.parent.iterdir()) == [out]


def test_an_exception_leaves_nothing_behind_and_the_old_file_alone(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    write_bytes(out, b"old")
    with pytest.raises(ZeroDivisionError), atomic_file(out, overwrite=True) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


def test_an_existing_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    write_bytes(out, b"old")
    entered = False
    with pytest.raises(OutputExistsError, match=r"out\.json: already exists"), atomic_path(out):
        entered = True
    assert not entered
    assert out.read_bytes() == b"old"


def test_the_slower_of_two_writers_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    with pytest.raises(OutputExistsError), atomic_file(out) as file:
        file.write(b"slow")
        write_bytes(out, b"fast")
    assert out.read_bytes() == b"fast"
    assert list(tmp_path.iterdir()) == [out]


def test_overwrite_replaces(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    write_bytes(out, b"old")
    write_bytes(out, b"new", overwrite=True)
    assert out.read_bytes() == b"new"


def test_errors_of_other_files_keep_their_own_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing-input"), atomic_file(tmp_path / "out.json"):
        (tmp_path / "missing-input").read_bytes()


def _write_too_much(out: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    try:
        with atomic_file(out) as file:
            file.write(b"x" * (4 << 20))
    except WorkError as error:
        os._exit(0 if "no space left" in str(error) and not list(out.parent.iterdir()) else 3)
    os._exit(4)


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_write_too_much, args=(tmp_path / "out.bin",))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert list(tmp_path.iterdir()) == []


def _write_slowly(out: Path) -> None:
    with atomic_file(out, buffering=0) as file:
        file.write(b"half")
        time.sleep(60)


def test_a_kill_leaves_no_file_under_the_final_name(tmp_path: Path) -> None:
    out = tmp_path / "out.bin"
    process = multiprocessing.get_context("fork").Process(target=_write_slowly, args=(out,))
    process.start()
    deadline = time.monotonic() + 30
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join(30)
    assert not out.exists()
    assert [is_temporary(path) for path in tmp_path.iterdir()] == [True]
    write_bytes(out, b"whole")
    assert out.read_bytes() == b"whole"


def test_a_file_system_without_hard_links_is_served_by_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    out = tmp_path / "out.json"
    write_bytes(out, b"{}")
    assert out.read_bytes() == b"{}"
    with pytest.raises(OutputExistsError):
        write_bytes(out, b"again")
