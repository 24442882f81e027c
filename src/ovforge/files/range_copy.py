"""Copy ranges of bytes between files, and take their checksums on the way.

The sums tell of damage, not of intent: CRC-32 is what zip files trust, and takes half of SHA-256's time or less. Blocks
are large enough that threads hardly wait for the interpreter.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence

Ranges = Sequence[tuple[int, int, int]]
"""(offset in the source, size, offset in the target), in bytes."""

_BLOCK = 1 << 20  # bytes; stays in the processor's cache between being read, summed and written


def copy_ranges(source: int, target: int, ranges: Ranges) -> list[int]:
    """Copy ranges between two open files; the CRC-32 of each range.

    Ranges that follow each other in both files are read and written together.

    Raises:
        EOFError: the source ends within a range.
        OSError: as reading or writing does.
    """
    sums: list[int] = []
    for start, stop in _neighbours(ranges):
        first, _, into = ranges[start]
        size = sum(size for _, size, _ in ranges[start:stop])
        if size > _BLOCK:  # one range
            sums.append(_copy_large(source, target, first, size, into))
            continue
        data = memoryview(_read(source, size, first))
        place = 0
        for _, size, _ in ranges[start:stop]:
            sums.append(zlib.crc32(data[place : place + size]))
            place += size
        write_at(target, data, into)
    return sums


def _neighbours(ranges: Ranges) -> Iterator[tuple[int, int]]:
    """Slices of `ranges` that lie without gaps in both files and are a block at most, or one large range."""
    start = 0
    while start < len(ranges):
        offset, size, into = ranges[start]
        end, end_into = offset + size, into + size
        stop = start + 1
        while stop < len(ranges) and ranges[stop][0] == end and ranges[stop][2] == end_into:
            end, end_into = end + ranges[stop][1], end_into + ranges[stop][1]
            if end - offset > _BLOCK:
                break
            stop += 1
        yield start, stop
        start = stop


def _copy_large(source: int, target: int, start: int, size: int, into: int) -> int:
    crc32 = 0
    for done in range(0, size, _BLOCK):
        data = _read(source, min(size - done, _BLOCK), start + done)
        crc32 = zlib.crc32(data, crc32)
        write_at(target, data, into + done)
    return crc32


def _read(source: int, size: int, offset: int) -> bytes:
    data = os.pread(source, size, offset)
    while len(data) < size:
        more = os.pread(source, size - len(data), offset + len(data))
        if not more:
            raise EOFError
        data += more
    return data


def write_at(target: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`."""
    written = os.pwrite(target, data, offset)
    while written < len(data):
        written += os.pwrite(target, memoryview(data)[written:], offset + written)
