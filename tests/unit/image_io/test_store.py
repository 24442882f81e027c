"""Images by name: what is read, what is refused, and what it is called."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from ovforge.errors import ImageError, InputError, MissingImageError, MissingInputError
from ovforge.image_io.store import ImageStore, open_image_store

IMAGES = {"b.jpg": b"\xff\xd8second\xff\xd9", "a.jpg": b"\xff\xd8first\x00\x00x"}


@pytest.fixture(params=["folder", "hdf5", "hdf5 of scalar strings"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ImageStore:
    if request.param == "folder":
        for name, data in IMAGES.items():
            (tmp_path / name).write_bytes(data)
        return open_image_store(tmp_path)
    with h5py.File(tmp_path / "p.hdf5", "w") as file:
        for name, data in IMAGES.items():
            file[name] = np.frombuffer(data, np.uint8) if request.param == "hdf5" else np.bytes_(data)
    return open_image_store(tmp_path / "p.hdf5")


def test_gives_the_bytes_as_they_are(store: ImageStore) -> None:
    with store:
        assert store.names() == ["a.jpg", "b.jpg"]
        for name, data in IMAGES.items():
            assert name in store
            assert store.read(name) == data


def test_names_a_missing_image(store: ImageStore) -> None:
    with store:
        assert "c.jpg" not in store
        with pytest.raises(MissingImageError, match=r"^c\.jpg: is missing \(not in "):
            store.read("c.jpg")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "", "x/../../secret", "a\0b", "sub\\x"])
def test_a_name_never_leads_out(store: ImageStore, name: str, tmp_path: Path) -> None:
    (tmp_path.parent / "secret").write_bytes(b"secret")
    with store:
        assert name not in store
        with pytest.raises(ImageError):
            store.read(name)


def _read_in_child(store: ImageStore, name: str, queue: multiprocessing.Queue[bytes]) -> None:
    queue.put(store.read(name))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_survives_the_way_to_another_process(store: ImageStore, method: str) -> None:
    with store:
        assert store.read("a.jpg")  # opened here
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        child = context.Process(target=_read_in_child, args=(store, "b.jpg", queue))
        child.start()
        assert queue.get(timeout=60) == IMAGES["b.jpg"]
        child.join()
        assert store.read("a.jpg") == IMAGES["a.jpg"]
        assert pickle.loads(pickle.dumps(store)).read("a.jpg") == IMAGES["a.jpg"]


def test_reopens_after_close(store: ImageStore) -> None:
    store.read("a.jpg")
    store.close()
    assert store.read("a.jpg") == IMAGES["a.jpg"]
    store.close()


def test_refuses_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="nothing"):
        open_image_store(tmp_path / "nothing")
    (tmp_path / "text").write_text("no images")
    with pytest.raises(InputError, match="neither a folder nor an HDF5 file"):
        open_image_store(tmp_path / "text")


def test_names_a_truncated_hdf5_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "p.hdf5", "w") as file:
        file["a.jpg"] = np.zeros(100_000, np.uint8)
    whole = (tmp_path / "p.hdf5").read_bytes()
    (tmp_path / "p.hdf5").write_bytes(whole[:50_000])
    with pytest.raises(InputError, match=r"p\.hdf5"), open_image_store(tmp_path / "p.hdf5") as store:
        store.read("a.jpg")


def test_refuses_a_data_set_that_is_no_image(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "p.hdf5", "w") as file:
        file["floats"] = np.zeros((3, 3))
        file.create_group("group")
    with open_image_store(tmp_path / "p.hdf5") as store:
        for name in ("floats", "group"):
            with pytest.raises(ImageError, match=name):
                store.read(name)


def test_images_in_subfolders_are_kept_apart(tmp_path: Path) -> None:
    for name in ("top.jpg", "a/one.jpg", "a/deep/one.jpg", "b/two.jpg", ".hidden/three.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    with open_image_store(tmp_path) as store:
        for key, name in (
            ("top.jpg", "top.jpg"),
            ("two.jpg", "b/two.jpg"),
            ("b__two.jpg", "b/two.jpg"),
            ("a__one.jpg", "a/one.jpg"),
            ("a__deep__one.jpg", "a/deep/one.jpg"),
        ):
            assert key in store
            assert store.read(key) == name.encode()
        for key in ("one.jpg", "three.jpg", "c__one.jpg"):  # in two folders, hidden, not there
            assert key not in store
            with pytest.raises(ImageError, match="is missing"):
                store.read(key)
