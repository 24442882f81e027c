"""HDF5 files of images: one dataset per image, key = file name, content = the encoded bytes as they are.

The layout is OVTrack's, so that its own loader reads the files: datasets lie in the root group, one-dimensional,
uint8. Generated images of the original scripts are scalar fixed-length byte strings (`|S12345`), other tools write
bytes of variable length; the reader takes all of them, and the writer writes one-dimensional uint8 only.

Datasets are stored contiguously and allocated when they are created. So the library keeps the index, while the bytes
of the images go from file to file with plain reads and writes at known offsets. As the library is told to take its
own room by the megabyte, thousands of images lie one after the other and are copied in large pieces. The same
images added in the same order give the same bytes, always.

File locks, which many network file systems lack, are not needed: what is written here has a temporary name of its own,
and a finished file never changes. A file is opened for reading with a lock where there are any, because another program
may be writing it; a lock that somebody holds is an error of its own.

An HDF5 file from elsewhere is input like any other: a key that could be taken for a path, a link into another file
and a dataset whose bytes lie in another file are refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import numpy as np
from h5py import h5d, h5f, h5l, h5o, h5p, h5s, h5t

from ovforge.errors import (
    DamagedError,
    ImageError,
    InputError,
    MissingImageError,
    MissingInputError,
    StorageError,
    WorkError,
)
from ovforge.files.range_copy import copy_ranges, write_at
from ovforge.parallel import map_ordered

# Fixed, so that every release of the library writes the same bytes: HDF5's oldest structures, which every reader knows
# and which are made in less time than those of 1.8.
_FORMAT = (h5f.LIBVER_EARLIEST, h5f.LIBVER_V18)
_METADATA_BLOCK = 1 << 20  # bytes; headers lie together in blocks of this size, images one after the other between
# Bytes, the most that the library allows. All names are one piece in its cache: at its default of 32 MB datasets took
# several times as long when there were more than 800,000, because nothing else was kept beside the names.
_METADATA_CACHE = 128 << 20
_BATCH = 8 << 20  # bytes of images handed to a thread at once
_BATCH_IMAGES = 256
_THREADS = 2


_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LAYOUTS = "one-dimensional uint8, fixed-length or opaque bytes, and uint8 of variable length are read"
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""What the system says of a file that somebody else has locked."""
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
        access.set_file_locking(False, True)  # nobody else knows the temporary name
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
        InputError: the file is not an HDF5 file, is cut short, or locked; or a key in it could be taken for a path.
        MissingImageError: an image is not in the file.
        ImageError: an image is not stored as bytes in this file.
        StorageError: the disk or network file system failed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._closed = True
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except (FileNotFoundError, NotADirectoryError):
            raise MissingInputError(path, what="HDF5 file of images") from None
        except OSError as error:
            raise StorageError(path, error) from error
        try:
            self._file = _open_for_reading(path)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._closed = False

    def __del__(self) -> None:
        # A reader that other threads may still use is let go instead of closed: it closes with its last user.
        with contextlib.suppress(Exception):
            self.close()

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
        return found if isinstance(found, bytes) else self.read_at(found, name)

    def read_at(self, place: Location, name: str) -> bytes:
        """The bytes at a place that `locate` gave for `name`."""
        return _read(self._descriptor, place, self.path, name)

    def locate(self, name: str) -> Location | bytes:
        """Where the bytes of `name` lie, or the bytes themselves where they are stored in pieces or compressed."""
        check_key(name, self.path)
        key = _encoded(name)
        try:
            if self._file.links.get_info(key).type != h5l.TYPE_HARD:
                raise ImageError(name, "is a link, not an image", detail=f"in {self.path}")
            dataset = h5d.open(self._file, key)
        except (KeyError, RuntimeError, ValueError, TypeError, OSError) as error:
            raise self._not_readable(name, error) from error
        kind = dataset.get_type()
        if not _holds_bytes(kind):
            raise ImageError(name, "is not stored as bytes", detail=f"but as {_describe_type(kind)}; {_LAYOUTS}")
        if len(dataset.shape) > 1:
            detail = f"an array of {'x'.join(map(str, dataset.shape))}, probably decoded pixels; {_LAYOUTS}"
            raise ImageError(name, "is not stored as an encoded image", detail=detail)
        offset = dataset.get_offset()
        if offset is not None and kind.get_class() != h5t.VLEN:
            return Location(int(offset), int(dataset.get_storage_size()))
        return self._read_pieces(dataset, name)

    def _not_readable(self, name: str, error: Exception) -> ImageError | StorageError:
        if _system_error(error) is not None:
            return StorageError(self.path, str(error))
        try:
            if name not in self:
                return MissingImageError(name, f"{self.path}{self._groups()}")
            return ImageError(name, "is not a dataset", detail=f"in {self.path}")
        except (RuntimeError, OSError) as again:
            if _system_error(again) is not None:
                return StorageError(self.path, str(again))
            return ImageError(name, "cannot be read", detail=f"{self.path} is damaged")

    def _groups(self) -> str:
        """What to say of a file whose images lie in groups, as some tools write them."""
        first: list[str] = []

        def note(key: bytes) -> bool:
            first.append(key.decode("utf-8", "backslashreplace"))
            return True  # one is enough

        self._file.links.iterate(note)
        if first and h5o.get_info(self._file, first[0].encode()).type == h5o.TYPE_GROUP:
            return f", whose images lie in groups ({first[0]}/...): only the root is read"
        return ""

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
            if _system_error(error) is not None:
                raise StorageError(self.path, str(error)) from error
            raise ImageError(name, "cannot be read", detail=f"{self.path}: {error}") from error
        if values.dtype.hasobject:  # of variable length: one value, or a list of one
            if values.size != 1:
                raise ImageError(name, "is not stored as an encoded image", detail=f"{values.size:,} values in one")
            return np.asarray(values.reshape(-1)[0], np.uint8).tobytes()
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

    Bytes are copied and checked by threads while the library makes the next datasets here; what is in flight is
    bounded, so memory does not grow with the bytes.

    Args:
        images: (source, name, place); the place only where it is known already. Sources stay open meanwhile.

    Raises:
        InputError: a source ends before an image does.
        OSError: as reading and writing do.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            jobs = ((batch, writer.descriptor) for batch in _batches(images, writer))
            for copied in map_ordered(threads, _copy_batch, jobs, ahead=2 * _THREADS):
                yield from copied
        except EOFError as error:
            raise DamagedError(f"{error}: cut short", hint="write or fetch the file again") from error


class _Batch(NamedTuple):
    """Images of one source that are copied together, or the bytes of one image."""

    source: ImageSource
    names: list[str]
    ranges: list[tuple[int, int, int]]
    data: bytes | None = None


def _batches(images: Iterable[tuple[ImageSource, str, Location | None]], writer: ImageWriter) -> Iterator[_Batch]:
    """The images in order, with the places that they get in the writer's file."""
    batch: _Batch | None = None
    size = 0
    for source, name, place in images:
        found = place or source.locate(name)
        is_full = size >= _BATCH or (batch is not None and len(batch.names) >= _BATCH_IMAGES)
        if batch is not None and (source is not batch.source or is_full or isinstance(found, bytes)):
            yield _announced(batch)
            batch, size = None, 0
        if isinstance(found, bytes):
            yield _Batch(source, [name], [(0, len(found), writer.reserve(name, len(found)))], found)
            continue
        batch = batch or _Batch(source, [], [])
        batch.names.append(name)
        batch.ranges.append((*found, writer.reserve(name, found.size)))
        size += found.size
    if batch is not None:
        yield _announced(batch)


def _copy_batch(batch: _Batch, target: int) -> list[Copied]:
    if batch.data is not None:
        write_at(target, batch.data, batch.ranges[0][2])
        sums = [zlib.crc32(batch.data)]
    else:
        try:
            sums = copy_ranges(batch.source.descriptor, target, batch.ranges)
        except EOFError:
            raise EOFError(batch.source.path) from None
    return [
        Copied(name, size, crc32, offset)
        for name, (_, size, offset), crc32 in zip(batch.names, batch.ranges, sums, strict=True)
    ]


def _announced(batch: _Batch) -> _Batch:
    """Have the disk read a batch ahead: to the system each thread seems to jump, for it reads every other batch."""
    start, stop = batch.ranges[0][0], batch.ranges[-1][0] + batch.ranges[-1][1]
    if hasattr(os, "posix_fadvise") and 0 < stop - start <= 2 * _BATCH:
        os.posix_fadvise(batch.source.descriptor, start, stop - start, os.POSIX_FADV_WILLNEED)
    return batch


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
            raise DamagedError(f"{path}: cut short within {name}", hint="write or fetch the file again")
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def is_hdf5(path: Path | str) -> bool:
    """Whether `path` is an HDF5 file, by its signature: at its start, or behind a block that another program put there.

    Raises:
        StorageError: the disk or network file system failed.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            offset = 0
            while offset < size:
                if os.pread(file.fileno(), len(_SIGNATURE), offset) == _SIGNATURE:
                    return True
                offset = max(512, 2 * offset)
    except OSError as error:
        raise StorageError(path, error) from error
    return False


def _open_for_reading(path: Path) -> h5f.FileID:
    """Open with a lock, or without where the file system has none.

    Raises:
        InputError: somebody holds a lock, or it is not a whole HDF5 file.
        StorageError: the disk or network file system failed.
    """
    for with_lock in (True, False):  # the second round is for file systems without locks (NFS, Lustre)
        access = h5p.create(h5p.FILE_ACCESS)
        access.set_file_locking(with_lock, True)
        try:
            return h5f.open(os.fsencode(path), h5f.ACC_RDONLY, fapl=access)
        except (OSError, RuntimeError) as error:
            code = _system_error(error)
            if "lock" in str(error):
                if code in _HELD or "already open" in str(error):
                    raise InputError(
                        f"{path}: is locked: another program has it open for writing",
                        hint="wait until it is written, or end that program",
                    ) from error
                if with_lock:
                    continue
            if code is not None:
                raise StorageError(path, str(error)) from error
            raise DamagedError(
                f"{path}: not a whole HDF5 file ({error})", hint="it was probably cut short; write or fetch it again"
            ) from error
    raise StorageError(path, "no lock can be had, nor done without")


def _system_error(error: BaseException) -> int | None:
    """The system's error behind one of the library's, which tells it in words only; None for a damaged file."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = re.search(r"errno = (\d+)", str(error))
    return int(found[1]) if found and int(found[1]) else None


def _holds_bytes(kind: h5t.TypeID) -> bool:
    kind_class = kind.get_class()
    if kind_class == h5t.STRING:
        return bool(not kind.is_variable_str())
    if kind_class == h5t.VLEN:
        base = kind.get_super()
        return bool(base.get_class() == h5t.INTEGER and base.get_size() == 1)
    return bool(kind_class == h5t.OPAQUE or (kind_class == h5t.INTEGER and kind.get_size() == 1))


def _describe_type(kind: h5t.TypeID) -> str:
    if kind.get_class() == h5t.STRING:
        return "text of variable length, which ends at the first zero byte"
    return f"{kind.dtype}" if kind.get_class() != h5t.VLEN else "a list of numbers of variable length"


def _is_key(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
