"""Where the classes of ImageNet-21K come from: an archive of class tars, a folder of them, or class folders."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ovforge.errors import ArchiveError, InputError, MissingInputError, WorkError
from ovforge.files.tar_archive import checked_name, read_members
from ovforge.sources.imagenet21k import PARTS, WNID

_GZIP = b"\x1f\x8b"
_COPY = 1 << 20


class ClassSource(NamedTuple):
    """One class to be prepared."""

    wnid: str
    path: Path
    """A folder of images, or the file that the class tar is or lies in."""
    offset: int = 0
    size: int | None = None
    """Of the class tar in bytes; None for a folder."""


@dataclass(frozen=True)
class Archive:
    """A source whose classes are known, or that has to be streamed."""

    path: Path
    size: int
    """Bytes of all classes, as far as known without opening every image; of a stream, of the file."""
    classes: tuple[ClassSource, ...] | None
    """By ImageNet id; None for a stream, whose classes show up one by one."""
    unrecognised: tuple[str, ...] = field(default=())
    """Entries that are no class."""


def open_archive(path: Path) -> Archive:
    """Look at what `path` is.

    Raises:
        MissingInputError: nothing is there.
        InputError: it is a tree that is prepared already, or holds no classes.
        ArchiveError: it is no tar, cut short, or has members that are refused.
    """
    if path.is_dir():
        try:
            return _folder(path)
        except OSError as error:
            raise InputError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from error
    if not path.is_file():
        raise MissingInputError(
            path,
            what="ImageNet-21K archive",
            hint="fall11_whole.tar and winter21_whole.tar.gz come from https://image-net.org after registration",
        )
    with open(path, "rb") as file:
        is_gzip = file.read(2) == _GZIP
    return Archive(path, path.stat().st_size, None) if is_gzip else _tar(path)


def stream_classes(path: Path, spool: Path, wanted: Callable[[str], bool]) -> Iterator[ClassSource]:
    """Unpack the wanted class tars of a compressed archive one by one into `spool`, as fast as they are asked for.

    A compressed archive can be read from its beginning only; what is not wanted is skipped, not stored.

    Whoever takes a class removes its tar.

    Raises:
        ArchiveError: the archive is no gzip, cut short or damaged, or has members that are refused. The classes
            before that place have been given.
        WorkError: the disk is full or cannot be written.
    """
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir(parents=True)
    try:
        with gzip.open(path) as plain, tarfile.open(fileobj=plain, mode="r|", bufsize=_COPY) as archive:
            for member in archive:
                wnid = _wnid(checked_name(path, member))
                if wnid is None or not member.isreg() or not wanted(wnid):
                    continue
                content = archive.extractfile(member)
                target = spool / f"{wnid}.tar"
                with open(target, "wb") as file:
                    shutil.copyfileobj(content, file, _COPY)  # type: ignore[arg-type]  # a regular member has content
                yield ClassSource(wnid, target, 0, member.size)
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise ArchiveError(
            path,
            "is cut short or damaged",
            detail=str(error),
            hint="compare its checksum with the official site's; classes that were whole are done and stay",
        ) from error
    except OSError as error:
        raise WorkError(
            f"{error.filename or spool}: {error.strerror or error}",
            hint="a few class tars, at most some gigabytes, are kept there at a time; what is done stays done",
        ) from error


def _folder(path: Path) -> Archive:
    found = sorted(os.scandir(path), key=lambda entry: entry.name)
    if any(entry.name in PARTS and entry.is_dir() for entry in found):
        raise InputError(
            f"{path}: is prepared already: it has {', '.join(PARTS)}",
            hint=f"link it: ln -s {path} datasets/imagenet/imagenet21k_P, then `ovforge imagenet index`",
        )
    classes, unrecognised, size = {}, [], 0
    for entry in found:
        wnid = entry.name.removesuffix(".tar")
        is_tar = wnid != entry.name
        if not WNID.fullmatch(wnid) or entry.is_dir() == is_tar or wnid in classes:
            unrecognised.append(entry.name)
        elif is_tar:
            bytes_ = entry.stat().st_size
            classes[wnid] = ClassSource(wnid, Path(entry.path), 0, bytes_)
            size += bytes_
        else:
            classes[wnid] = ClassSource(wnid, Path(entry.path))
    if not classes:
        raise InputError(
            f"{path}: no n* class folders and no n*.tar class tars in it",
            hint="give the folder right above the classes, or the archive itself",
        )
    return Archive(path, size, tuple(classes.values()), tuple(unrecognised))


def _tar(path: Path) -> Archive:
    classes, unrecognised = {}, []
    for member in read_members(path):
        wnid = _wnid(member.name)
        if wnid is None or wnid in classes:
            unrecognised.append(member.name)
        else:
            classes[wnid] = ClassSource(wnid, path, member.offset, member.size)
    if not classes:
        raise InputError(
            f"{path}: no class tars (n01440764.tar, ...) in it",
            hint="an archive of images in folders is unpacked with tar and then given as a folder",
        )
    ordered = tuple(classes[wnid] for wnid in sorted(classes))
    return Archive(path, sum(c.size or 0 for c in ordered), ordered, tuple(sorted(unrecognised)))


def _wnid(name: str) -> str | None:
    file = name.rpartition("/")[2]
    return file[:-4] if file.endswith(".tar") and WNID.fullmatch(file[:-4]) else None
