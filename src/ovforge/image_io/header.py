"""An image's width and height from its header, without decoding it.

Formats: JPEG, PNG, GIF, BMP, WebP, told apart by their first bytes and never by the file's name: ImageNet has PNG
and CMYK bytes under `.JPEG`. Width and height are those of the image as it is shown, turned by its EXIF
orientation, as decoders that honour EXIF give them. A header says nothing of the bytes after it: an image cut
short behind its header still has a size.

The library imagesize does much of this; these lines are faster (one read of a few kilobytes an image), never take
a name for an address to fetch from, and do not accept SVG or video.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ovforge.errors import ImageError

_HEAD = 4096
"""Bytes of the first read: enough for the header of nearly every image of ImageNet."""

ReadAt = Callable[[int, int], bytes]
"""read_at(offset, size): at most `size` bytes, fewer only at the end of the image."""

_JPEG_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))  # TEM, RST0-7, SOI
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0-15 without DHT, JPG, DAC
_JPEG_END, _JPEG_SCAN, _JPEG_APP1 = 0xD9, 0xDA, 0xE1
_EXIF_ORIENTATION = 0x0112
_EXIF_SIZES = {1: 1, 3: 2, 4: 4}  # BYTE, SHORT, LONG


class _BrokenHeaderError(Exception):
    """The header contradicts itself or ends too early; becomes an ImageError with the image's name."""


def read_size(source: bytes | BinaryIO, name: Path | str) -> tuple[int, int]:
    """Width and height in pixels of the image in `source`, turned by its EXIF orientation.

    Args:
        source: the image's bytes, or a seekable file that holds nothing else.
        name: what errors call the image.

    Raises:
        ImageError: no image of a known format, or its header is broken; names it.
    """
    if isinstance(source, bytes):
        return _size(source[:_HEAD], lambda offset, size: source[offset : offset + size], name)

    def read_at(offset: int, size: int) -> bytes:
        source.seek(offset, io.SEEK_SET)
        return source.read(size)

    return _size(read_at(0, _HEAD), read_at, name)


def read_size_at(read_at: ReadAt, name: Path | str) -> tuple[int, int]:
    """`read_size` of an image that lies anywhere: in a tar, in a range of a file.

    Raises:
        ImageError: see `read_size`; also where the system cannot read.
    """
    try:
        return _size(read_at(0, _HEAD), read_at, name)
    except OSError as error:
        raise ImageError(name, "cannot be read", detail=str(error.strerror)) from error


def read_size_of_file(path: Path | str, name: Path | str | None = None) -> tuple[int, int]:
    """`read_size` of the file at `path`; errors call it `name`, or its path.

    Raises:
        ImageError: see `read_size`; also a file that is missing, is a folder, or cannot be read.
    """
    name = path if name is None else name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ImageError(name, "cannot be opened", detail=str(error.strerror)) from error
    try:
        return read_size_at(lambda offset, size: os.pread(descriptor, size, offset), name)
    finally:
        os.close(descriptor)


def _size(head: bytes, read_at: ReadAt, name: Path | str) -> tuple[int, int]:
    try:
        if head.startswith(b"\xff\xd8\xff"):
            width, height, orientation = _jpeg(head, read_at)
        elif head.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height, orientation = _png(head, read_at)
        elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            width, height, orientation = _webp(head, read_at)
        elif head.startswith((b"GIF87a", b"GIF89a")):
            width, height, orientation = _little(head, 6, 2), _little(head, 8, 2), 1
        elif head.startswith(b"BM"):
            width, height, orientation = _bmp(head)
        else:
            raise ImageError(name, _not_a_image(head))
    except _BrokenHeaderError as error:
        raise ImageError(name, "has a broken header", detail=str(error)) from None
    if width == 0 or height == 0:
        raise ImageError(name, "has a broken header", detail=f"it says {width}x{height} pixels")
    return (height, width) if orientation >= 5 else (width, height)


def _not_a_image(head: bytes) -> str:
    if not head:
        return "is empty"
    if not head.strip(b"\0"):
        return "holds zeros only, as an interrupted download does"
    return f"not a JPEG, PNG, GIF, BMP or WebP image (begins with {head[:8]!r})"


def _jpeg(head: bytes, read_at: ReadAt) -> tuple[int, int, int]:
    """Walk the segments up to the first scan (ITU T.81, B.1.1); EXIF may stand on either side of the frame."""
    window, start, position = head, 0, 2
    width = height = -1
    orientation = 1
    while True:
        at = position - start
        if at + 9 > len(window):
            window, start, at = read_at(position, _HEAD), position, 0
            if len(window) < 2:
                raise _BrokenHeaderError("it ends before its first scan")
        if window[at] != 0xFF or window[at + 1] in (0x00, 0xFF):
            # Fill bytes and stray bytes between segments: decoders skip them too.
            skipped = window.find(b"\xff", at + 1)
            position = start + (skipped if skipped >= 0 else len(window))
            continue
        marker = window[at + 1]
        if marker in _JPEG_WITHOUT_LENGTH:
            position += 2
            continue
        if marker == _JPEG_SCAN:
            if width < 0:
                raise _BrokenHeaderError("a scan comes before its frame")
            return width, height, orientation
        if marker == _JPEG_END:
            raise _BrokenHeaderError("it ends before its first scan")
        length = _big(window, at + 2, 2)
        if length < 2:
            raise _BrokenHeaderError(f"segment at byte {position} has length {length}")
        if marker in _JPEG_FRAMES:
            height, width = _big(window, at + 5, 2), _big(window, at + 7, 2)
        elif marker == _JPEG_APP1 and orientation == 1:
            payload = window[at + 4 : at + 2 + length]
            if len(payload) < length - 2:
                payload = read_at(position + 4, length - 2)
            if payload.startswith(b"Exif\0\0"):
                orientation = _orientation(payload[6:])
        position += 2 + length


def _png(head: bytes, read_at: ReadAt) -> tuple[int, int, int]:
    width, height = _big(head, 16, 4), _big(head, 20, 4)
    if head[12:16] != b"IHDR":
        raise _BrokenHeaderError("PNG does not begin with its IHDR chunk")
    position = 33
    while True:
        chunk = head[position : position + 8] if position + 8 <= len(head) else read_at(position, 8)
        # eXIf stands before the pixels; a PNG cut short behind its header still has a size, as for JPEG.
        if len(chunk) < 8 or chunk[4:] in (b"IDAT", b"IEND"):
            return width, height, 1
        if chunk[4:] == b"eXIf":
            return width, height, _orientation(read_at(position + 8, _big(chunk, 0, 4)))
        position += 12 + _big(chunk, 0, 4)


def _webp(head: bytes, read_at: ReadAt) -> tuple[int, int, int]:
    kind = head[12:16]
    if kind == b"VP8 ":
        return _little(head, 26, 2) & 0x3FFF, _little(head, 28, 2) & 0x3FFF, 1
    if kind == b"VP8L":
        bits = _little(head, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1
    if kind != b"VP8X":
        raise _BrokenHeaderError(f"WebP begins with an unknown chunk {kind!r}")
    width, height = _little(head, 24, 3) + 1, _little(head, 27, 3) + 1
    has_exif = bool(head[20] & 0x08)
    return width, height, _webp_orientation(read_at) if has_exif else 1


def _webp_orientation(read_at: ReadAt) -> int:
    position = 12
    while len(chunk := read_at(position, 8)) == 8:
        size = _little(chunk, 4, 4)
        if chunk[:4] == b"EXIF":
            return _orientation(read_at(position + 8, min(size, 1 << 16)).removeprefix(b"Exif\0\0"))
        position += 8 + size + size % 2
    return 1


def _bmp(head: bytes) -> tuple[int, int, int]:
    if _little(head, 14, 4) == 12:  # the header of OS/2
        return _little(head, 18, 2), _little(head, 20, 2), 1
    # A negative height means that the rows run from top to bottom.
    width, height = (int.from_bytes(_cut(head, at, 4), "little", signed=True) for at in (18, 22))
    return max(width, 0), abs(height), 1


def _orientation(exif: bytes) -> int:
    """The orientation tag of an EXIF block (a TIFF header), 1 where there is none or it makes no sense."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(exif[:4])
    if order is None:
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], order)  # type: ignore[arg-type]

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        if entry + 12 > len(exif):
            break
        if number(entry, 2) == _EXIF_ORIENTATION:
            value = number(entry + 8, _EXIF_SIZES.get(number(entry + 2, 2), 0))
            return value if 1 <= value <= 8 else 1
    return 1


def _big(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(_cut(data, at, size), "big")


def _little(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(_cut(data, at, size), "little")


def _cut(data: bytes, at: int, size: int) -> bytes:
    cut = data[at : at + size]
    if len(cut) < size:
        raise _BrokenHeaderError("it ends within its header")
    return cut


def read_orientation(data: bytes, name: Path | str) -> int:
    """The EXIF orientation of the image in `data`, 1 (upright) to 8; 1 where it says none.

    Raises:
        ImageError: the image's header is broken; names it.
    """

    def read_at(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data[:_HEAD], read_at)[2]
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data[:_HEAD], read_at)[2]
    except _BrokenHeaderError as error:
        raise ImageError(name, "has a broken header", detail=str(error)) from None
    return 1
