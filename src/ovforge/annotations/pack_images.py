"""`lvis pack-images`: images into one HDF5 file, keyed by bare file name, their bytes unchanged.

One file of 19 GB is kinder to a network file system than a hundred thousand files, and OVTrack's loader wants it.
LVIS v1 has no `file_name`: the bare name is the last part of `coco_url`. It is filled in in a copy of the annotation
file, as the last field of each image, because OVTrack's own scripts ask for it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ovforge.annotation_io.annotation_writer import Section, write_annotation_file
from ovforge.annotation_io.door import Annotations, open_annotations
from ovforge.annotation_io.record_edit import edit_record
from ovforge.errors import ImageError, InputError, StorageError
from ovforge.files.atomic import atomic_path, check_output
from ovforge.image_io.codec import stored_size
from ovforge.image_io.hdf5 import ImageWriter
from ovforge.image_io.listed_images import require_listed_images
from ovforge.image_io.store import ImageStore, is_utf8, open_image_store
from ovforge.options.base import by_keywords
from ovforge.options.pack import DEFAULT_ANNOTATIONS, DEFAULT_OUT, PackOptions
from ovforge.parallel import map_ordered
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress, require_some, shell_command

BATCH = 8
"""Images read at once by one thread."""
RETRY_SECONDS = (0.2, 1.0, 3.0)
"""Pauses before an image that the disk could not give is read again."""
READING_THREADS = 8
"""Readers ahead of the writer: opening a file on a network file system takes milliseconds of waiting."""


@by_keywords(PackOptions)
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
            found = store.names()
            drops.add_all("image", "its name is not UTF-8", [name for name in found if not is_utf8(name)])
            packed, size = _pack(store, [name for name in found if is_utf8(name)], options, drops, progress)
        else:
            with open_annotations(options.annotations, images=("name",)) as source:
                names = source.images["name"].tolist()
                require_some(len(names), "image", options.annotations)
                require_listed_images(store, names, options.annotations)
                if lacking := names != source.images["file_name"].tolist():
                    check_output(options.named, overwrite=options.overwrite)
                packed, size = _pack(store, names, options, drops, progress)
                if lacking:
                    _write_named(source, options.named, overwrite=options.overwrite)
                    outputs["annotations"] = str(options.named)
                else:
                    notes.append(f"{options.annotations}: every image has a bare file_name, no copy is needed")
    return StepSummary(
        step="lvis pack-images",
        outputs=outputs,
        counts={"images": packed, "bytes": size},
        drops=drops.freeze(),
        notes=tuple(notes),
        next_command=shell_command(
            "ovforge",
            "pairs",
            "generate",
            "my_pairs",
            images=None if options.out == DEFAULT_OUT else options.out,
            ann=None if options.annotations in (None, DEFAULT_ANNOTATIONS) else options.annotations,
        ),
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
                f"{options.images}: holds none of the {len(names):,} images ({first.examples[0]}: {first.reason})"
                if first
                else f"{options.images}: holds no image",
                hint="give the folder of the images with --images=PATH",
            )
    return packed, size


def _read_ahead(store: ImageStore, names: Sequence[str]) -> Iterator[tuple[str, bytes | ImageError]]:
    """The images in order, read by several threads, some at a time; what cannot be read comes as its error."""
    batches = ((store, names[start : start + BATCH]) for start in range(0, len(names), BATCH))
    with ThreadPoolExecutor(READING_THREADS) as threads:
        for found in map_ordered(threads, _read, batches, ahead=2 * READING_THREADS):
            yield from found


def _read(store: ImageStore, names: Sequence[str]) -> list[tuple[str, bytes | ImageError]]:
    found: list[tuple[str, bytes | ImageError]] = []
    for name in names:
        try:
            data = _read_again(store, name)
            stored_size(data, name)
        except ImageError as error:
            found.append((name, error))
        else:
            found.append((name, data))
    return found


def _read_again(store: ImageStore, name: str) -> bytes:
    """An image's bytes; what a disk could not give is asked for again, since half an hour of packing hangs on it.

    Raises:
        ImageError: see `ImageStore.read`.
        StorageError: the disk failed every time.
    """
    for pause in RETRY_SECONDS:
        try:
            return store.read(name)
        except StorageError:
            time.sleep(pause)
    return store.read(name)


def _write_named(source: Annotations, target: Path, *, overwrite: bool) -> None:
    """Write the annotation file with bare names as `file_name`; everything else passes through as it is."""
    images = source.images
    sections: dict[str, Section] = {section: source.file.whole(section) for section in source.file.sections}
    sections["images"] = (
        images.raw(index)
        if name == written
        else edit_record(images.raw(index), {"file_name": json.dumps(name, ensure_ascii=False).encode()})
        for index, (name, written) in enumerate(zip(images["name"], images["file_name"], strict=True))
    )
    write_annotation_file(target, sections, overwrite=overwrite)
