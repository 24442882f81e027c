"""Whose fault it is that an image cannot be read: the data's, which is named, or the disk's, which is tried again."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from ovforge.errors import ImageError, MissingImageError, StorageError
from ovforge.image_io import read_file
from ovforge.image_io.header import read_header_of_file
from ovforge.image_io.read_file import exists, read_image_file
from ovforge.image_io.store import FolderStore, open_image_store
from ovforge.image_io.tar_store import TarStore
from ovforge.sources.exemplar_images import ExemplarImages
from ovforge.sources.imagenet21k import ImageNet21k

JPEG = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
Read = Callable[[Path], object]
READS: dict[str, Read] = {
    "bytes": lambda path: read_image_file(path, path.name),
    "header": read_header_of_file,
    "store": lambda path: FolderStore(path.parent).read(path.name),
}


@pytest.fixture(params=READS)
def read(request: pytest.FixtureRequest) -> Read:
    return READS[request.param]


def failing(monkeypatch: pytest.MonkeyPatch, function: str, code: int, times: int = 1_000_000) -> None:
    """Let a function of the system fail with an error, so many times."""
    real, left = getattr(os, function), [times]

    def fail(*arguments: object, **named: object) -> object:
        if left[0] and not (arguments and isinstance(arguments[0], int) and function == "open"):
            left[0] -= 1
            raise OSError(code, os.strerror(code))
        return real(*arguments, **named)

    monkeypatch.setattr(read_file.os, function, fail)


def test_an_image_that_is_not_there_is_missing(tmp_path: Path, read: Read) -> None:
    with pytest.raises(MissingImageError, match="is missing"):
        read(tmp_path / "a.jpg")
    (tmp_path / "dead.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(MissingImageError):
        read(tmp_path / "dead.jpg")


def test_a_folder_that_is_away_is_the_disks_fault(tmp_path: Path, read: Read) -> None:
    with pytest.raises(StorageError):
        read(tmp_path / "away" / "a.jpg")
    (tmp_path / "linked").symlink_to(tmp_path / "unmounted")
    with pytest.raises(StorageError):
        read(tmp_path / "linked" / "a.jpg")


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EACCES, errno.ENOTCONN, errno.EMFILE])
@pytest.mark.parametrize("function", ["open", "pread"])
def test_any_other_error_of_the_system_is_the_disks_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, function: str
) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    failing(monkeypatch, function, code)
    with pytest.raises(StorageError, match=r"a\.jpg"):
        read_header_of_file(tmp_path / "a.jpg")


def test_an_image_that_may_not_be_read_is_named_with_the_command_that_allows_it(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "an image.jpg").write_bytes(JPEG)
    failing(monkeypatch, "open", errno.EACCES)
    with pytest.raises(StorageError, match="permission denied") as caught:
        read(tmp_path / "an image.jpg")
    assert f"chmod u+rw '{tmp_path}/an image.jpg'" in caught.value.hint


def test_a_disk_that_hiccups_once_gives_the_image_at_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    store = FolderStore(tmp_path)
    failing(monkeypatch, "open", errno.ESTALE, times=1)
    with pytest.raises(StorageError):
        store.read("a.jpg")
    assert store.read("a.jpg") == JPEG


def test_a_folder_that_comes_back_while_it_is_asked_for_is_no_missing_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    failing(monkeypatch, "open", errno.ENOENT, times=1)
    with pytest.raises(StorageError, match="came back"):
        read_header_of_file(tmp_path / "a.jpg")


def test_what_is_no_plain_file_is_named_and_nobody_waits_for_it(tmp_path: Path, read: Read) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    for name, problem in (("folder", "is a folder"), ("pipe", "is a pipe"), ("self", "link to itself")):
        with pytest.raises(ImageError, match=problem):
            read(tmp_path / f"{name}.jpg")
    with pytest.raises(ImageError, match="too long"):
        read(tmp_path / ("a" * 300 + ".jpg"))


def test_a_file_that_no_image_is_as_large_as_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "huge.jpg", "wb") as file:
        file.truncate(read_file.LARGEST_FILE + 1)
    with pytest.raises(ImageError, match="too large for an image file"):
        FolderStore(tmp_path).read("huge.jpg")


def test_existence_that_the_system_cannot_tell_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not exists(tmp_path / "a")
    (tmp_path / "self").symlink_to("self")
    assert not exists(tmp_path / "self")

    def stale(self: Path) -> os.stat_result:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(Path, "stat", stale)
    with pytest.raises(StorageError):
        exists(tmp_path)


def test_a_class_folder_that_goes_away_is_the_disks_fault_and_one_that_never_was_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "n00000001"
    folder.mkdir(parents=True)
    (folder / "a.JPEG").write_bytes(JPEG)
    tree = ImageNet21k(tmp_path)
    with pytest.raises(MissingImageError):
        tree.read("train/n00000002/a.JPEG")
    with pytest.raises(MissingImageError):
        tree.read("train/n00000001/b.JPEG")
    folder.rename(tmp_path / "elsewhere")
    for ask in (tree.read, tree.read_size):
        with pytest.raises(StorageError):
            ask("train/n00000001/a.JPEG")
    with pytest.raises(StorageError):
        tree.images("n00000001")
    (tmp_path / "elsewhere").rename(folder)
    assert tree.read("train/n00000001/a.JPEG") == JPEG


def test_exemplars_of_a_root_that_is_away_are_not_missing(tmp_path: Path) -> None:
    (tmp_path / "coco" / "train2017").mkdir(parents=True)
    images = ExemplarImages({"lvis": tmp_path / "coco"})
    with pytest.raises(MissingImageError):
        images.read("lvis", "train2017/a.jpg")
    (tmp_path / "coco").rename(tmp_path / "away")
    with pytest.raises(StorageError):
        images.read("lvis", "train2017/a.jpg")


def test_a_stale_handle_is_opened_anew_at_the_next_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import tarfile

    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["a.jpg"] = np.frombuffer(JPEG, np.uint8)
    with tarfile.open(tmp_path / "n00000001.tar", "w") as archive:
        info = tarfile.TarInfo("a.jpg")
        info.size = len(JPEG)
        archive.addfile(info, io.BytesIO(JPEG))
    for store, name in ((open_image_store(tmp_path / "p.h5"), "a.jpg"), (TarStore(tmp_path), "n00000001/a.jpg")):
        assert store.read(name) == JPEG
        with monkeypatch.context() as patch:
            failing(patch, "pread", errno.ESTALE)
            with pytest.raises(StorageError):
                store.read(name)
        assert store.read(name) == JPEG
        store.close()
