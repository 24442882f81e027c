"""Sizes from headers: every format and oddity that ImageNet has, and what is not an image."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from ovforge.errors import ImageError, MissingImageError
from ovforge.image_io.header import read_header_at, read_size, read_size_of_file

WIDTH, HEIGHT = 37, 23


def encoded(suffix: str, *parameters: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    done, data = cv2.imencode(suffix, pixels, list(parameters))
    assert done
    return data.tobytes()


def exif(orientation: int, order: str = "<", *, entries_before: int = 0, datatype: int = 3) -> bytes:
    """A TIFF header with one directory that holds `orientation`."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    other = struct.pack(order + "HHLL", 0x010F, 2, 4, 0) * entries_before
    value = struct.pack(order + "H", orientation) + b"\0\0" if datatype == 3 else struct.pack(order + "L", orientation)
    entry = struct.pack(order + "HHL", 0x0112, datatype, 1) + value
    return mark + struct.pack(order + "LH", 8, entries_before + 1) + other + entry + b"\0" * 4


def segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


def with_exif(jpeg: bytes, tiff: bytes, *, before: bytes = b"") -> bytes:
    return jpeg[:2] + before + segment(0xE1, b"Exif\0\0" + tiff) + jpeg[2:]


def chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">L", len(payload)) + kind + payload + b"\0\0\0\0"


def riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<L", len(chunks) + 4) + b"WEBP" + chunks


def bmp(header: bytes) -> bytes:
    return b"BM" + struct.pack("<8xL", 14 + len(header)) + header + bytes((WIDTH * 3 + 3) // 4 * 4 * HEIGHT)


PROGRESSIVE = encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
JPEG = encoded(".jpg")
PNG = encoded(".png")


@pytest.mark.parametrize(
    "data",
    [
        JPEG,
        PROGRESSIVE,
        PNG,
        encoded(".bmp"),
        encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 80),
        encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101),  # lossless
        bmp(struct.pack("<LiiHHL20x", 40, WIDTH, -HEIGHT, 1, 24, 0)),  # rows from top to bottom
        bmp(struct.pack("<LHHHH", 12, WIDTH, HEIGHT, 1, 24)),  # OS/2
        JPEG[:2] + b"\xff\xff\xff" + JPEG[3:],  # fill bytes
        JPEG[:20] + b"stray" + JPEG[20:],  # between two segments
        JPEG[:2] + segment(0xE2, b"\0" * 60_000) * 3 + JPEG[2:],  # a colour profile longer than the first read
    ],
    ids=lambda data: repr(data[:4]),
)
def test_size_of_every_format_from_bytes_and_files(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image.JPEG"
    path.write_bytes(data)
    assert read_size(data, "x") == (WIDTH, HEIGHT)
    assert read_size_of_file(path) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_the_size_as_a_decoder_does(orientation: int) -> None:
    data = with_exif(JPEG, exif(orientation))
    height, width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]
    assert read_size(data, "x") == (width, height)
    assert (width, height) == ((HEIGHT, WIDTH) if orientation >= 5 else (WIDTH, HEIGHT))


@pytest.mark.parametrize(
    "data",
    [
        with_exif(JPEG, exif(6, ">")),
        with_exif(JPEG, exif(8, entries_before=3)),
        with_exif(JPEG, exif(6, datatype=4)),
        with_exif(JPEG, exif(6), before=segment(0xE2, b"\0" * 5000)),  # behind the first read
        with_exif(JPEG, exif(6) + b"\0" * 20_000),  # a thumbnail behind it
        PNG[:33] + chunk(b"eXIf", exif(6)) + PNG[33:],
        JPEG[: JPEG.index(b"\xff\xda")] + segment(0xE1, b"Exif\0\0" + exif(6)) + JPEG[JPEG.index(b"\xff\xda") :],
        riff(
            b"VP8X"
            + struct.pack("<LB3x", 10, 0x08)
            + (WIDTH - 1).to_bytes(3, "little")
            + (HEIGHT - 1).to_bytes(3, "little")
            + b"VP8 \x03\0\0\0abc\0EXIF"
            + struct.pack("<L", len(exif(6)))
            + exif(6)
        ),
    ],
    ids=["big-endian", "later entry", "LONG", "far", "long", "png", "behind the frame", "webp"],
)
def test_orientation_is_found_wherever_it_stands(data: bytes) -> None:
    assert read_size(data, "x") == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    "tiff",
    [b"", b"II*\0", exif(0), exif(9), exif(6)[:-9], b"XX" + exif(6)[2:], b"II*\0" + struct.pack("<L", 10**9)],
    ids=["empty", "mark only", "0", "9", "cut", "order", "far"],
)
def test_orientation_that_makes_no_sense_is_no_orientation(tiff: bytes) -> None:
    assert read_size(with_exif(JPEG, tiff), "x") == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (b"\0" * 5000, "zeros only"),
        (b"<html>404</html>", "web page"),
        (JPEG[:30], "cut short .* ends in its header"),
        (JPEG[:2], "cut short"),
        (b"\xff\xd8\xff\xd9" + bytes(9), "ends before its first scan"),
        (b"\xff\xd8\xff\xdb\x00\x01" + b"\0" * 20, "length 1"),
        (JPEG[:2] + JPEG, "second image begins before"),
        (JPEG[:2] + b"\xff\x42\0\4\0\0" + JPEG[2:], "unknown marker FF42 at byte 2"),
        (PNG[:20], "cut short"),
        (PNG[:33] + PNG[-12:], "without pixels"),
        (b"GIF89a" + struct.pack("<HH", 0, 5) + b"\0\0\0;", "without an image"),
        (riff(b"ABCD" + b"\0" * 20), "unknown chunk"),
        (riff(b"VP8 " + b"\0" * 40), "start code"),
        (bmp(struct.pack("<LiiHHL20x", 40, -5, 7, 1, 24, 0)), "-5x7 pixels"),
        (bmp(struct.pack("<L36x", 20)), "header of 20 bytes"),
    ],
)
def test_no_image_is_an_error_that_names_it(data: bytes, problem: str) -> None:
    with pytest.raises(ImageError, match=problem) as caught:
        read_size(data, "n01/n01_5.JPEG")
    assert caught.value.message.startswith("n01/n01_5.JPEG: ")


def test_every_prefix_is_a_size_or_an_image_error() -> None:
    for data in (JPEG, PNG, with_exif(JPEG, exif(6)), encoded(".webp")):
        for length in range(len(data)):
            try:
                assert read_size(data[:length], "x") in ((WIDTH, HEIGHT), (HEIGHT, WIDTH))
            except ImageError:
                continue


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingImageError, match="is missing"):
        read_size_of_file(tmp_path / "none.JPEG")
    with pytest.raises(ImageError, match="is a folder"):
        read_size_of_file(tmp_path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_an_image_in_a_file_is_read_by_its_ends_alone(suffix: str, tmp_path: Path) -> None:
    data = encoded(suffix, width=1500, height=1200)
    read: list[int] = []

    def read_at(offset: int, size: int) -> bytes:
        piece = data[offset : offset + size]
        read.append(len(piece))
        return piece

    assert read_header_at(read_at, len(data), "x").size == (1500, 1200)
    assert sum(read) < 10_000 < len(data)


def test_same_sizes_as_the_reference_got_by_decoding(mini: Path, mini_expected: Path) -> None:
    path = mini_expected / "create_imagenetlvis_json" / "imagenet_lvis_image_info.sorted.json.gz"
    for image in json.loads(gzip.decompress(path.read_bytes()))["images"]:
        size = read_size_of_file(mini / "imagenet" / "imagenet21k_P" / image["file_name"])
        assert size == (image["width"], image["height"]), image["file_name"]
