"""Prepare one class: choose its part, check or resize its images, put its folders into place. Runs in a worker."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np

from ovforge.errors import ArchiveError, ImageError, WorkError
from ovforge.files.atomic import temporary_path
from ovforge.files.tar_archive import Member, read_members
from ovforge.image_io.codec import LONGEST_JPEG_SIDE, PIXEL_LIMIT, check_decodable, decode_rgb, encode_jpeg
from ovforge.image_io.header import read_header
from ovforge.image_io.read_file import check_file_size, read_image_file
from ovforge.image_io.store import has_image_suffix, is_utf8
from ovforge.imagenet.archives import ClassSource
from ovforge.options.imagenet import PrepareOptions, Resize
from ovforge.sources.imagenet21k import SMALL, STATE, TRAIN, VAL
from ovforge.wording import printable

WORK = "work"
"""Below STATE: classes that are being made, each in a folder of its own."""

_LONGEST_NAME = 255
"""Bytes of a file name that file systems take."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class ClassReport(msgspec.Struct, frozen=True):
    """What became of one class; written after the class is in its place."""

    wnid: str
    counts: dict[str, int]
    """Part -> images in it."""
    bytes: int
    left_out: list[tuple[str, str]] = []
    """(file name, reason) of every file of the class that is not in the output."""
    key: str = ""
    """The source's (see `ClassSource.key`), where it differs from `wnid`."""

    def is_there(self, out: Path) -> bool:
        """Whether the class has its folders in the tree `out`."""
        return all((out / part / self.wnid).is_dir() for part in self.counts)


class ClassFailure(msgspec.Struct, frozen=True):
    """A class that could not be prepared; it is tried again by the next run."""

    wnid: str
    problem: str


def prepare_class(options: PrepareOptions, source: ClassSource) -> ClassReport | ClassFailure:
    """Bring one class into the layout, whole or not at all. Any number of processes may do the same class at once.

    Raises:
        WorkError: the disk is full.
        OSError: something cannot be read or written.
    """
    work = temporary_path(options.out / STATE / WORK / source.wnid)
    try:
        return _prepare(options, source, work)
    except ImageError as error:  # its folder as a whole
        return ClassFailure(source.wnid, error.message)
    except ArchiveError as error:
        return ClassFailure(source.wnid, _in_archive(source, error).message)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise WorkError(
                f"{options.out}: no space left on the disk, at class {source.wnid}",
                hint="make room and run the same command again; what is done stays done",
            ) from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _in_archive(source: ClassSource, error: ArchiveError) -> ArchiveError:
    """The error of a class tar, which names the archive where the tar is only unpacked from it for a while."""
    if source.archive is None or error.place is None:
        return error
    return ArchiveError(
        f"{source.archive}: {source.wnid}.tar in it",
        error.reason,
        member=error.place.member,
        byte=error.place.byte,
        detail=error.detail,
    )


def _prepare(options: PrepareOptions, source: ClassSource, work: Path) -> ClassReport:
    cv2.setNumThreads(1)  # every core has a process of its own
    files, left_out, copy = _from_folder(options, source) if source.size is None else _from_tar(options, source)
    left_out += [(printable(name), "is in the archive twice; the first counts") for name in source.repeated]
    images = []
    for name in files:
        if reason := _why_no_name(name):
            left_out.append((printable(name), reason))
        else:
            images.append(name)
    counts, size = {}, 0
    # The split goes by the names alone, broken images included, as in the processing document.
    for part, names in _split(images, source, options).items():
        folder = work / part
        folder.mkdir(parents=True)
        counts[part] = 0
        for name in names:
            try:
                size += copy(name, folder / name)
                counts[part] += 1
            except ImageError as error:
                left_out.append((name, error.reason))
    for part in counts:
        _put_in_place(work / part, options.out / part / source.wnid, work / f"{part}.old")
    return ClassReport(source.wnid, counts, size, left_out, source.key)


def _why_no_name(name: str) -> str:
    """Why a file of this name is not an image of the tree; empty if it is one."""
    if not is_utf8(name):
        return "its name is not UTF-8"
    if len(name.encode()) > _LONGEST_NAME:
        return f"its name is longer than {_LONGEST_NAME} bytes"
    return "" if has_image_suffix(name) and not name.startswith(".") else "is hidden, or not named like an image"


def _put_in_place(made: Path, target: Path, old: Path) -> None:
    """Give a folder its final name. One that is there already stays, unless its files are not the same."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if _renamed(made, target) or _sizes(made) == _sizes(target):
        return  # there before: from a run that was killed before its report, or from another process
    with contextlib.suppress(FileNotFoundError):  # damaged, by a power cut say; moved, so that nobody sees half of it
        target.rename(old)
    _renamed(made, target)


def _renamed(made: Path, target: Path) -> bool:
    """Whether the rename was possible: it is not where `target` is a folder with files in it."""
    try:
        made.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _sizes(folder: Path) -> dict[str, int]:
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries}


def _split(images: list[str], source: ClassSource, options: PrepareOptions) -> dict[str, list[str]]:
    if not images:
        return {}
    if source.part:  # the archive has its parts already
        return {source.part: images}
    if len(images) <= options.small_limit:
        return {SMALL: images}
    return {VAL: images[: options.val_images], TRAIN: images[options.val_images :]}


_Copy = Callable[[str, Path], int]
"""copy(name, target) brings one image to its target and gives its bytes there; ImageError where it is broken."""


_Files = tuple[list[str], list[tuple[str, str]], _Copy]
"""The names of a class's files, what is left out at once and why, and how to copy one."""


def _from_tar(options: PrepareOptions, source: ClassSource) -> _Files:
    members: dict[str, Member] = {}
    left_out = []
    for member in read_members(source.path, source.offset, source.size):
        name = member.name.rpartition("/")[2]
        if members.setdefault(name, member) is not member:
            left_out.append((printable(member.name), "is in the archive twice; the first counts"))

    def copy(name: str, target: Path) -> int:
        member = members[name]
        check_file_size(member.size, name)
        with open(source.path, "rb", buffering=0) as file:
            data = os.pread(file.fileno(), member.size, member.offset)
        if len(data) < member.size:
            raise ArchiveError(source.path, "was cut short while it was read", member=name)
        return target.write_bytes(fit_size(data, name, options.resize))

    return sorted(members), left_out, copy


def _from_folder(options: PrepareOptions, source: ClassSource) -> _Files:
    def copy(name: str, target: Path) -> int:
        path = source.path / name
        data = read_image_file(path, name)
        result = fit_size(data, name, options.resize)
        if options.link and result is data:
            with contextlib.suppress(OSError):  # another disk, or one without hard links: copy
                os.link(path.resolve(), target)
                return 0
        return target.write_bytes(result)

    return sorted(os.listdir(source.path)), [], copy  # noqa: PTH208  (names are wanted, not paths)


def fit_size(data: bytes, name: str, resize: Resize) -> bytes:
    """The bytes of an image as they go into the tree: as they are, or resized as JPEG of quality 95.

    Bilinear without smoothing, as ImageNet-21K-P is made; an image whose longer edge is below the size stays as
    it is. Images are turned upright by EXIF where they are resized. What is decoded and what comes out of it is at most
    PIXEL_LIMIT pixels each, so a process needs some 700 MB at most.

    Raises:
        ImageError: broken or cut short; a strip so narrow that it would become longer than a JPEG can be. Without
            resizing, header and end are looked at; else it is decoded.
    """
    if resize is Resize.OFF:
        read_header(data, name)
        return data
    edge = int(resize.value)
    header = check_decodable(data, name)
    width, height = header.shown_size
    scale = edge / min(width, height)
    size = (edge, edge) if resize is Resize.SQUASH else (round(width * scale), round(height * scale))
    if max(width, height) >= edge and (max(size) > LONGEST_JPEG_SIDE or size[0] * size[1] > PIXEL_LIMIT):
        raise ImageError(
            name,
            f"is too narrow for --resize={edge}",
            detail=f"{width}x{height} pixels would become {size[0]}x{size[1]}",
        )
    image = decode_rgb(data, name, upright=True)
    if max(width, height) < edge:
        return data
    if resize is Resize.SQUASH:
        resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    else:  # by the scale, not by the size: the pixels differ a little
        resized = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    return encode_jpeg(np.asarray(resized, np.uint8), 95)
