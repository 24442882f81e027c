"""Lists the cropped exemplars as an annotation file, one class an image."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ovforge.annotation_io.annotation_file import RecordTable
from ovforge.annotation_io.annotation_writer import write_annotation_file
from ovforge.annotation_io.door import categories_of, open_annotations
from ovforge.annotation_io.record_edit import edit_record
from ovforge.errors import AnnotationFileError, ImageError, InputError, MissingInputError
from ovforge.files.atomic import check_output, is_temporary
from ovforge.image_io.header import read_size_of_file
from ovforge.options.base import by_keywords
from ovforge.options.exemplars import ExemplarIndexOptions
from ovforge.records.crops import CLASSES_FILE, CropIndex
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.lvis import Category
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress, require_some


@by_keywords(ExemplarIndexOptions)
def index_exemplars(options: ExemplarIndexOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Write `categories` and `images` of the cropped exemplars: size, file and class of each.

    Which folder is which class stands in the `classes.json` that the crop step leaves behind; categories are found
    there by their synset, whatever their numbers. Folders made by the original script have no such file: there, folder
    n is taken for category n + 1. Images are listed by category, then by file name as plain strings.

    Raises:
        MissingInputError: there is no such folder of crops.
        AnnotationFileError: `categories` has no usable categories, or `classes.json` is malformed.
        OutputExistsError: `output` exists and `overwrite` is false.
    """
    check_output(options.output, overwrite=options.overwrite)
    root = options.crops / options.split
    if not root.is_dir():
        raise MissingInputError(root, what="folder of cropped exemplars", hint="`ovforge exemplars crop` makes it")
    table, records = _read_categories(options.categories)
    categories = categories_of(table)
    folder_of, notes = _folders(options.crops, categories)
    drops = Drops()
    images: list[bytes] = []
    counts: list[int] = []
    for number, category in enumerate(categories):
        progress("classes", number, len(categories))
        before = len(images)
        folder = folder_of.get(category.id)
        if folder is None or not (root / folder).is_dir():
            drops.add("synset", f"has no folder in {options.split}", category.synset or category.id)
        else:
            for name, width, height in _images(root / folder, f"{options.split}/{folder}", drops):
                images.append(
                    _json(
                        {
                            "id": len(images) + 1,
                            "file_name": name,
                            "pos_category_ids": [category.id],
                            "width": width,
                            "height": height,
                        }
                    )
                )
        counts.append(len(images) - before)
    progress("classes", len(categories), len(categories))
    if not images:
        raise InputError(
            f"{root}: no image of any of the {len(categories):,} categories of {options.categories} is in it",
            hint="the crops were probably made for other categories",
        )
    counted = [
        edit_record(record, {"image_count": b"%d" % count}) for record, count in zip(records, counts, strict=True)
    ]
    write_annotation_file(
        options.output,
        {"categories": counted, "images": images, "annotations": b"[]"},
        overwrite=options.overwrite,
    )
    return StepSummary(
        step="exemplars index",
        outputs={"annotation file": str(options.output)},
        counts={"categories": len(categories), "images": len(images)},
        drops=drops.freeze(),
        notes=notes,
    )


def _read_categories(path: Path) -> tuple[RecordTable, list[bytes]]:
    """The classes, and their raw records."""
    with open_annotations(path, categories=("name", "synset"), optional={"categories.name"}) as opened:
        require_some(len(opened.categories), "class", path)
        return opened.categories, [opened.categories.raw(index) for index in range(len(opened.categories))]


def _folders(crops: Path, categories: Sequence[Category]) -> tuple[dict[int, str], tuple[str, ...]]:
    """Category id -> folder."""
    path = crops / CLASSES_FILE
    if not path.exists():
        note = f"{path} is not there, so folder n is taken for category n + 1, as in OVMR's script"
        return {category.id: str(category.id - 1) for category in categories}, (note,)
    try:
        classes = msgspec.json.decode(path.read_bytes(), type=CropIndex).classes
    except JSON_ERRORS as error:
        raise AnnotationFileError(
            path,
            "is not what the crop step writes",
            detail=str(error),
            hint="run `ovforge exemplars crop` again",
        ) from None
    by_synset = {each.synset: each.folder for each in classes if each.synset}
    # Without a synset only the number is left to go by.
    by_id = {each.category_id: each.folder for each in classes if not each.synset}
    folders = {}
    for category in categories:
        folder = by_synset.get(category.synset) or by_id.get(category.id)
        if folder is not None:
            folders[category.id] = folder
    return folders, ()


def _images(folder: Path, prefix: str, drops: Drops) -> Iterator[tuple[str, int, int]]:
    """Name, width and height of each image of a folder, sorted as plain strings."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if is_temporary(path) or path.is_dir():
            continue
        try:
            width, height = read_size_of_file(path)
        except ImageError as error:
            drops.add("image", error.reason, path, place=error.detail)
            continue
        yield f"{prefix}/{path.name}", width, height


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
