"""Headers of the formats that data sets of photographs hardly have, but decoders read: TIFF, PNM, JPEG 2000, AVIF.

Hand-written for the reasons that `header` gives, and short because what they say is little: a size, and whether the
bytes that the header speaks of are there.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ovforge.image_io.exif import valid_orientation

_PIECE = 1 << 20


class Header(NamedTuple):
    """Format, stored width and height, orientation."""

    format: str
    width: int
    height: int
    orientation: int


class CutShortError(Exception):
    """The bytes end before the image does."""


class DamagedError(Exception):
    """The header contradicts itself, or is of a kind that no decoder reads."""


class Source(NamedTuple):
    """Where an image's bytes are."""

    read_at: Callable[[int, int], bytes]
    """read_at(offset, size): at most `size` bytes, fewer only at the end of the image."""
    length: int
    data: bytes | None = None
    """All bytes, where they are in memory."""

    def find_from(self, mark: bytes, position: int) -> bool:
        """Whether `mark`, of two bytes, stands at or after `position`."""
        while position < self.length and (piece := self.read_at(position, _PIECE)):
            if mark in piece:
                return True
            position += max(len(piece) - 1, 1)  # it may lie across two pieces
        return False


def read_rare_header(head: bytes, source: Source) -> Header | None:
    """The header of an image of one of these formats; None if it is of none.

    Raises:
        CutShortError, DamagedError, struct.error: it cannot be read.
    """
    if head.startswith((b"II*\0", b"MM\0*")):
        return _tiff(source)
    if re.match(rb"P[1-6]\s", head):
        return _pnm(head, source)
    if head.startswith((b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return _jpeg2000(head, source)
    if head[4:8] == b"ftyp" and re.search(rb"avi[fs]", head[8:64]):
        return _avif(source)
    return None


def _tiff(source: Source) -> Header:
    """The first directory (TIFF 6.0). Both decoders turn a TIFF by its orientation whatever they are asked for."""
    start = source.read_at(0, 8)
    order = "<" if start[:1] == b"I" else ">"
    directory = struct.unpack(order + "4xL", start)[0]
    count = struct.unpack(order + "H", source.read_at(directory, 2))[0]
    entries = source.read_at(directory + 2, 12 * count)
    if len(entries) < 12 * count:
        raise CutShortError(f"a TIFF of {source.length:,} bytes that ends in its directory")
    fields: dict[int, list[int]] = {}
    for at in range(0, len(entries), 12):
        tag, kind, number = struct.unpack_from(order + "HHL", entries, at)
        if tag in (256, 257, 273, 274, 279, 324, 325) and kind in (3, 4):
            size = {3: 2, 4: 4}[kind] * number
            raw = entries[at + 8 : at + 8 + size] if size <= 4 else None
            if raw is None:
                raw = source.read_at(struct.unpack_from(order + "L", entries, at + 8)[0], min(size, source.length))
            if len(raw) < size:
                raise CutShortError(f"a TIFF of {source.length:,} bytes")
            fields[tag] = list(struct.unpack(order + {3: "H", 4: "L"}[kind] * number, raw))
    if not fields.get(256) or not fields.get(257):
        raise DamagedError("a TIFF without a size")
    for offsets, sizes in ((273, 279), (324, 325)):
        ends = (offset + size for offset, size in zip(fields.get(offsets, ()), fields.get(sizes, ()), strict=False))
        if max(ends, default=0) > source.length:
            raise CutShortError(f"a TIFF of {source.length:,} bytes, whose pixels continue beyond the end")
    width, height = fields[256][0], fields[257][0]
    if valid_orientation(fields.get(274, [1])[0]) >= 5:
        width, height = height, width
    return Header("TIFF", width, height, 1)


_PNM = re.compile(rb"P([1-6])(?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})(?:(?:\s|#[^\n]*\n)+(\d{1,5}))?")


def _pnm(head: bytes, source: Source) -> Header | None:
    match = _PNM.match(head)
    if match is None or (match[1] in b"2356" and match[4] is None):
        return None
    kind, width, height = int(match[1]), int(match[2]), int(match[3])
    channels = 3 if kind in (3, 6) else 1
    if kind <= 3:
        need = channels * width * height  # as text, at least a digit each
    else:
        row = (width + 7) // 8 if kind == 4 else width * channels * (2 if int(match[4]) > 255 else 1)
        need = match.end(3 if kind == 4 else 4) + 1 + row * height
    if need > source.length:
        raise CutShortError(f"a PNM of {source.length:,} bytes, of which {need:,} are needed")
    return Header("PNM", width, height, 1)


def _jpeg2000(head: bytes, source: Source) -> Header:
    """The image header box, or the size marker that begins a bare codestream (ISO 15444-1, A.5.1 and I.5.3.1)."""
    if head.startswith(b"\xff\x4f"):
        right, bottom, left, top = struct.unpack_from(">LLLL", head, 8)
        width, height = right - left, bottom - top
    else:
        box = head.find(b"ihdr")
        if box < 0:
            raise DamagedError("a JPEG 2000 file without an image header")
        height, width = struct.unpack_from(">LL", head, box + 4)
    # Packets never hold a byte above 8F behind an FF, so this is the end marker and nothing else.
    if not source.find_from(b"\xff\xd9", 0):
        raise CutShortError(f"a JPEG 2000 image of {source.length:,} bytes without an end marker")
    return Header("JPEG 2000", width, height, 1)


_ROTATED = {
    # (quarter turns anti-clockwise, mirror axis or None) -> EXIF orientation
    (0, None): 1, (0, 0): 4, (0, 1): 2, (1, None): 8, (1, 0): 5, (1, 1): 7,
    (2, None): 3, (2, 0): 2, (2, 1): 4, (3, None): 6, (3, 0): 7, (3, 1): 5,
}  # fmt: skip


def _avif(source: Source) -> Header:
    """The properties of the images in the file (ISO 23008-12): the largest is the image, others its thumbnails."""
    width = height = quarter_turns = 0
    axis: int | None = None
    whole = False
    for kind, begin, end in _boxes(source, 0, source.length):
        whole = whole or kind == b"mdat"
        if kind != b"meta":
            continue
        for inner, a, b in _boxes(source, begin + 4, end):
            if inner != b"iprp":
                continue
            for container, c, d in _boxes(source, a, b):
                for what, e, _ in _boxes(source, c, d) if container == b"ipco" else ():
                    if what == b"ispe":
                        found = struct.unpack(">LL", source.read_at(e + 4, 8))
                        width, height = max((width, height), (found[0], found[1]), key=lambda size: size[0] * size[1])
                    elif what == b"irot":
                        quarter_turns = source.read_at(e, 1)[0] & 3
                    elif what == b"imir":
                        axis = source.read_at(e, 1)[0] & 1
    if not whole:
        raise CutShortError(f"an AVIF of {source.length:,} bytes without its pixels")
    return Header("AVIF", width, height, _ROTATED[quarter_turns, axis])


def _boxes(source: Source, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, stop) of the contents of the boxes in a range (ISO 14496-12, 4.2)."""
    while start + 8 <= stop:
        size, kind = struct.unpack(">L4s", source.read_at(start, 8))
        header = 8
        if size == 1:
            size, header = struct.unpack(">Q", source.read_at(start + 8, 8))[0], 16
        elif size == 0:
            size = stop - start
        if size < header:
            raise DamagedError(f"box at byte {start:,} has length {size}")
        if start + size > stop:
            raise CutShortError(f"an AVIF whose box at byte {start:,} continues beyond the end")
        yield kind, start + header, start + size
        start += size
