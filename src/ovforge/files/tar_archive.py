"""What lies where in a tar archive: names, offsets and sizes, without unpacking it.

An archive may itself lie inside another, uncompressed one, as ImageNet's class tars do in `fall11_whole.tar`: then
it is a range of the outer file. Plain headers are parsed here, at a few microseconds a member; an archive with
anything beyond them (long names, pax records, sparse files) is read by the standard library instead.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from ovforge.errors import ArchiveError

_BLOCK = 512
_REGULAR = (b"0", b"\0", b"7")
_FOLDER = b"5"
_RECORDS = b"x"
"""A pax header: records about the next member. Many writers put nothing but exact times there."""


class Member(NamedTuple):
    """One file in an archive."""

    name: str
    """As the archive has it, a relative path without `..` and without a leading `./`."""
    offset: int
    """Of its first byte in the outermost file."""
    size: int


def read_members(path: Path, offset: int = 0, size: int | None = None) -> list[Member]:
    """The files in the tar archive at `path`, in the archive's order; folders are skipped.

    Args:
        path: the archive, or the uncompressed archive that it lies in.
        offset: where the archive begins in the file at `path`.
        size: its length in bytes; None for the rest of the file.

    Raises:
        ArchiveError: the archive is cut short, broken, or has a member that is no plain file or has an absolute
            path or `..` in it; names the archive and the member. Nothing of such an archive is used.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            length = os.fstat(file.fileno()).st_size
            end = length if size is None else offset + size
            if end > length:
                raise ArchiveError(path, "is cut short", detail=f"{length:,} bytes are here, {end:,} are needed")
            members = _plain_members(path, file.fileno(), offset, end)
            if members is None:
                members = _any_members(path, file, offset, end)
    except OSError as error:
        raise ArchiveError(path, "cannot be read", detail=str(error.strerror)) from error
    return members


def checked_name(archive: Path | str, member: tarfile.TarInfo) -> str:
    """The name of a plain file or folder in an archive, if it may be used.

    Raises:
        ArchiveError: `member` is a link, a device or a pipe, or its path is absolute or leads out of the archive.
    """
    if not (member.isreg() or member.isdir()):
        raise _refused(archive, member.name, "it is a link, a device or another special file")
    return _safe(archive, member.name)


def _plain_members(path: Path, descriptor: int, offset: int, end: int) -> list[Member] | None:
    """The members if all headers are plain ones, else None."""
    members: list[Member] = []
    position = offset
    while position < end:
        header = os.pread(descriptor, min(_BLOCK, end - position), position)
        if len(header) < _BLOCK:
            raise ArchiveError(path, "is cut short", detail=f"at byte {position:,}")
        if header[0] == 0 and not header.strip(b"\0"):
            return members
        kind = header[156:157]
        if kind not in (*_REGULAR, _FOLDER, _RECORDS) or header[124] & 0x80 or not _has_checksum(header):
            return None
        size = int(header[124:136].strip(b" \0") or b"0", 8) if kind != _FOLDER else 0
        position += _BLOCK
        if position + size > end:
            raise ArchiveError(path, "is cut short", detail=f"member {_field(header, 0, 100)!r} goes on behind the end")
        if kind == _RECORDS:
            if _records_matter(os.pread(descriptor, size, position)):
                return None
        elif kind != _FOLDER:
            prefix = _field(header, 345, 500) if header[257:263] == b"ustar\0" else ""
            name = _field(header, 0, 100)
            members.append(Member(_safe(path, f"{prefix}/{name}" if prefix else name), position, size))
        position += -(-size // _BLOCK) * _BLOCK
    raise _without_end(path)


def _any_members(path: Path, file: BinaryIO | io.FileIO, offset: int, end: int) -> list[Member]:
    members = []
    try:
        with tarfile.open(fileobj=_Range(file, offset, end), mode="r:") as archive:
            for member in archive:
                name = checked_name(path, member)
                if member.sparse is not None:
                    raise _refused(path, member.name, "it is a sparse file")
                if member.isreg():
                    if offset + member.offset_data + member.size > end:
                        raise ArchiveError(path, "is cut short", detail=f"member {name!r} goes on behind the end")
                    members.append(Member(name, offset + member.offset_data, member.size))
            closing = offset + archive.offset
            if closing + _BLOCK > end or os.pread(file.fileno(), _BLOCK, closing).strip(b"\0"):
                raise _without_end(path)
    except tarfile.TarError as error:
        raise ArchiveError(path, "is no tar archive, or a broken one", detail=str(error)) from error
    return members


class _Range(io.RawIOBase):
    """Bytes [start, stop) of a file, as a file."""

    def __init__(self, file: BinaryIO | io.FileIO, start: int, stop: int) -> None:
        self._file, self._start, self._stop, self._position = file, start, stop, start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: self._start, io.SEEK_CUR: self._position, io.SEEK_END: self._stop}[whence]
        self._position = max(self._start, base + offset)
        return self._position - self._start

    def tell(self) -> int:
        return self._position - self._start

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._stop - self._position)
        self._file.seek(self._position)
        data = self._file.read(left if size is None or size < 0 else min(size, left)) or b""
        self._position += len(data)
        return data


def _records_matter(records: bytes) -> bool:
    """Whether pax records ("25 mtime=1700000000.123\\n" each) say where the next member lies or what it is called."""
    return any(key in records for key in (b" path=", b" size=", b" linkpath=", b" GNU.sparse", b" hdrcharset="))


def _has_checksum(header: bytes) -> bool:
    # The checksum's own eight bytes count as spaces (POSIX ustar).
    try:
        stated = int(header[148:156].strip(b" \0") or b"-1", 8)
    except ValueError:
        return False
    return stated == sum(header) - sum(header[148:156]) + 8 * 0x20


def _field(header: bytes, start: int, stop: int) -> str:
    return header[start:stop].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _safe(archive: Path | str, name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise _refused(archive, name, "its path is absolute, leads out of the archive, or is no path")
    return str(path)


def _without_end(archive: Path) -> ArchiveError:
    # A tar that is cut between two members is the same as one whose writer forgot the closing zeros; GNU tar and
    # the standard library never do, so it counts as cut.
    return ArchiveError(archive, "is cut short", detail="it ends without the blocks of zeros that close a tar archive")


def _refused(archive: Path | str, name: str, why: str) -> ArchiveError:
    return ArchiveError(
        archive,
        f"is refused: {why}",
        member=name,
        hint="ImageNet's own archives hold plain files only; compare the checksum with the official site's",
    )
