"""Visual Genome as it is downloaded: `objects.json` (0.4 GB) and `image_data.json`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ovforge.annotation_io.json_text import decode_json
from ovforge.errors import AnnotationFileError
from ovforge.files.mapped_file import map_file
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.reporting import Drops, Progress, no_progress
from ovforge.records.visual_genome import VisualGenomeImage, VisualGenomeObject

OBJECTS = "objects.json"
IMAGES = "image_data.json"
IMAGES_BETWEEN_REPORTS = 2_000


class _Image(msgspec.Struct, frozen=True):
    image_id: int
    objects: list[VisualGenomeObject]


class _RawImage(msgspec.Struct, frozen=True):
    objects: list[msgspec.Raw]


@dataclass(frozen=True)
class ObjectBox:
    """One object of a wanted synset, with its record as it stands in the file."""

    image_id: int
    raw: bytes


@dataclass(frozen=True)
class ObjectBoxes:
    """The objects of the wanted synsets, in file order, and what was skipped of each synset."""

    boxes: dict[str, list[ObjectBox]]
    small: dict[str, int] = field(default_factory=dict)
    """Synset -> how many of its objects are smaller than asked for."""


def read_objects(
    path: Path,
    wanted: Collection[str],
    *,
    min_area: float,
    drops: Drops | None = None,
    progress: Progress = no_progress,
) -> ObjectBoxes:
    """Collect the objects that carry exactly one synset, one of `wanted`, and at least `min_area` square pixels.

    Only the objects that are kept become Python objects, and only as bytes: the file is mapped, not read.
    An object with several synsets is ambiguous and not used (Kaul et al. 2023).

    Raises:
        MissingInputError, AnnotationFileError: names the file and the entry.
    """
    drops = drops if drops is not None else Drops()
    found = ObjectBoxes({synset: [] for synset in wanted})
    images = _entries(path, what="Visual Genome's objects")
    decode = msgspec.json.Decoder(_Image).decode
    decode_raw = msgspec.json.Decoder(_RawImage).decode
    for number, entry in enumerate(images):
        if number % IMAGES_BETWEEN_REPORTS == 0:
            progress("Visual Genome", number, len(images))
        try:
            image = decode(entry)
        except JSON_ERRORS as error:
            raise _malformed(path, number, error) from None
        chosen: list[tuple[int, str]] = []
        for place, item in enumerate(image.objects):
            if len(item.synsets) != 1 or (synset := item.synsets[0]) not in found.boxes:
                continue
            if item.w <= 0 or item.h <= 0:
                drops.add("Visual Genome object", "its box is empty", f"{image.image_id}/{place}")
            elif item.w * item.h < min_area:
                found.small[synset] = found.small.get(synset, 0) + 1
            else:
                chosen.append((place, synset))
        if chosen:
            records = decode_raw(entry).objects
            for place, synset in chosen:
                # bytes() copies: a view would keep the whole file mapped for as long as one record lives.
                found.boxes[synset].append(ObjectBox(image.image_id, bytes(records[place])))
    progress("Visual Genome", len(images), len(images))
    return found


def read_images(path: Path) -> dict[int, VisualGenomeImage]:
    """Read `image_data.json`: image id -> image.

    Raises:
        MissingInputError, AnnotationFileError: names the file and the entry.
    """
    images = {}
    decode = msgspec.json.Decoder(VisualGenomeImage).decode
    for number, entry in enumerate(_entries(path, what="Visual Genome's list of images")):
        try:
            image = decode(entry)
        except JSON_ERRORS as error:
            raise _malformed(path, number, error) from None
        images[image.image_id] = image
    return images


def coco_ids(path: Path) -> dict[str, int]:
    """Bare file name -> COCO id, of the Visual Genome images that are COCO images."""
    return {
        image.file_name.rsplit("/", 1)[-1]: image.coco_id
        for image in read_images(path).values()
        if image.coco_id is not None
    }


def _entries(path: Path, *, what: str) -> list[msgspec.Raw]:
    archive = path.with_name(path.name + ".zip")
    view = map_file(path, what=what, hint=f"unpack {archive}" if archive.exists() else "")
    entries: list[msgspec.Raw] = decode_json(
        path,
        view,
        list[msgspec.Raw],
        reason="is not Visual Genome's list of images",
        hint="unpack the archive again, it may have been cut short",
    )
    return entries


def _malformed(path: Path, number: int, error: Exception) -> AnnotationFileError:
    return AnnotationFileError(
        path,
        f"entry {number} of the list is malformed ({error})",
        hint="versions 1.2 and 1.4 of Visual Genome can be read; download the file again if it is one of these",
    )
