"""HDF5 files of images: one dataset per image, key = file name, content = the encoded bytes as they are.

The layout is OVTrack's, so that its own loader reads the files: datasets lie in the root group, one-dimensional,
uint8. Generated images of the original scripts are scalar fixed-length byte strings (`|S12345`); the reader takes
both, and the writer writes uint8 only.

Datasets are stored contiguously and allocated when they are created. So the library keeps the books, while the bytes
of the images go from file to file with plain reads and writes at known offsets. As the library is told to take its
own room by the megabyte, thousands of images lie one after the other and are copied in large pieces. The same
images added in the same order give the same bytes, always.

An HDF5 file from elsewhere is input like any other: a key that could be taken for a path, a link into another file
and a dataset whose bytes lie in another file are refused.
"""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import numpy as np
from h5py import h5d, h5f, h5l, h5p, h5s, h5t

from ovforge.errors import ImageError, InputError, MissingImageError, MissingInputError, WorkError
from ovforge.files.range_copy import RangeCopier, copy_ranges, write_at

# Fixed, so that every release of the library writes the same bytes: HDF5's oldest structures, which every reader knows
# and which are made in less time than those of 1.8.
_FORMAT = (h5f.LIBVER_EARLIEST, h5f.LIBVER_V18)
_METADATA_BLOCK = 1 << 20  # bytes; headers lie together in blocks of this size, images one after the other between
# Bytes, the most that the library allows. All names are one piece in its cache: at its default of 32 MB datasets took
# several times as long when there were more than 800,000, because nothing else was kept beside the names.
_METADATA_CACHE = 128 << 20
_BATCH = 8 << 20  # bytes of images handed to a helper at once
_BATCH_IMAGES = 256  # at most: the names of a batch and its answer have to fit into a pipe
_ALONE = 64 << 20  # bytes; fewer are copied faster than a helper starts
_HELPERS = 2


_NOT_PLAIN = re.compile(r"[/\\\x00-\x1f]")


def check_key(name: str, path: Path | str) -> None:
    """Refuse a name that could be taken for a path, in HDF5 or on disk.

    Raises:
        InputError: `name` is empty, `.` or `..`, or holds a slash, a backslash or a control character.
    """
    if name in ("", ".", "..") or _NOT_PLAIN.search(name):
        raise InputError(
            f"{path}: {name!r} is not a plain file name", hint="images are keyed by their bare names, without folders"
        )


class Location(NamedTuple):
    """Where an image's bytes lie in its file."""

    offset: int
    size: int


class ImageSource(Protocol):
    """What images are copied from: a `ImageReader`, or anything that hands out bytes by name."""

    path: Path

    @property
    def descriptor(self) -> int:
        """The descriptor of the file that `locate` speaks of."""

    def locate(self, name: str) -> Location | bytes:
        """Where an image's bytes lie, or the bytes themselves."""


class Copied(NamedTuple):
    """An image that went from one file to another."""

    name: str
    size: int
    crc32: int
    offset: int
    """Where its bytes lie in the new file."""


class ImageWriter:
    """Writes a new HDF5 file of images. `path` is a temporary name: publishing is the caller's work.

    Raises:
        InputError: a name that could be a path, that comes twice, or an image without bytes.
        WorkError: the library cannot write the file.
        OSError: the disk is full; `files.atomic` turns it into an error that names the final path.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        access = h5p.create(h5p.FILE_ACCESS)
        access.set_libver_bounds(*_FORMAT)
        access.set_meta_block_size(_METADATA_BLOCK)
        root = h5p.create(h5p.FILE_CREATE)
        root.set_obj_track_times(False)  # the root group would note when it was made
        self._file = h5f.create(os.fsencode(path), h5f.ACC_TRUNC, fcpl=root, fapl=access)
        cache = self._file.get_mdc_config()
        cache.max_size = _METADATA_CACHE
        self._file.set_mdc_config(cache)
        self._descriptor = os.open(path, os.O_WRONLY)
        self._creation = h5p.create(h5p.DATASET_CREATE)
        self._creation.set_layout(h5d.CONTIGUOUS)
        self._creation.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        self._creation.set_fill_time(h5d.FILL_TIME_NEVER)
        self._creation.set_obj_track_times(False)
        self._space = h5s.create_simple((1,))
        self._closed = False

    def add(self, name: str, data: bytes) -> None:
        """Store `data`, the encoded image, under `name`."""
        write_at(self._descriptor, data, self.reserve(name, len(data)))

    def reserve(self, name: str, size: int) -> int:
        """Make the dataset `name` of `size` bytes and return the offset at which its bytes are to be written."""
        check_key(name, self.path)
        if size <= 0:
            raise InputError(f"{self.path}: {name} has no bytes")
        key = _encoded(name)
        try:
            self._space.set_extent_simple((size,))
            dataset = h5d.create(self._file, key, h5t.STD_U8LE, self._space, self._creation)
        except (ValueError, RuntimeError) as error:
            if self._file.links.exists(key):
                raise InputError(f"{self.path}: {name} is to be stored twice") from error
            raise WorkError(f"{self.path}: {name} cannot be stored ({error})") from error
        return int(dataset.get_offset())

    @property
    def descriptor(self) -> int:
        """The file's own descriptor for writing at reserved offsets."""
        return self._descriptor

    def close(self) -> None:
        """Write what the library still holds and close the file."""
        if self._closed:
            return
        self._closed = True
        try:
            self._file.close()
        except RuntimeError as error:
            raise WorkError(f"{self.path}: cannot be written ({error})") from error
        finally:
            os.close(self._descriptor)

    def __enter__(self) -> ImageWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        # The file is thrown away; a second error from closing it would hide the first.
        with contextlib.suppress(OSError, WorkError):
            self.close()


class ImageReader:
    """Reads an HDF5 file of images, of ovforge, of the original scripts or of any tool with the same layout.

    Raises:
        MissingInputError: the file is not there.
        InputError: the file is no HDF5 file or is cut short, or a key in it could be taken for a path.
        ImageError: an image is not there or is not stored as bytes in this file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise MissingInputError(path, what="HDF5 file of images")
        try:
            self._file = h5f.open(os.fsencode(path), h5f.ACC_RDONLY)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{path}: not a whole HDF5 file ({error})", hint="it was probably cut short; write or fetch it again"
            ) from error
        self._descriptor = os.open(path, os.O_RDONLY)
        self._closed = False

    def names(self) -> list[str]:
        """All keys, sorted."""
        found: list[tuple[str, int]] = []

        def note(key: bytes, link: Any) -> None:
            found.append((key.decode("utf-8", "surrogateescape"), link.type))

        self._file.links.iterate(note, info=True)
        for name, kind in found:
            check_key(name, self.path)
            if kind != h5l.TYPE_HARD:
                raise InputError(f"{self.path}: {name} is a link to elsewhere, not an image")
        return sorted(name for name, _ in found)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _is_key(name) and self._file.links.exists(_encoded(name))

    def read(self, name: str) -> bytes:
        """The encoded image, exactly as it was stored."""
        found = self.locate(name)
        if isinstance(found, bytes):
            return found
        return _read(self._descriptor, found, self.path, name)

    def locate(self, name: str) -> Location | bytes:
        """Where the bytes of `name` lie, or the bytes themselves where they are stored in pieces or compressed."""
        check_key(name, self.path)
        key = _encoded(name)
        try:
            if self._file.links.get_info(key).type != h5l.TYPE_HARD:
                raise ImageError(name, "is a link, not an image", detail=f"in {self.path}")
            dataset = h5d.open(self._file, key)
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise self._not_readable(name) from error
        kind = dataset.get_type()
        if not _holds_bytes(kind):
            raise ImageError(name, "is not stored as bytes", detail=f"but as {kind.dtype}, in {self.path}")
        offset = dataset.get_offset()
        if offset is not None:
            return Location(int(offset), int(dataset.get_storage_size()))
        return self._read_pieces(dataset, name)

    def _not_readable(self, name: str) -> ImageError:
        try:
            if name not in self:
                return MissingImageError(name, self.path)
            return ImageError(name, "is not a dataset", detail=f"in {self.path}")
        except RuntimeError:
            return ImageError(name, "cannot be read", detail=f"{self.path} is damaged")

    @property
    def descriptor(self) -> int:
        """The file's own descriptor, for reading at the places that `locate` names."""
        return self._descriptor

    def _read_pieces(self, dataset: h5d.DatasetID, name: str) -> bytes:
        creation = dataset.get_create_plist()
        if creation.get_external_count() or creation.get_layout() == h5d.VIRTUAL:
            raise ImageError(name, "has its bytes outside the file, which is refused", detail=str(self.path))
        try:
            values = np.empty(dataset.shape, dataset.dtype)
            dataset.read(h5s.ALL, h5s.ALL, values)
        except (OSError, RuntimeError, MemoryError, ValueError) as error:
            raise ImageError(name, "cannot be read", detail=f"{self.path}: {error}") from error
        return values.tobytes()

    def close(self) -> None:
        """Close the file."""
        if not self._closed:
            self._closed = True
            self._file.close()
            os.close(self._descriptor)

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def copy_images(images: Iterable[tuple[ImageSource, str, Location | None]], writer: ImageWriter) -> Iterator[Copied]:
    """Copy images under their own names into `writer`, in order, and say what each was.

    Beyond the first megabytes, bytes are copied and checked by helper processes while the library makes the next
    datasets here; what is under way is bounded, so memory does not grow with the bytes.

    Args:
        images: (source, name, place); the place only where it is known already. Sources stay open meanwhile.

    Raises:
        InputError: a source ends before an image does.
        OSError: as reading and writing do.
    """
    with contextlib.closing(_Copying(writer)) as copying:
        try:
            for source, name, place in images:
                found = place or source.locate(name)
                if copying.is_full(source):
                    yield from copying.send()
                if isinstance(found, bytes):
                    yield from copying.finish()
                    yield copying.store(name, found)
                else:
                    copying.add(source, name, found)
            yield from copying.finish()
        except EOFError as error:
            raise InputError(f"{error}: cut short", hint="write or fetch the file again") from error


class _Copying:
    """Images on their way into a writer, in batches of one source each."""

    def __init__(self, writer: ImageWriter) -> None:
        self._writer = writer
        self._copier: RangeCopier | None = None
        self._copied = 0
        self._source: ImageSource | None = None
        self._names: list[str] = []
        self._ranges: list[tuple[int, int, int]] = []
        self._bytes = 0
        self._under_way: deque[tuple[list[str], list[tuple[int, int, int]]]] = deque()

    def is_full(self, source: ImageSource) -> bool:
        """Whether the batch has to go before an image of `source` is added."""
        return source is not self._source or self._bytes >= _BATCH or len(self._names) >= _BATCH_IMAGES

    def add(self, source: ImageSource, name: str, place: Location) -> None:
        """Take one image into the batch."""
        self._source = source
        self._names.append(name)
        self._ranges.append((*place, self._writer.reserve(name, place.size)))
        self._bytes += place.size

    def store(self, name: str, data: bytes) -> Copied:
        """Store one image now."""
        offset = self._writer.reserve(name, len(data))
        write_at(self._writer.descriptor, data, offset)
        return Copied(name, len(data), zlib.crc32(data), offset)

    def finish(self) -> Iterator[Copied]:
        """Hand back all that is not done yet."""
        yield from self.send()
        if self._copier is not None:
            yield from self._hand_back(self._copier.finish())

    def close(self) -> None:
        """End the helpers."""
        if self._copier is not None:
            self._copier.close()

    def send(self) -> Iterator[Copied]:
        """Have the batch copied; hands back what is done by then."""
        names, ranges, source = self._names, self._ranges, self._source
        self._copied += self._bytes
        self._names, self._ranges, self._bytes = [], [], 0
        if source is None or not names:
            return
        self._under_way.append((names, ranges))
        if self._copier is None and self._copied > _ALONE:
            self._copier = RangeCopier(_HELPERS)
        if self._copier is None:
            try:
                sums = copy_ranges(source.descriptor, self._writer.descriptor, ranges)
            except EOFError:
                raise EOFError(source.path) from None
            yield from self._hand_back(iter([sums]))
        else:
            _announce(source.descriptor, ranges)
            yield from self._hand_back(self._copier.submit(str(source.path), str(self._writer.path), ranges))

    def _hand_back(self, answers: Iterator[list[int]]) -> Iterator[Copied]:
        for sums in answers:
            names, ranges = self._under_way.popleft()
            for name, (_, size, offset), crc32 in zip(names, ranges, sums, strict=True):
                yield Copied(name, size, crc32, offset)


def _announce(descriptor: int, ranges: list[tuple[int, int, int]]) -> None:
    """Have the disk read a batch ahead: to the system each helper seems to jump, for it reads every other batch."""
    start, stop = ranges[0][0], ranges[-1][0] + ranges[-1][1]
    if hasattr(os, "posix_fadvise") and 0 < stop - start <= 2 * _BATCH:
        os.posix_fadvise(descriptor, start, stop - start, os.POSIX_FADV_WILLNEED)


def _read(descriptor: int, place: Location, path: Path, name: str) -> bytes:
    data = os.pread(descriptor, place.size, place.offset)
    if len(data) == place.size:
        return data
    # One call reads at most 2 GB, so a shorter answer is not yet the end of the file.
    pieces = [data]
    missing = place.size - len(data)
    while missing:
        piece = os.pread(descriptor, missing, place.offset + place.size - missing)
        if not piece:
            raise InputError(f"{path}: cut short within {name}", hint="write or fetch the file again")
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _holds_bytes(kind: h5t.TypeID) -> bool:
    kind_class = kind.get_class()
    if kind_class == h5t.STRING:
        return bool(not kind.is_variable_str())
    return bool(kind_class == h5t.OPAQUE or (kind_class == h5t.INTEGER and kind.get_size() == 1))


def _is_key(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
