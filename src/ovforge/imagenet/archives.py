"""Where the classes of ImageNet-21K come from: archives in any of their official forms, or folders.

| source | read |
|---|---|
| `fall11_whole.tar`: class tars in a tar | in parallel, where they lie |
| `winter21_whole.tar.gz`: class tars in a compressed tar | as a stream |
| `imagenet21k_resized.tar.gz` or `.tar`: images in folders of classes, in parts already | as a stream |
| a folder of class tars or class folders | in parallel |
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ovforge.errors import ArchiveError, InputError, MissingInputError, OvforgeError, StorageError, WorkError
from ovforge.files.tar_archive import StreamedMember, check_is_tar, read_members, stream_members
from ovforge.image_io.read_file import exists, is_folder
from ovforge.sources.imagenet21k import PART_OF_FOLDER, SMALL, TRAIN, VAL, WNID

_GZIP = b"\x1f\x8b"
_COPY = 1 << 20
MOST_NAMES = 1000
"""Of what is in an archive and belongs to no class: it may have millions of files."""
_NO_CLASSES_HINT = (
    "its classes are tars (n01440764.tar, ...) or folders (n01440764/...); give one of the official archives"
)


class ClassSource(NamedTuple):
    """One class to be prepared."""

    wnid: str
    path: Path
    """A folder of images, or the file that the class tar is or lies in."""
    offset: int = 0
    size: int | None = None
    """Of the class tar in bytes; None for a folder."""
    part: str = ""
    """The part that its images are in already; empty where the class is still to be split."""
    archive: Path | None = None
    """The archive that `path` was unpacked from, for a while; errors name it."""
    repeated: tuple[str, ...] = ()
    """Images that the archive has once more: the first counts."""

    @property
    def key(self) -> str:
        """What tells it from other classes and parts: `n01440764`, `n01440764.train`."""
        return f"{self.wnid}.{self.part}" if self.part else self.wnid


@dataclass(frozen=True)
class Archive:
    """A source whose classes are known, or that has to be streamed."""

    path: Path
    size: int
    """Bytes of all classes, as far as known without opening every image; of a stream, of the file."""
    classes: tuple[ClassSource, ...] | None
    """By ImageNet id; None for a stream, whose classes show up one by one."""
    unrecognised: tuple[str, ...] = field(default=())
    """Entries that are not classes."""


def open_archive(path: Path) -> Archive:
    """Look at what `path` is.

    Raises:
        MissingInputError: nothing is there.
        InputError: it is a tree that is prepared already, or holds no classes.
        ArchiveError: it is not a tar, cut short, damaged, or has members that are refused.
        StorageError: the disk or network file system failed.
    """
    if not exists(path):
        raise MissingInputError(
            path,
            what="ImageNet-21K archive",
            hint="fall11_whole.tar and winter21_whole.tar.gz come from https://image-net.org after registration",
        )
    try:
        if path.is_dir():
            return _folder(path)
        if not path.is_file():
            raise InputError(f"{path}: is a pipe or device, not an archive")
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise StorageError(error.filename or path, error) from error
    if not head.startswith(_GZIP):
        check_is_tar(path, head)
        if not _holds_images_in_folders(path):
            return _tar(path)
    return Archive(path, path.stat().st_size, None)


class ClassStream:
    """The classes of an archive that is read from its beginning, as they come; iterated once.

    A class tar, or the images of a class folder, are unpacked into `spool`; whoever takes a class removes it there.
    The iteration ends at damage too: what came before it has been given, and `error` says what was found.

    In the official archives the images of a class folder come one after another, so a class is whole when the next one
    begins. In an archive that was packed otherwise a class comes again: the iteration ends there, with
    `is_interleaved`, and what was given of its classes may not have been whole. Such an archive is read with `gather`:
    all of it is unpacked before the first class is given.
    """

    def __init__(self, path: Path, spool: Path, wanted: Callable[[str], bool], *, gather: bool = False) -> None:
        """`wanted` is asked for the keys of classes (see `ClassSource.key`): others are read and not kept."""
        self.path = path
        self.is_interleaved = False
        """Whether images of a class folder came after those of another one."""
        self.seen: set[str] = set()
        """The keys of all classes that were in it so far, wanted or not."""
        self.unrecognised: list[str] = []
        """The first of the files that belong to no class, at most MOST_NAMES."""
        self.unrecognised_count = 0
        self.notes: list[str] = []
        self.position = 0
        """How far the archive is read, in bytes of the file as it lies on the disk."""
        self.error: OvforgeError | None = None
        self._spool = spool
        self._wanted = wanted
        self._gather = gather

    def __iter__(self) -> Iterator[ClassSource]:
        shutil.rmtree(self._spool, ignore_errors=True)
        try:
            self._spool.mkdir(parents=True)
            with open(self.path, "rb") as raw, _uncompressed(raw) as plain:
                yield from self._gathered(raw, plain) if self._gather else self._classes(raw, plain)
        except _InterleavedError:
            self.is_interleaved = True
        except (ArchiveError, StorageError, WorkError) as error:
            self.error = error
        except OSError as error:
            self.error = StorageError(error.filename or self.path, error)

    def _classes(self, raw: BinaryIO, plain: BinaryIO) -> Iterator[ClassSource]:
        folder: ClassSource | None = None
        """The class whose images come one after another; it is whole when another begins."""
        files: set[str] = set()
        repeated: list[str] = []
        for member, source, file in self._members(raw, plain):
            if folder is None or folder.key != source.key or not file:
                if folder is not None and self._wanted(folder.key):
                    yield folder._replace(repeated=tuple(repeated))
                folder, files, repeated = None, set(), []
                if file and source.key in self.seen:
                    raise _InterleavedError
                self._check_new(source, member)
                self.seen.add(source.key)
            if not file:
                if self._wanted(source.key):
                    yield self._class_tar(source, member)
                continue
            folder = source
            if file in files:
                repeated.append(file)
            elif self._wanted(source.key):
                _store(member, folder.path / file)
            files.add(file)
        if folder is not None and self._wanted(folder.key):
            yield folder._replace(repeated=tuple(repeated))
        self.position = raw.tell()

    def _gathered(self, raw: BinaryIO, plain: BinaryIO) -> Iterator[ClassSource]:
        """All class folders after the last byte, whatever order their images came in."""
        folders: dict[str, ClassSource] = {}
        tars: set[str] = set()
        for member, source, file in self._members(raw, plain):
            if not file or source.key in tars:
                self._check_new(source, member)
                tars.add(source.key)
            self.seen.add(source.key)
            if not self._wanted(source.key):
                continue
            if not file:
                yield self._class_tar(source, member)
                continue
            folder = folders.setdefault(source.key, source)
            if os.path.lexists(folder.path / file):
                folders[source.key] = folder._replace(repeated=(*folder.repeated, file))
            else:
                _store(member, folder.path / file)
        self.position = raw.tell()
        yield from (folders[key] for key in sorted(folders))

    def _members(self, raw: BinaryIO, plain: BinaryIO) -> Iterator[tuple[StreamedMember, ClassSource, str]]:
        """(member, class, file name) of every image in a class folder; the name is empty for a class tar."""
        for member in stream_members(self.path, plain, self.notes.append):
            self.position = raw.tell()
            found = _class_of(member.name)
            if found is None:
                self.unrecognised_count += 1
                if len(self.unrecognised) < MOST_NAMES:
                    self.unrecognised.append(member.name)
                continue
            wnid, part, file = found
            source = ClassSource(wnid, Path(), part=part, archive=self.path)
            yield member, source._replace(path=self._spool / source.key), file

    def _check_new(self, source: ClassSource, member: StreamedMember) -> None:
        if source.key in self.seen:
            raise ArchiveError(
                self.path,
                f"has class {source.wnid} twice",
                member=member.name,
                byte=member.offset,
                hint="archives that were joined or appended to are given one by one",
            )

    def _class_tar(self, source: ClassSource, member: StreamedMember) -> ClassSource:
        target = self._spool / f"{source.wnid}.tar"
        _copy(member, target)
        return source._replace(path=target, offset=0, size=member.size)


class _InterleavedError(Exception):
    """Images of a class folder came after those of another one."""


def _store(member: StreamedMember, target: Path) -> None:
    """Unpack one image of a class folder."""
    target.parent.mkdir(exist_ok=True)
    try:
        _copy(member, target)
    except OSError:
        if _is_file_name(target.name):
            raise
        # The file system takes no such name (too long, not UTF-8): an empty file with a name like it will be named.
        target.with_name(ascii(target.name).strip("'")[:120].replace("\\", "_")).touch()


def _is_file_name(name: str) -> bool:
    try:
        return len(name.encode()) <= 255
    except UnicodeEncodeError:
        return False


def _copy(member: StreamedMember, target: Path) -> None:
    with open(target, "wb", buffering=0) as file:
        while piece := member.content.read(_COPY):
            try:
                file.write(piece)
            except OSError as error:
                raise WorkError(
                    f"{target}: {error.strerror or error}",
                    hint="classes are kept there until they are prepared; what is done stays done",
                ) from error


@contextlib.contextmanager
def _uncompressed(raw: BinaryIO) -> Iterator[BinaryIO]:
    is_gzip = raw.read(2) == _GZIP
    raw.seek(0)
    if not is_gzip:
        yield raw
        return
    with gzip.GzipFile(fileobj=raw) as plain:
        yield plain  # type: ignore[misc]  # it reads as a binary file does


def _holds_images_in_folders(path: Path) -> bool:
    """Whether an uncompressed tar holds class folders instead of class tars, by the first of its files that tells."""
    with open(path, "rb") as file:
        for number, member in enumerate(stream_members(path, file, lambda _: None)):
            found = _class_of(member.name)
            if found is not None:
                return bool(found[2])
            if number > 1000:
                break
    return False


def _folder(path: Path) -> Archive:
    with os.scandir(path) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    if any(entry.name in PART_OF_FOLDER and is_folder(entry) for entry in found):
        raise InputError(
            f"{path}: is prepared already: it has {', '.join((TRAIN, VAL, SMALL))}",
            hint=f"link it: ln -s {path} datasets/imagenet/imagenet21k_P, then `ovforge imagenet index`",
        )
    classes, unrecognised, size = {}, [], 0
    for entry in found:
        wnid = entry.name.removesuffix(".tar")
        is_tar = wnid != entry.name
        if not WNID.fullmatch(wnid) or is_folder(entry) == is_tar or wnid in classes:
            unrecognised.append(entry.name)
        elif is_tar:
            try:
                bytes_ = entry.stat().st_size
            except OSError:
                if exists(entry.path):
                    raise
                unrecognised.append(entry.name)  # a dead link, or a link to itself
                continue
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
    classes: dict[str, ClassSource] = {}
    unrecognised = []
    for member in read_members(path):
        found = _class_of(member.name)
        if found is not None and found[2]:  # it has class folders, too
            return Archive(path, path.stat().st_size, None)
        if found is None:
            unrecognised.append(member.name)
        elif found[0] in classes:
            raise ArchiveError(
                path,
                f"has class {found[0]} twice",
                member=member.name,
                byte=member.offset,
                detail=f"the first at byte {classes[found[0]].offset:,}",
                hint="archives that were joined or appended to are given one by one",
            )
        else:
            classes[found[0]] = ClassSource(found[0], path, member.offset, member.size)
    if not classes:
        raise no_classes(path)
    ordered = tuple(classes[wnid] for wnid in sorted(classes))
    return Archive(path, sum(c.size or 0 for c in ordered), ordered, tuple(sorted(unrecognised)))


def no_classes(path: Path) -> InputError:
    """The error for an archive without a class in it."""
    return InputError(f"{path}: no class tars or class folders of ImageNet in it", hint=_NO_CLASSES_HINT)


def _class_of(name: str) -> tuple[str, str, str] | None:
    """(ImageNet id, part, file name) of an image in a class folder; of a class tar, the file name is empty."""
    *folders, file = name.split("/")
    if file.endswith(".tar") and WNID.fullmatch(file[:-4]):
        return file[:-4], "", ""
    if not folders or not WNID.fullmatch(folders[-1]):
        return None
    part = PART_OF_FOLDER.get(folders[-2], "") if len(folders) > 1 else ""
    return folders[-1], part, file
