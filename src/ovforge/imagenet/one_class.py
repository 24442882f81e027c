"""Prepare one class: choose its part, check or resize its pictures, put its folders into place. Runs in a worker."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec

from ovforge.errors import ArchiveError, ImageError, WorkError
from ovforge.imagenet.archives import ClassSource
from ovforge.options.imagenet import PrepareOptions, Resize
from ovforge.sources.imagenet21k import SMALL, TRAIN, VAL
from ovforge.storage.atomic import write_bytes
from ovforge.storage.image_codec import decode_rgb, encode_jpeg, stored_size
from ovforge.storage.tar_archive import Member, read_members

STATE = ".prepare"
"""The folder below the output in which a run remembers what is done."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class ClassReport(msgspec.Struct, frozen=True):
    """What became of one class; its file is written last, so it is there when the class is whole."""

    wnid: str
    counts: dict[str, int]
    """Part -> pictures in it."""
    bytes: int
    left_out: list[tuple[str, str]] = []
    """(file name, reason) of every file of the class that is not in the output."""


class ClassFailure(msgspec.Struct, frozen=True):
    """A class that could not be prepared; it is tried again by the next run."""

    wnid: str
    problem: str


def report_path(out: Path, wnid: str) -> Path:
    """Where the report of a class lies."""
    return out / STATE / "classes" / f"{wnid}.json"


def prepare_class(options: PrepareOptions, source: ClassSource) -> ClassReport | ClassFailure:
    """Bring one class into the layout, whole or not at all.

    Raises:
        WorkError: the disk is full or cannot be written.
    """
    try:
        return _prepare(options, source)
    except ArchiveError as error:
        return ClassFailure(source.wnid, error.message)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise WorkError(
                f"{options.out}: no space left on the disk, at class {source.wnid}",
                hint="make room and run the same command again; what is done stays done",
            ) from error
        return ClassFailure(source.wnid, f"{error.filename or source.path}: {error.strerror or error}")
    finally:
        if source.spooled:
            source.path.unlink(missing_ok=True)


def _prepare(options: PrepareOptions, source: ClassSource) -> ClassReport:
    cv2.setNumThreads(1)  # every core has a process of its own
    work = options.out / STATE / "work" / source.wnid
    shutil.rmtree(work, ignore_errors=True)
    files, copy = _from_folder(options, source) if source.size is None else _from_tar(options, source)
    pictures = [name for name in files if name.endswith(".JPEG") and not name.startswith(".")]
    others = sorted(set(files) - set(pictures))
    left_out = [(name, "hidden, or its name does not end in .JPEG") for name in others]
    counts, size = {}, 0
    # The split goes by the names alone, broken pictures included, as in the processing document.
    for part, names in _split(pictures, options).items():
        folder = work / part
        folder.mkdir(parents=True)
        counts[part] = 0
        for name in names:
            try:
                size += copy(name, folder / name)
                counts[part] += 1
            except ImageError as error:
                left_out.append((name, error.message.removeprefix(f"{name}: ")))
    for part in counts:
        target = options.out / part / source.wnid
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():  # a run that was killed between this rename and its report
            shutil.rmtree(target)
        (work / part).rename(target)
    shutil.rmtree(work, ignore_errors=True)
    report = ClassReport(source.wnid, counts, size, left_out)
    write_bytes(report_path(options.out, source.wnid), msgspec.json.encode(report), overwrite=True)
    return report


def _split(pictures: list[str], options: PrepareOptions) -> dict[str, list[str]]:
    if not pictures:
        return {}
    if len(pictures) <= options.small_limit:
        return {SMALL: pictures}
    return {VAL: pictures[: options.val_pictures], TRAIN: pictures[options.val_pictures :]}


_Copy = Callable[[str, Path], int]
"""copy(name, target) brings one picture to its target and gives its bytes there; ImageError where it is broken."""


def _from_tar(options: PrepareOptions, source: ClassSource) -> tuple[list[str], _Copy]:
    members: dict[str, Member] = {}
    for member in read_members(source.path, source.offset, source.size):
        members.setdefault(member.name.rpartition("/")[2], member)

    def copy(name: str, target: Path) -> int:
        with open(source.path, "rb", buffering=0) as file:
            data = os.pread(file.fileno(), members[name].size, members[name].offset)
        return target.write_bytes(fitted(data, name, options.resize))

    return sorted(members), copy


def _from_folder(options: PrepareOptions, source: ClassSource) -> tuple[list[str], _Copy]:
    def copy(name: str, target: Path) -> int:
        path = source.path / name
        if not path.is_file():
            raise ImageError(name, "is a folder, a dead link or no plain file")
        data = path.read_bytes()
        result = fitted(data, name, options.resize)
        if options.link and result is data:
            with contextlib.suppress(OSError):  # another disk, or one without hard links: copy
                os.link(path.resolve(), target)
                return 0
        return target.write_bytes(result)

    return sorted(os.listdir(source.path)), copy  # noqa: PTH208  (names are wanted, not paths)


def fitted(data: bytes, name: str, resize: Resize) -> bytes:
    """The bytes of a picture as they go into the tree: as they are, or resized as JPEG of quality 95.

    Bilinear without smoothing, as ImageNet-21K-P is made; a picture whose longer edge is below the size stays as
    it is. Pictures are turned upright by EXIF where they are resized.

    Raises:
        ImageError: broken or cut short. Without resizing, header and end are looked at; else it is decoded.
    """
    width, height = stored_size(data, name)
    if resize is Resize.OFF:
        return data
    edge = int(resize.value)
    image = decode_rgb(data, name, upright=True)
    if max(width, height) < edge:
        return data
    if resize is Resize.SQUASH:
        image = cv2.resize(image, (edge, edge), interpolation=cv2.INTER_LINEAR)
    else:
        scale = edge / min(width, height)
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    return encode_jpeg(image, 95)
