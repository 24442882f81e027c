"""HDF5 files of images: what goes in comes out, in the originals' layout, and nothing unsafe is followed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
import zlib
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest

from ovforge.errors import ImageError, InputError, MissingInputError
from ovforge.image_io.hdf5 import ImageReader, ImageWriter, copy_images

IMAGES = {f"{number:012d}.jpg": os.urandom(size) for number, size in enumerate([1, 100, 5000, 70_000, 3_000_000])}


def _write(path: Path, images: dict[str, bytes]) -> Path:
    with ImageWriter(path) as writer:
        for name, data in images.items():
            writer.add(name, data)
    return path


def test_images_come_back_and_h5py_sees_the_originals_layout(tmp_path: Path) -> None:
    path = _write(tmp_path / "images.h5", IMAGES)
    with ImageReader(path) as reader:
        assert reader.names() == sorted(IMAGES)
        assert {name: reader.read(name) for name in reader.names()} == IMAGES
        assert "000000000001.jpg" in reader
        assert "other.jpg" not in reader
        assert "../x" not in reader
    with h5py.File(path) as file:
        for name, data in IMAGES.items():
            assert file[name].dtype == np.uint8
            assert file[name].shape == (len(data),)
            assert file[name][()].tobytes() == data


def test_the_same_images_give_the_same_bytes_at_any_time(tmp_path: Path) -> None:
    first = _write(tmp_path / "a.h5", IMAGES).read_bytes()
    time.sleep(1.1)  # HDF5 keeps times in whole seconds
    assert _write(tmp_path / "b.h5", IMAGES).read_bytes() == first


@pytest.mark.parametrize("mean", [300, 3_000, 30_000])
def test_images_lie_one_after_the_other_but_for_a_few_gaps(tmp_path: Path, mean: int) -> None:
    """The library's own blocks lie between; copying in large pieces lives on their being few."""
    sizes = {f"{number:012d}.jpg": mean // 2 + number * 997 % mean for number in range(6000)}
    with ImageWriter(tmp_path / "images.h5") as writer:
        places = [(writer.reserve(name, size), size) for name, size in sizes.items()]
    gaps = [(at, end) for (start, size), (at, _) in pairwise(places) if at != (end := start + size)]
    assert len(gaps) <= 4
    with h5py.File(tmp_path / "images.h5") as file:
        assert len(file) == len(sizes)


def test_the_file_is_of_hdf5s_first_format_that_every_reader_knows(tmp_path: Path) -> None:
    images = {name: bytes(len(data)) for name, data in IMAGES.items()}  # random ones may hold any four bytes
    data = _write(tmp_path / "images.h5", images).read_bytes()
    assert data[:8] == b"\x89HDF\r\n\x1a\n"
    assert data[8] == 0  # the superblock's version
    assert b"OHDR" not in data  # headers of HDF5 1.8


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/passwd", "a/b.jpg", "..", ".", "", "a\\b.jpg", "a\0b", "a\n.jpg"])
def test_a_name_that_could_be_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with ImageWriter(tmp_path / "images.h5") as writer:
        with pytest.raises(InputError, match="not a plain file name"):
            writer.add(name, b"x")
        writer.add("a.jpg", b"x")
    with ImageReader(tmp_path / "images.h5") as reader, pytest.raises(InputError, match="not a plain file name"):
        reader.read(name)


def test_an_image_twice_or_without_bytes_is_refused(tmp_path: Path) -> None:
    with ImageWriter(tmp_path / "images.h5") as writer:
        writer.add("a.jpg", b"x")
        with pytest.raises(InputError, match=r"a\.jpg is to be stored twice"):
            writer.add("a.jpg", b"y")
        with pytest.raises(InputError, match="no bytes"):
            writer.add("b.jpg", b"")


def test_the_originals_scalar_byte_strings_are_read_to_the_last_zero(tmp_path: Path, mini: Path) -> None:
    with h5py.File(tmp_path / "scalar.h5", "w") as file:
        file["zeros.jpg"] = np.bytes_(b"ab\0c")
        file.create_dataset("end.jpg", data=np.array(b"abc\0\0", dtype="S5"))
        file["opaque.jpg"] = np.void(b"xy\0")
    with ImageReader(tmp_path / "scalar.h5") as reader:
        assert reader.read("zeros.jpg") == b"ab\0c"
        assert reader.read("end.jpg") == b"abc\0\0"
        assert reader.read("opaque.jpg") == b"xy\0"
    partition = mini / "ovtrack" / "ovtrack_mini" / "ovtrack_mini_total_p_1_split_0.h5"
    with ImageReader(partition) as reader, h5py.File(partition) as file:
        assert len(reader.names()) == 21
        for name in reader.names():
            assert reader.read(name) == file[name][()].tobytes()
            assert reader.read(name).endswith(b"\xff\xd9")


def test_images_stored_in_pieces_compressed_or_compact_are_read(tmp_path: Path) -> None:
    data = np.frombuffer(IMAGES["000000000003.jpg"], np.uint8)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_dataset("chunked.jpg", data=data, chunks=(1000,), compression="gzip")
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((100,))
        compact = h5py.h5d.create(file.id, b"compact.jpg", h5py.h5t.STD_U8LE, space, layout)
        compact.write(h5py.h5s.ALL, h5py.h5s.ALL, data[:100])
    with ImageReader(tmp_path / "other.h5") as reader, ImageWriter(tmp_path / "copy.h5") as writer:
        assert reader.read("chunked.jpg") == data.tobytes()
        assert reader.read("compact.jpg") == data[:100].tobytes()
        copied = list(copy_images([(reader, name, None) for name in reader.names()], writer))
    assert [(image.name, image.size) for image in copied] == [("chunked.jpg", 70_000), ("compact.jpg", 100)]
    with ImageReader(tmp_path / "copy.h5") as reader:
        assert reader.read("chunked.jpg") == data.tobytes()


def test_links_and_bytes_outside_the_file_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    _write(tmp_path / "elsewhere.h5", {"a.jpg": b"secret"})
    with h5py.File(tmp_path / "evil.h5", "w") as file:
        file["link.jpg"] = h5py.ExternalLink("elsewhere.h5", "/a.jpg")
        file["soft.jpg"] = h5py.SoftLink("/link.jpg")
        file.create_dataset("outside.jpg", (6,), "u1", external=[(str(secret), 0, 6)])
        virtual = h5py.VirtualLayout((6,), "u1")
        virtual[:] = h5py.VirtualSource(str(tmp_path / "elsewhere.h5"), "a.jpg", (6,))
        file.create_virtual_dataset("virtual.jpg", virtual)
        file.create_group("folder")
        file["text.jpg"] = "a string of any length"
        file["numbers.jpg"] = np.zeros(3)
    with ImageReader(tmp_path / "evil.h5") as reader:
        with pytest.raises(InputError, match="link to elsewhere"):
            reader.names()
        for name in (
            "link.jpg",
            "soft.jpg",
            "outside.jpg",
            "virtual.jpg",
            "folder",
            "text.jpg",
            "numbers.jpg",
            "no.jpg",
        ):
            with pytest.raises(ImageError, match=name):
                reader.read(name)


def test_a_file_cut_short_or_no_hdf5_file_is_an_input_error(tmp_path: Path) -> None:
    whole = _write(tmp_path / "whole.h5", IMAGES).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5").write_bytes(b"no HDF5")
    for name in ("cut.h5", "text.h5"):
        with pytest.raises(InputError, match=f"{name}: not a whole HDF5 file"):
            ImageReader(tmp_path / name)
    with pytest.raises(MissingInputError):
        ImageReader(tmp_path / "none.h5")


def test_copying_keeps_order_bytes_and_hashes(tmp_path: Path) -> None:
    images = {f"{number}.jpg": os.urandom(1 + number * 997 % 90_000) for number in range(1500)}
    _write(tmp_path / "a.h5", dict(list(images.items())[:700]))
    _write(tmp_path / "b.h5", dict(list(images.items())[700:]))
    with (
        ImageReader(tmp_path / "a.h5") as a,
        ImageReader(tmp_path / "b.h5") as b,
        ImageWriter(tmp_path / "all.h5") as writer,
    ):
        copied = list(copy_images(((a if name in a else b, name, None) for name in images), writer))
    expected = [(name, len(data), zlib.crc32(data)) for name, data in images.items()]
    assert [tuple(image[:3]) for image in copied] == expected
    assert (tmp_path / "all.h5").read_bytes() == _write(tmp_path / "again.h5", images).read_bytes()


def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from ovforge.errors import WorkError
from ovforge.files.atomic import atomic_path
from ovforge.image_io.hdf5 import ImageWriter
try:
    with atomic_path(Path(sys.argv[1])) as path, ImageWriter(path) as writer:
        for number in range(100):
            writer.add(f"{number}.jpg", bytes(int(sys.argv[2])))
except WorkError as error:
    print(error.message)
    sys.exit(error.exit_code)
"""
    for size, limit in ((100_000, 1 << 20), (10, 1 << 12)):  # the limit met by an image, and by the library's books
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "out.h5"), str(size)],
            capture_output=True,
            text=True,
            timeout=60,
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert done.returncode == 1, done.stderr
        assert "out.h5" in done.stdout
        assert not list(tmp_path.iterdir())
