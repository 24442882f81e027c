"""`.pairs.json`: what is remembered of each pair, beside the images and the pickle file of a partition or a run.

The file is JSON, `{"pairs": [...], "about": {...}}`, with each record on a line of its own, so that it is read and
joined line by line without looking into the records.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from ovforge.errors import DamagedError, InputError
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.pairs import PairRecord

FORMAT = "ovforge pairs 1"

_HEAD = b'{"pairs": [\n'
_END = b'], "about": '
_TAIL_BYTES = 1 << 16

T = TypeVar("T")


class StoredImage(msgspec.Struct, frozen=True, gc=False):
    """An image as it was stored."""

    name: str
    size: int
    """Bytes."""
    crc32: int
    """Of its bytes; tells of damage, at half the cost of SHA-256."""
    offset: int
    """Where its bytes lie in the partition's HDF5 file, as long as that has the noted size."""


class PublishedPair(PairRecord, kw_only=True):
    """A pair's record with its images; the annotations of its variants have no polygons: they were the original's."""

    images: list[StoredImage]
    """The original, then the second views. Empty for an image that could not be used."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a `.pairs.json` says of itself and of the files beside it."""

    format: str = FORMAT
    images: int
    """How many images were planned; each has a record."""
    datasets: int
    """How many images the HDF5 file holds."""
    entries: int
    """How many annotations the pickle file holds."""
    h5_size: int
    """Bytes."""
    pkl_size: int
    pkl_sha256: str
    options: dict[str, Any] = {}
    """The options of the run that change its result."""
    labels: str = ""
    """SHA-256 of the annotation file that the objects' fields were taken from."""
    records_crc32: int | None = None
    """Of the records' bytes, one after the other; None where an earlier release wrote them."""
    own_crc32: int | None = None
    """Of these fields themselves as they stand in the file, up to this one, the last; None likewise."""


class PairFileWriter:
    """Writes a `.pairs.json` into an open file, record by record."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._file.write(_HEAD)
        self._empty = True
        self._crc32 = 0

    def add(self, record: bytes) -> None:
        """Append a record, encoded as JSON on one line."""
        self._crc32 = zlib.crc32(record, self._crc32)
        self._file.write(record if self._empty else b",\n" + record)
        self._empty = False

    def close(self, about: About) -> None:
        """End the file. It stays open."""
        about = msgspec.structs.replace(about, records_crc32=self._crc32, own_crc32=None)
        about = msgspec.structs.replace(about, own_crc32=_own_crc32(msgspec.json.encode(about)))
        self._file.write((b"" if self._empty else b"\n") + _END + msgspec.json.encode(about) + b"}\n")


def read_lines(path: Path) -> Iterator[bytes]:
    """The records as they stand, without decoding them.

    Raises:
        DamagedError: the file is cut short or no `.pairs.json`.
    """
    with open(path, "rb", buffering=1 << 20) as file:
        if file.readline() != _HEAD:
            raise DamagedError(f"{path}: is not a file of pairs", hint=_AGAIN)
        for line in file:
            if line.startswith(_END):
                return
            yield line.rstrip(b",\n")
    raise DamagedError(f"{path}: is cut short", hint=_AGAIN)


def line_ranges(path: Path, size: int) -> Iterator[tuple[int, int]]:
    """The byte ranges of whole records, about `size` bytes each, in order, for reading by several processes.

    Raises:
        DamagedError: the file is cut short or no `.pairs.json`.
    """
    with open(path, "rb") as file:
        if file.readline() != _HEAD:
            raise DamagedError(f"{path}: is not a file of pairs", hint=_AGAIN)
        end = _end_of_records(file, path)
        start = len(_HEAD)
        while start < end:
            file.seek(start + size)
            file.readline()
            stop = min(file.tell(), end)
            yield start, stop
            start = stop


def read_pairs(path: Path, record: type[T]) -> Iterator[T]:
    """The records, decoded as `record`.

    Raises:
        DamagedError: the file is cut short, or a record does not fit; says which.
    """
    decoder = msgspec.json.Decoder(record)
    for number, line in enumerate(read_lines(path), start=1):
        try:
            yield decoder.decode(line)
        except JSON_ERRORS as error:
            raise DamagedError(f"{path}: record {number:,} cannot be read ({error})", hint=_AGAIN) from error


def checked_lines(path: Path) -> Iterator[bytes]:
    """The records as they stand; after the last one, they are compared with the checksum that was noted of them.

    Raises:
        DamagedError: they are not as they were written.
    """
    expected, found = read_about(path).records_crc32, 0
    for line in read_lines(path):
        found = zlib.crc32(line, found)
        yield line
    if expected is not None and found != expected:
        raise DamagedError(
            f"{path}: checksum mismatch in its records: expected {expected:08x}, found {found:08x}", hint=_AGAIN
        )


def read_about(path: Path) -> About:
    """What the file says of itself.

    Raises:
        DamagedError: it is cut short, or not as it was written.
        InputError: it is of a format that this release does not know.
    """
    with open(path, "rb") as file:
        file.seek(_end_of_records(file, path) + len(_END))
        tail = file.read()
    try:
        about = msgspec.json.decode(tail[:-2], type=About)
    except JSON_ERRORS as error:
        raise DamagedError(f"{path}: cannot be read at its end ({error})", hint=_AGAIN) from error
    if about.own_crc32 is not None and about.own_crc32 != _own_crc32(tail[:-2]):
        raise DamagedError(f"{path}: checksum mismatch in what it says of itself at its end", hint=_AGAIN)
    if about.format != FORMAT:
        raise InputError(f"{path}: says {about.format!r} of its format, this release knows {FORMAT!r}")
    return about


def _own_crc32(about: bytes) -> int:
    """The checksum of an encoded `About`, without the field that holds it."""
    return zlib.crc32(about.rpartition(b',"own_crc32":')[0])


def _end_of_records(file: BinaryIO, path: Path) -> int:
    """Where the line after the last record starts."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read()
    start = tail.rfind(b"\n" + _END)
    if start < 0 or not tail.endswith(b"}\n"):
        raise DamagedError(f"{path}: is cut short or no file of pairs", hint=_AGAIN)
    return size - len(tail) + start + 1


_AGAIN = "fetch it again, or remove it with the files beside it and make them again"
