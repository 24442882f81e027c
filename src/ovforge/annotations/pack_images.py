"""`lvis pack-images`: images into one HDF5 file, keyed by bare file name, their bytes unchanged.

One file of 19 GB is kinder to a network file system than a hundred thousand files, and OVTrack's loader wants it.
LVIS v1 has no `file_name`: the bare name is the last part of `coco_url`. It is filled in in a copy of the annotation
file, as the last field of each image, because OVTrack's own scripts ask for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import msgspec

from ovforge.annotation_io.annotation_file import AnnotationFile, RecordTable
from ovforge.annotation_io.annotation_writer import write_annotation_file
from ovforge.errors import ImageError, InputError
from ovforge.files.atomic import atomic_path, check_output
from ovforge.files.byte_file import FileRange
from ovforge.image_io.codec import stored_size
from ovforge.image_io.hdf5 import ImageWriter
from ovforge.image_io.store import ImageStore, is_plain_name, open_image_store
from ovforge.options.pack import PackOptions
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress

BATCH = 8
"""Images read at once by one thread."""
READING_THREADS = 8
"""Readers ahead of the writer: opening a file on a network file system takes milliseconds of waiting."""


class ImageRow(msgspec.Struct, frozen=True, gc=False):
    """What is needed of an image's record."""

    id: int
    file_name: str = ""
    coco_url: str = ""


def pack_images(options: PackOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Copy images into one HDF5 file: those of an annotation file in its order, or all of a folder in name order.

    Every image is checked by its header and, a JPEG, for its end. What is missing or damaged is skipped and named.

    Raises:
        OutputExistsError: an output is there and `overwrite` was not asked for.
        InputError: an input is missing or malformed, or not one image could be packed.
    """
    check_output(options.out, overwrite=options.overwrite)
    outputs = {"images": str(options.out)}
    notes: list[str] = []
    drops = Drops()
    with open_image_store(options.images) as store:
        if options.annotations is None or options.named is None:
            packed, size = _pack(store, store.names(), options, drops, progress)
        else:
            with AnnotationFile(options.annotations, {"images": ImageRow}) as file:
                names = _names(file.table("images", ImageRow))
                if lacking := not all(file.table("images", ImageRow)["file_name"]):
                    check_output(options.named, overwrite=options.overwrite)
                packed, size = _pack(store, names, options, drops, progress)
                if lacking:
                    _write_named(file, options.named, overwrite=options.overwrite)
                    outputs["annotations"] = str(options.named)
                else:
                    notes.append(f"{options.annotations}: every image has a file_name, no copy is needed")
    return StepSummary(
        step="lvis pack-images",
        outputs=outputs,
        counts={"images": packed, "bytes": size},
        drops=drops.freeze(),
        notes=tuple(notes),
        next_command="ovforge pairs generate my_pairs",
    )


def _pack(
    store: ImageStore, names: list[str], options: PackOptions, drops: Drops, progress: Progress
) -> tuple[int, int]:
    """How many images were packed, and their bytes."""
    packed = size = 0
    with atomic_path(options.out, overwrite=options.overwrite) as temporary, ImageWriter(temporary) as writer:
        for done, (name, data) in enumerate(_read_ahead(store, names)):
            if isinstance(data, ImageError):
                drops.add("image", data.reason, name, place=data.detail)
            else:
                writer.add(name, data)
                packed, size = packed + 1, size + len(data)
            if done % 256 == 255:
                progress("images", done + 1, len(names))
        progress("images", len(names), len(names))
        if not packed:
            first = drops.freeze()[0] if names else None
            raise InputError(
                f"{options.images}: holds none of the {len(names):,} images"
                + (f" ({first.examples[0]}: {first.reason})" if first else ""),
                hint="give the folder of the images with --images=PATH",
            )
    return packed, size


def _read_ahead(store: ImageStore, names: Sequence[str]) -> Iterator[tuple[str, bytes | ImageError]]:
    """The images in order, read by several threads, some at a time; what cannot be read comes as its error."""
    batches = iter([names[start : start + BATCH] for start in range(0, len(names), BATCH)])
    with ThreadPoolExecutor(READING_THREADS) as threads:
        waiting: deque[Future[list[tuple[str, bytes | ImageError]]]] = deque()
        while True:
            for batch in islice(batches, 2 * READING_THREADS - len(waiting)):
                waiting.append(threads.submit(_read, store, batch))
            if not waiting:
                return
            yield from waiting.popleft().result()


def _read(store: ImageStore, names: Sequence[str]) -> list[tuple[str, bytes | ImageError]]:
    found: list[tuple[str, bytes | ImageError]] = []
    for name in names:
        try:
            data = store.read(name)
            stored_size(data, name)
        except ImageError as error:
            found.append((name, error))
        else:
            found.append((name, data))
    return found


def _names(images: RecordTable) -> list[str]:
    """The bare file names of the annotation file's images, each once, in file order."""
    names = [
        (file_name or url).rpartition("/")[2]
        for file_name, url in zip(images["file_name"], images["coco_url"], strict=True)
    ]
    for index, name in enumerate(names):
        if not is_plain_name(name):
            raise images.error(index, f"has no usable file name ({name!r})", hint="it needs a file_name or a coco_url")
    return list(dict.fromkeys(names))


def _write_named(file: AnnotationFile, target: Path, *, overwrite: bool) -> None:
    """Write the annotation file with `file_name` filled in; everything else passes through as it is."""
    images = file.table("images", ImageRow)
    sections: dict[str, bytes | FileRange | Iterable[bytes | FileRange]] = {
        section: file.whole(section) for section in file.sections
    }
    sections["images"] = (
        images.raw(index) if name else _with_name(images.raw(index), url)
        for index, (name, url) in enumerate(zip(images["file_name"], images["coco_url"], strict=True))
    )
    write_annotation_file(target, sections, overwrite=overwrite)


def _with_name(record: bytes, url: str) -> bytes:
    """The record with the bare name as its last field; its other bytes as they were."""
    name = url.rpartition("/")[2]
    if b'"file_name"' in record:  # there, but empty
        return msgspec.json.encode({**msgspec.json.decode(record), "file_name": name})
    return record[:-1].rstrip() + b', "file_name": ' + msgspec.json.encode(name) + b"}"
