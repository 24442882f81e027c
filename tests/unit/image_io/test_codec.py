"""Decoding and encoding: real images come through, everything else is refused by name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovforge.errors import ImageError
from ovforge.image_io.codec import decode_rgb, encode_jpeg, stored_size

RED = np.zeros((48, 64, 3), np.uint8)
RED[:, :32] = (200, 30, 40)


def encoded(suffix: str) -> bytes:
    return cv2.imencode(suffix, cv2.cvtColor(RED, cv2.COLOR_RGB2BGR))[1].tobytes()


def test_channels_are_rgb_both_ways() -> None:
    image = decode_rgb(encode_jpeg(RED, 95), "x")
    assert image.shape == RED.shape
    assert image.dtype == np.uint8
    assert np.abs(image[:, :24].astype(int) - RED[:, :24]).max() < 12
    assert encode_jpeg(RED, 95) == encode_jpeg(RED.copy(), 95)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_reads_the_common_formats(suffix: str) -> None:
    data = encoded(suffix)
    assert stored_size(data, "x") == (64, 48)
    assert decode_rgb(data, "x").shape == (48, 64, 3)


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 4)])
def test_grey_and_alpha_become_rgb(shape: tuple[int, ...]) -> None:
    data = cv2.imencode(".png", np.full(shape, 77, np.uint8))[1].tobytes()
    assert (decode_rgb(data, "x") == 77).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@given(keep=st.floats(0, 0.97))
@settings(max_examples=40, deadline=None)
def test_a_truncated_image_is_refused_and_named(suffix: str, keep: float) -> None:
    data = encoded(suffix)
    with pytest.raises(ImageError, match=r"^half\.jpg: "):
        decode_rgb(data[: int(len(data) * keep)], "half.jpg")


def test_every_truncation_of_a_real_photograph_is_found(mini: Path) -> None:
    data = (mini / "coco/train2017/000000000009.jpg").read_bytes()
    assert decode_rgb(data, "x").shape == (480, 640, 3)
    for stop in (2, 100, 1000, len(data) // 2, len(data) - 1000, len(data) - 2):
        with pytest.raises(ImageError, match="cut short"):
            decode_rgb(data[:stop], "x")


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_noise_is_refused_whatever_its_first_bytes(noise: bytes) -> None:
    for start in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*"):
        with pytest.raises(ImageError):
            decode_rgb(start + noise, "noise")


def test_an_image_bomb_is_refused_from_its_header() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    bomb += chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="60000x60000 pixels, above the limit of 100,000,000"):
        decode_rgb(bomb, "bomb.png")


def test_exif_orientation_is_left_alone_unless_asked_for(mini: Path) -> None:
    (path,) = (mini / "imagenet").rglob("n02114100_9835.JPEG")
    data = path.read_bytes()
    assert stored_size(data, path) == (96, 60)
    assert decode_rgb(data, path).shape == (60, 96, 3)
    assert decode_rgb(data, path, upright=True).shape == (96, 60, 3)


def test_every_odd_file_of_the_data_set_is_read(mini: Path) -> None:
    files = sorted((mini / "imagenet").rglob("*.JPEG"))
    assert len(files) > 300
    for path in files:
        assert decode_rgb(path.read_bytes(), path).ndim == 3
