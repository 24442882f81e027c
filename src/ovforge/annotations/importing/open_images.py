"""OpenImages: boxes as shares of the image in a CSV file, classes as codes, masks as PNG files.

The format is that of the releases V4 to V7 (storage.googleapis.com/openimages/web/factsfigures_v7.html): a box's
corners are divided by the image's size, so the sizes come from the images' headers; an image that is not in the folder
is skipped. A mask belongs to the box of its image and class whose corners it repeats. It is stored at a size of its
own and brought to the image's. `IsGroupOf` boxes become crowds.
"""

from __future__ import annotations

import contextlib
import csv
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ovforge.annotations.importing.imported import Imported, box_and_area, encode
from ovforge.errors import AnnotationFileError, ImageError, InputError, MissingInputError
from ovforge.image_io.header import read_size_of_file
from ovforge.options.importing import ImportOptions

_BOX_COLUMNS = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
_MASK_COLUMNS = ("MaskPath", "ImageID", "LabelName", "BoxXMin", "BoxXMax", "BoxYMin", "BoxYMax")
_FLAGS = ("IsOccluded", "IsTruncated", "IsDepiction", "IsInside")
_LABEL_COLUMNS = ("ImageID", "LabelName", "Confidence")
_CORNER_TOLERANCE = 2e-3
"""Corners of a mask's box and of the box differ by rounding only: the two files give 6 and 4 to 6 digits."""
_SUFFIXES = (".jpg", ".JPG", ".jpeg", ".png")


@dataclass
class _ImageRow:
    id: int
    width: int = 0
    height: int = 0
    negative: list[int] = field(default_factory=list)


def read_open_images(options: ImportOptions) -> Imported:
    """Read OpenImages. Images are numbered from 1 in the order of the boxes' file, classes in that of the class file.

    Raises:
        MissingInputError: a file or folder is not there.
        AnnotationFileError: a CSV file lacks a column, or a row is malformed; names the line.
        InputError: none of the images is in the folder.
    """
    folder, classes_file = options.images, options.classes
    if folder is None or classes_file is None:  # `ImportOptions` has refused it
        raise InputError("OpenImages needs --images=DIR and --classes=FILE")
    if not folder.is_dir():
        raise MissingInputError(folder, what="folder of images")
    imported = Imported()
    classes, mask_images = _classes(classes_file), options.mask_images or Path()
    images = _image_rows(options, folder, classes, imported)
    imported.counts["images"], imported.counts["classes"] = len(images), len(classes)

    def annotations() -> Iterator[bytes]:
        with _mask_index(options) as masks:
            for number, row in _rows(options.annotations, _BOX_COLUMNS):
                image = images.get(row["ImageID"])
                if image is None:
                    imported.drops.add("annotation", "its image is not in the folder")
                    continue
                record = _annotation(options, number, row, image, classes)
                if record is None:
                    imported.drops.add("annotation", "its box has no area", f"line {number}")
                    continue
                if masks is not None:
                    _add_mask(record, masks, row, image, folder=mask_images, imported=imported)
                imported.counts["annotations"] += 1
                yield encode({"id": imported.counts["annotations"], **record})

    imported.sections = {
        "images": (
            encode(
                {
                    "id": image.id,
                    "file_name": _file_of(folder, name).name,
                    "width": image.width,
                    "height": image.height,
                    "neg_category_ids": sorted(set(image.negative)),
                    "not_exhaustive_category_ids": [],
                }
            )
            for name, image in images.items()
        ),
        "annotations": annotations(),
        "categories": encode_categories(classes),
    }
    if options.masks is None:
        imported.notes.append("it has boxes and no masks: `pairs generate` needs --boxes-as-masks for it")
    return imported


def encode_categories(classes: dict[str, tuple[int, str]]) -> bytes:
    """The categories as a JSON list; `freebase_id` is OpenImages' code of the class."""
    records = [encode({"id": number, "name": name, "freebase_id": code}) for code, (number, name) in classes.items()]
    return b"[" + b", ".join(records) + b"]"


def _classes(path: Path) -> dict[str, tuple[int, str]]:
    """Code -> (id from 1, name). V7's file has a header, earlier ones have none."""
    result: dict[str, tuple[int, str]] = {}
    with _open_csv(path) as file:
        for line, row in enumerate(csv.reader(file), start=1):
            if not row or (line == 1 and row[0] == "LabelName"):
                continue
            if len(row) < 2:
                raise AnnotationFileError(
                    path, f"line {line}: a class code and its name are wanted, as `/m/011k07,Tortoise`"
                )
            result.setdefault(row[0], (len(result) + 1, row[1]))
    return result


def _image_rows(
    options: ImportOptions, folder: Path, classes: dict[str, tuple[int, str]], imported: Imported
) -> dict[str, _ImageRow]:
    """The images that boxes name and that are in the folder, with their sizes, in the file's order."""
    images: dict[str, _ImageRow] = {}
    skipped: set[str] = set()
    for _, row in _rows(options.annotations, _BOX_COLUMNS):
        name = row["ImageID"]
        if name in images or name in skipped:
            continue
        path = _file_of(folder, name)
        if not path.is_file():
            imported.drops.add("image", "is not in the folder", name)
            skipped.add(name)
            continue
        try:
            width, height = read_size_of_file(path)
        except ImageError as error:
            imported.drops.add("image", "is not a readable image", error.message)
            skipped.add(name)
        else:
            images[name] = _ImageRow(len(images) + 1, width, height)
    if not images:
        raise InputError(
            f"{folder}: none of the {len(skipped):,} images that {options.annotations.name} names is there",
            hint="give the folder that holds the images of this split, named by their ids",
        )
    if options.image_labels is not None:
        for number, row in _rows(options.image_labels, _LABEL_COLUMNS):
            if row["ImageID"] not in images or row["LabelName"] not in classes:
                continue
            if _is_absent(options.image_labels, number, row):
                images[row["ImageID"]].negative.append(classes[row["LabelName"]][0])
    return images


def _annotation(
    options: ImportOptions, number: int, row: dict[str, str], image: _ImageRow, classes: dict[str, tuple[int, str]]
) -> dict[str, Any] | None:
    place = f"line {number}"
    if row["LabelName"] not in classes:
        raise AnnotationFileError(
            options.annotations,
            f"{place}: {row['LabelName']} is not among the classes of {options.classes}",
            hint="take the class descriptions of the same release",
        )
    left, right, top, bottom = _corners(options.annotations, place, row, _BOX_COLUMNS[2:])
    box = [left * image.width, top * image.height, (right - left) * image.width, (bottom - top) * image.height]
    if box[2] <= 0 or box[3] <= 0:
        return None
    flags = {name: _flag(options.annotations, place, row, name) for name in _FLAGS if row.get(name)}
    return {
        "image_id": image.id,
        "category_id": classes[row["LabelName"]][0],
        "bbox": [round(value, 2) for value in box],
        "area": round(box[2] * box[3], 2),
        "iscrowd": int(row.get("IsGroupOf") == "1"),
        **flags,
    }


def _flag(path: Path, place: str, row: dict[str, str], name: str) -> int:
    try:
        return int(row[name])
    except ValueError:
        raise AnnotationFileError(path, f"{place}: {name} is {row[name]!r}: it needs 0, 1, or -1 for unknown") from None


def _is_absent(path: Path, number: int, row: dict[str, str]) -> bool:
    """Whether somebody has looked for the class of an image label and not found it."""
    try:
        return float(row["Confidence"]) == 0
    except ValueError:
        raise AnnotationFileError(
            path, f"line {number}: Confidence is {row['Confidence']!r}: it needs a number from 0 to 1, such as 0"
        ) from None


def _corners(path: Path, place: str, row: dict[str, str], names: tuple[str, ...]) -> list[float]:
    try:
        corners = [float(row[name]) for name in names]
    except (TypeError, ValueError):
        shown = ", ".join(f"{name}={row[name]!r}" for name in names)
        raise AnnotationFileError(path, f"{place}: the corners are not numbers ({shown})") from None
    if not all(0 <= corner <= 1 for corner in corners):
        raise AnnotationFileError(
            path, f"{place}: the corners {corners} are not shares of the image, 0 to 1", hint="is it another format?"
        )
    return corners


@contextlib.contextmanager
def _mask_index(options: ImportOptions) -> Iterator[sqlite3.Connection | None]:
    """The rows of the masks' file by image, on disk: there are 2.7 million of them."""
    if options.masks is None:
        yield None
        return
    with (
        tempfile.TemporaryDirectory(prefix="ovforge-masks-") as folder,
        contextlib.closing(sqlite3.connect(Path(folder) / "masks.sqlite")) as index,
    ):
        index.execute(
            "create table masks (image text, label text, xmin real, xmax real, ymin real, ymax real, file text)"
        )
        index.executemany(
            "insert into masks values (?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    row["ImageID"],
                    row["LabelName"],
                    *_corners(options.masks, f"line {number}", row, _MASK_COLUMNS[3:]),
                    row["MaskPath"],
                )
                for number, row in _rows(options.masks, _MASK_COLUMNS)
            ),
        )
        index.execute("create index by_image on masks (image, label)")
        yield index


def _add_mask(
    record: dict[str, Any],
    masks: sqlite3.Connection,
    row: dict[str, str],
    image: _ImageRow,
    *,
    folder: Path,
    imported: Imported,
) -> None:
    corners = [float(row[name]) for name in _BOX_COLUMNS[2:]]
    found = masks.execute(
        "select xmin, xmax, ymin, ymax, file from masks where image = ? and label = ?",
        (row["ImageID"], row["LabelName"]),
    ).fetchall()
    names = [
        file for *theirs, file in found
        if max(abs(one - other) for one, other in zip(theirs, corners, strict=True)) <= _CORNER_TOLERANCE
    ]  # fmt: skip
    if not names:
        imported.counts["annotations without a mask"] += 1
        return
    path = _mask_path(folder, names[0])
    if path is None:
        imported.drops.add("mask", "its PNG file is not in the folder", names[0])
        return
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        imported.drops.add("mask", "its PNG file is not a readable image", names[0])
        return
    resized = cv2.resize(pixels, (image.width, image.height), interpolation=cv2.INTER_NEAREST)
    rle = coco_mask.encode(np.asfortranarray(resized > 0, np.uint8))
    segmentation = {"size": [image.height, image.width], "counts": rle["counts"].decode("ascii")}
    if not int(coco_mask.area(rle)):
        imported.drops.add("mask", "is empty", names[0])
        return
    box, area = box_and_area(segmentation)
    record.update(bbox=box, area=area, segmentation=segmentation)
    imported.counts["annotations with a mask"] += 1


def _mask_path(folder: Path, name: str) -> Path | None:
    """Masks lie in one folder, or, as downloaded, in subfolders by the first digit of their name."""
    for path in (folder / name, folder / name[:1] / name):
        if path.is_file():
            return path
    return None


def _file_of(folder: Path, name: str) -> Path:
    return next(
        (path for suffix in _SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), folder / f"{name}.jpg"
    )


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with their line numbers, once its header has `columns`."""
    with _open_csv(path) as file:
        reader = csv.DictReader(file)
        lacking = [name for name in columns if name not in (reader.fieldnames or ())]
        if lacking:
            raise AnnotationFileError(
                path,
                f"line 1: its columns are {', '.join(reader.fieldnames or ()) or 'none'}; {', '.join(lacking)} missing",
                hint=f"the columns {', '.join(columns)} are wanted, as in the releases V4 to V7",
            )
        for row in reader:
            if any(row[name] is None for name in columns):
                raise AnnotationFileError(path, f"line {reader.line_num}: too few columns: is the file cut short?")
            yield reader.line_num, row


@contextlib.contextmanager
def _open_csv(path: Path) -> Iterator[Any]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            yield file
    except FileNotFoundError:
        raise MissingInputError(path, what="CSV file") from None
    except IsADirectoryError:
        raise AnnotationFileError(path, "is a folder, not a CSV file") from None
    except csv.Error as error:
        raise AnnotationFileError(path, "is not a CSV file as OpenImages has them", detail=str(error)) from None
    except UnicodeDecodeError as error:
        raise AnnotationFileError(
            path, f"is not UTF-8 text (byte {error.start:,} of a block)", hint="is it packed? Unpack it first"
        ) from None
