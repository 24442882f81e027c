"""What an image's bytes say without being decoded: its size, its EXIF orientation, and whether it is whole.

The one reader of headers, for every step. Its answers are those of the decoders, Pillow and OpenCV: what both decode is
accepted, at the same size, and orientation is what Pillow reads (the first EXIF block counts, where there are several
they are one; without the tag, XMP is asked). Formats are told apart by their first bytes, never by the file's name:
ImageNet has PNG and CMYK bytes under `.JPEG`. Damage inside the compressed data shows in decoding only.

Hand-written, because the libraries that read sizes answer less: imagesize takes a web page with an <img> for an image,
knows no damage and reads EXIF otherwise than the decoders; Pillow takes 40 µs an image in place of 9, and does not see
that a JPEG is cut.

JPEG, PNG, WebP, GIF and BMP are read here; TIFF, PNM, JPEG 2000 and AVIF in `rare_headers`.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ovforge.errors import ImageError, MissingImageError
from ovforge.files.content import describe_content
from ovforge.image_io.exif import NO_TAG, exif_orientation, xmp_orientation
from ovforge.image_io.rare_headers import CutShortError, DamagedError, Header, Source, read_rare_header
from ovforge.image_io.read_file import OPEN_FLAGS, read_failure

_HEAD = 4096
"""Bytes of the first read: enough for the header of nearly every image of ImageNet."""
_TAIL = 64
"""Bytes of the read at the end: nearly every JPEG's end marker is in its last two."""

_SOI, _EOI, _SOS, _APP1, _COM = 0xD8, 0xD9, 0xDA, 0xE1, 0xFE
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))  # TEM, RST0-7, SOI
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0-15 without DHT, JPG, DAC
_OF_NO_MEANING_HERE = frozenset((0xC4, 0xCC, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE)) - {_APP1}
"""Tables, comments and applications' segments."""
_MARKER_IN_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_GIF_BLOCK = re.compile(rb"[\x21\x2c\x3b]")
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_FRAME = struct.Struct(">BHH")


class ImageHeader(NamedTuple):
    """What an image's header says."""

    format: str
    """`JPEG`, `PNG`, `WebP`, `GIF`, `BMP`, `TIFF`, `PNM`, `JPEG 2000` or `AVIF`."""
    width: int
    height: int
    """Of the pixels as they are stored, which is what annotations of COCO and LVIS are drawn on."""
    orientation: int
    """EXIF orientation, 1 (as stored) to 8."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as stored."""
        return self.width, self.height

    @property
    def shown_size(self) -> tuple[int, int]:
        """(width, height) of the image turned upright, as viewers and detectors' loaders show it."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(data: bytes, name: Path | str) -> ImageHeader:
    """The header of the image in `data`; `name` is what errors call it.

    Raises:
        ImageError: empty, no image of a known format, cut short, or damaged where the header tells.
    """
    return _read(Source(lambda offset, size: data[offset : offset + size], len(data), data), name)


def read_header_at(read_at: Callable[[int, int], bytes], length: int, name: Path | str) -> ImageHeader:
    """`read_header` of an image that lies anywhere (in a tar, in a range of a file), from its first and last bytes.

    Args:
        read_at: read_at(offset, size) gives at most `size` bytes, fewer only at the end of the image.
        length: the image's bytes.
        name: what errors call the image.

    Raises:
        ImageError: see `read_header`. A JPEG that is cut and goes on with another is found by `read_header` only.
    """
    return _read(Source(read_at, length), name)


def read_header_of_file(path: Path | str, name: Path | str | None = None) -> ImageHeader:
    """`read_header_at` of the file at `path`; errors call it `name`, or its path.

    Raises:
        MissingImageError: the file is not there, in a folder that is there.
        ImageError: see `read_header_at`; also a folder, a pipe, a link to itself.
        StorageError: the disk or network file system failed.
    """
    name = path if name is None else name
    try:
        descriptor = os.open(path, OPEN_FLAGS)
        try:
            # Instead of a stat, which takes a tenth longer in all: a pipe cannot seek, and a folder cannot be read.
            length = os.lseek(descriptor, 0, os.SEEK_END)
            return _read(Source(lambda offset, size: os.pread(descriptor, size, offset), length), name)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise read_failure(error, path, name) from error


def read_size_of_file(path: Path | str, name: Path | str | None = None) -> tuple[int, int]:
    """Width and height of the image file at `path`, turned upright by its orientation; see `read_header_of_file`."""
    return read_header_of_file(path, name).shown_size


def read_size(data: bytes, name: Path | str) -> tuple[int, int]:
    """Width and height of the image in `data`, turned upright by its orientation; see `read_header`."""
    return read_header(data, name).shown_size


def read_orientation(data: bytes, name: Path | str) -> int:
    """The EXIF orientation of the image in `data`, 1 (as stored) to 8; see `read_header`."""
    return read_header(data, name).orientation


def _read(source: Source, name: Path | str) -> ImageHeader:
    head = source.read_at(0, _HEAD)
    try:
        if head.startswith(b"\xff\xd8\xff"):
            header = _jpeg(head, source)
        elif head.startswith(b"\x89PNG\r\n\x1a\n"):
            header = _png(source)
        elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            header = _webp(head, source)
        elif head.startswith((b"GIF87a", b"GIF89a")):
            header = _gif(head, source)
        elif head.startswith(b"BM"):
            header = _bmp(head, source)
        else:
            rare = read_rare_header(head, source)
            if rare is None:
                raise ImageError(name, _not_an_image(head))
            header = rare
    except CutShortError as error:
        raise ImageError(name, "is cut short", detail=str(error), hint="fetch it again") from None
    except DamagedError as error:
        raise ImageError(name, "is damaged", detail=str(error)) from None
    except (struct.error, IndexError):  # fewer bytes than a field needs
        detail = f"{source.length:,} bytes, which end in its header"
        raise ImageError(name, "is cut short", detail=detail, hint="fetch it again") from None
    if header[1] <= 0 or header[2] <= 0:
        raise ImageError(name, "is damaged", detail=f"its header says {header[1]}x{header[2]} pixels")
    return ImageHeader(*header)


def _not_an_image(head: bytes) -> str:
    if not head:
        return "is empty"
    if not head.strip(b"\0"):
        return "holds zeros only, as an interrupted download does"
    if head.startswith(b"\xff\xd8"):
        return "is cut short"
    what = describe_content(head)
    return "is not an image of a known format" if what.startswith("a file that begins") else f"is {what}, not an image"


def _jpeg(head: bytes, source: Source) -> Header:
    """Walk the segments up to the first scan (ITU T.81, B.1.1), skipping what decoders skip."""
    window, start, at = head, 0, 2
    width = height = -1
    exif: list[bytes] = []
    xmp: tuple[int, int] | None = None
    while True:
        if at + 10 > len(window) and start + len(window) < source.length:
            window, start, at = source.read_at(start + at, _HEAD), start + at, 0
        if at + 4 > len(window):
            raise CutShortError(f"a JPEG of {source.length:,} bytes that ends in its header")
        marker, length = window[at + 1], window[at + 2] << 8 | window[at + 3]
        if window[at] != 0xFF or marker == 0x00:
            # Stray bytes between segments: libjpeg skips them with a warning, Pillow without.
            found = window.find(b"\xff", at + 1)
            at = found if found >= 0 else len(window)
            continue
        if marker in _OF_NO_MEANING_HERE and length >= 2:  # first, because most segments are of these
            at += 2 + length
            continue
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _WITHOUT_LENGTH:
            if marker == _SOI:
                raise DamagedError("a second image begins before the first scan")
            at += 2
            continue
        if marker == _EOI:
            raise CutShortError("a JPEG that ends before its first scan")
        if marker < 0xC0:
            raise DamagedError(f"unknown marker FF{marker:02X} at byte {start + at:,}")
        if length < 2 and not _is_of_an_application(marker):
            raise DamagedError(f"segment at byte {start + at:,} has length {length}")
        if marker == _SOS:
            break
        if marker in _FRAMES:
            precision, height, width = _FRAME.unpack_from(window, at + 4)
            if precision != 8:
                raise DamagedError(f"a JPEG of {precision} bits, which decoders do not read")
        elif marker == _APP1:
            begin = window[at + 4 : at + 4 + len(_XMP)]
            if len(begin) < len(_XMP):
                begin = source.read_at(start + at + 4, len(_XMP))
            if begin.startswith(_EXIF) and length >= 8:
                payload = window[at + 10 : at + 2 + length]
                exif.append(payload if len(payload) == length - 8 else source.read_at(start + at + 10, length - 8))
            elif begin == _XMP:
                xmp = (start + at + 4 + len(_XMP), length - 2 - len(_XMP))
        at += 2 + max(length, 2)  # decoders take a length below 2 for an empty comment
    if width < 0:
        raise DamagedError("a scan comes before its frame")
    _check_end_of_jpeg(source, start + at)
    orientation = exif_orientation(b"".join(exif)) if exif else NO_TAG
    if orientation == NO_TAG:
        orientation = xmp_orientation(source.read_at(*xmp)) if xmp else 1
    return Header("JPEG", width, height, orientation)


def _check_end_of_jpeg(source: Source, scan: int) -> None:
    """There is an end marker after the first scan's header. Anything may follow it: zeros, a page, a second image.

    Inside a scan the byte FF is always followed by 00 or a restart marker, so FF D9 is an end marker. Thumbnails, with
    end markers of their own, stand before the first scan.
    """
    data = source.data
    if data is None:
        tail = source.length - _TAIL
        if tail > scan and b"\xff\xd9" in source.read_at(tail, _TAIL):
            return
        if source.find_from(b"\xff\xd9", scan):
            return
    else:
        last = data.rfind(b"\xff\xd9", scan)
        if last >= 0:
            if _holds_a_start(data, scan, last):
                another = data.find(b"\xff\xd8\xff", scan, data.find(b"\xff\xd9", scan))
                if another >= 0 and _is_in_a_scan(data, scan, another):
                    raise CutShortError(f"another image begins at byte {another:,}, before the end of this one")
            return
    raise CutShortError(f"a JPEG of {source.length:,} bytes without an end marker")


def _holds_a_start(data: bytes, start: int, stop: int) -> bool:
    """Whether FF D8 stands in [start, stop): 14 µs for a photograph, where `bytes.find` takes 150."""
    even, odd = (np.frombuffer(data, "<u2", (stop - at) // 2, at) for at in (start, start + 1))
    return bool((even == 0xD8FF).any() or (odd == 0xD8FF).any())


def _is_in_a_scan(data: bytes, position: int, place: int) -> bool:
    """Whether `place` is in compressed data or a table, not in an application's segment between two scans."""
    while position < place:
        marker = data[position + 1]
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if position > place:
            return not _is_of_an_application(marker)
        found = _MARKER_IN_SCAN.search(data, position)
        if found is None:
            return True
        position = found.end() - 2
    return True


def _is_of_an_application(marker: int) -> bool:
    """Whether a segment is a comment or an application's, which decoders step over."""
    return 0xE0 <= marker <= 0xEF or marker == _COM


def _png(source: Source) -> Header:
    """Walk all chunks: EXIF may stand behind the pixels, and only an IEND chunk says that the file is whole."""
    first = source.read_at(8, 25)
    if first[4:8] != b"IHDR":
        raise DamagedError("a PNG that does not begin with its IHDR chunk")
    width, height = struct.unpack_from(">II", first, 8)
    orientation, xmp, pixels, position = NO_TAG, b"", False, 8
    while True:
        chunk = source.read_at(position, 8)
        if len(chunk) < 8:
            raise CutShortError(f"a PNG of {source.length:,} bytes without its last chunk")
        size, kind = int.from_bytes(chunk[:4], "big"), chunk[4:]
        if position + 12 + size > source.length:
            raise CutShortError(f"a PNG whose chunk at byte {position:,} continues beyond the end")
        if source.data is not None and kind in (b"IHDR", b"PLTE", b"IDAT"):
            stored = source.data[position + 8 + size : position + 12 + size]
            if zlib.crc32(memoryview(source.data)[position + 4 : position + 8 + size]) != int.from_bytes(stored, "big"):
                raise DamagedError(f"a PNG whose chunk {kind.decode()} at byte {position:,} fails its checksum")
        if kind == b"IDAT":
            pixels = True
        elif kind == b"eXIf":
            orientation = exif_orientation(source.read_at(position + 8, size))
        elif kind == b"iTXt" and not xmp:
            text = source.read_at(position + 8, size)
            if text.startswith(b"XML:com.adobe.xmp\0\0"):  # uncompressed
                xmp = text
        elif kind == b"IEND":
            break
        position += 12 + size
    if not pixels:
        raise DamagedError("a PNG without pixels")
    if orientation == NO_TAG:
        orientation = xmp_orientation(xmp)
    return Header("PNG", width, height, orientation)


def _webp(head: bytes, source: Source) -> Header:
    if 8 + int.from_bytes(head[4:8], "little") > source.length:
        raise CutShortError(f"a WebP of {source.length:,} bytes, which says that it is longer")
    kind = head[12:16]
    if kind == b"VP8 ":
        if head[23:26] != b"\x9d\x01\x2a":
            raise DamagedError("a WebP without its start code")
        width, height = struct.unpack_from("<HH", head, 26)
        return Header("WebP", width & 0x3FFF, height & 0x3FFF, 1)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", head, 21)[0]
        return Header("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1)
    if kind != b"VP8X":
        raise DamagedError(f"a WebP that begins with an unknown chunk {kind!r}")
    if len(head) < 30:
        raise CutShortError(f"a WebP of {source.length:,} bytes")
    width = int.from_bytes(head[24:27], "little") + 1
    height = int.from_bytes(head[27:30], "little") + 1
    return Header("WebP", width, height, _webp_orientation(source))


def _webp_orientation(source: Source) -> int:
    orientation, xmp, position = NO_TAG, b"", 12
    while len(chunk := source.read_at(position, 8)) == 8:
        size = int.from_bytes(chunk[4:], "little")
        if chunk[:4] == b"EXIF" and orientation == NO_TAG:
            orientation = exif_orientation(source.read_at(position + 8, size))
        elif chunk[:4] == b"XMP ":
            xmp = source.read_at(position + 8, size)
        position += 8 + size + size % 2
    return xmp_orientation(xmp) if orientation == NO_TAG else orientation


def _gif(head: bytes, source: Source) -> Header:
    """Walk the blocks to the trailer; a first frame that is larger than the screen enlarges it, as in Pillow."""
    if len(head) < 13:
        raise CutShortError(f"a GIF of {source.length:,} bytes")
    width, height, flags = struct.unpack_from("<HHB", head, 6)
    blocks = _Blocks(head, source)
    position = 13 + _gif_colours(flags)
    frames = 0
    while (kind := blocks.byte(position)) != 0x3B:
        if kind == 0x2C:  # an image
            if not frames:
                left, top, wide, high = struct.unpack("<HHHH", blocks.read(position + 1, 8))
                width, height = max(width, left + wide), max(height, top + high)
            frames += 1
            position += 10 + _gif_colours(blocks.byte(position + 9)) + 1
        elif kind == 0x21:  # an extension
            position += 2
        else:  # Pillow skips what it does not know
            position = blocks.next_block(position + 1)
            continue
        while size := blocks.byte(position):
            position += 1 + size
        position += 1
    if not frames:
        raise DamagedError("a GIF without an image")
    return Header("GIF", width, height, 1)


def _gif_colours(flags: int) -> int:
    """Bytes of the colour table that `flags` announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


class _Blocks:
    """Single bytes of a file, read in windows."""

    def __init__(self, head: bytes, source: Source) -> None:
        self._window, self._start, self._source = head, 0, source

    def byte(self, position: int) -> int:
        """The byte at `position`."""
        return self.read(position, 1)[0]

    def next_block(self, position: int) -> int:
        """Where the next byte is that may begin a block."""
        while True:
            self.byte(position)
            found = _GIF_BLOCK.search(self._window, position - self._start)
            if found is not None:
                return self._start + found.start()
            position = self._start + len(self._window)

    def read(self, position: int, size: int) -> bytes:
        """`size` bytes from `position` on."""
        at = position - self._start
        if at + size > len(self._window):
            self._window, self._start, at = self._source.read_at(position, 1 << 16), position, 0
            if len(self._window) < size:
                raise CutShortError(f"a GIF of {self._source.length:,} bytes without its end")
        return self._window[at : at + size]


def _bmp(head: bytes, source: Source) -> Header:
    if len(head) < 26:
        raise CutShortError(f"a BMP of {source.length:,} bytes")
    pixels, header = struct.unpack_from("<II", head, 10)
    compression = 0
    if header == 12:  # the header of OS/2
        width, height, _, bits = struct.unpack_from("<HHHH", head, 18)
    elif header >= 40:
        # A negative height means that the rows run from top to bottom.
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", head, 18)
        height = abs(height)
    else:
        raise DamagedError(f"a BMP with a header of {header} bytes")
    if compression in (0, 3) and width > 0:  # not run-length encoded: the rows' length is known
        row = (width * bits + 31) // 32 * 4
        need = pixels + row * (height - 1) + (width * bits + 7) // 8
        if need > source.length:
            raise CutShortError(f"a BMP of {source.length:,} bytes, of which {need:,} are needed")
    return Header("BMP", width, height, 1)


__all__ = [
    "ImageHeader",
    "MissingImageError",
    "read_header",
    "read_header_at",
    "read_header_of_file",
    "read_orientation",
    "read_size",
    "read_size_of_file",
]
