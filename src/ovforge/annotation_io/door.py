"""The door: how every step opens an annotation file, and what it may then rely on.

A step names the fields that it uses (see `schema`). What is asked of a file follows from them, here and nowhere else,
so that what one step accepts the others accept:

- The sections and the fields that are used are there, and are what they have to be.
- Ids come once. An annotation's image and class are in the file.
- Where images are kept by name (`name`), each has one that is a plain file name, and no two have the same. Where they
  are kept by folder and name (`folder_name`), images of one name in two folders are two images.
- An `area` or a `bbox` that a record does not have is that of its mask; without a mask, its area is the box's.

Everything is checked before the step begins its work.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.annotation_file import AnnotationFile, RecordTable
from ovforge.annotation_io.image_names import (
    LONGEST_NAME,
    bare_name,
    coco_name,
    flat_name,
    is_usable_name,
    name_with_folder,
)
from ovforge.annotation_io.record_edit import decode_record, take_apart
from ovforge.annotation_io.record_index import RecordIndex
from ovforge.annotation_io.schema import Fields, record_decoder
from ovforge.errors import AnnotationFileError
from ovforge.records import lvis

NAMES: dict[str, Callable[[str, str], str]] = {
    "name": bare_name,
    "folder_name": name_with_folder,
    "coco_name": coco_name,
    "frame_name": bare_name,
}
"""How a step knows an image: the bare file name; with its last folder; as LVIS and COCO of any year have it; the bare
name of a video's frame, which may be a frame of other videos, too."""
_NAMES_FROM = ("file_name", "coco_url")
_OTHER_RELEASE = (
    "the file is probably cut from another release; `ovforge doctor` shows which release each file looks like"
)


class Annotations:
    """An open annotation file that holds what a step needs.

    Attributes:
        file: for copying what does not change.
        images, annotations, categories: the fields that were asked for, as columns.
    """

    def __init__(self, file: AnnotationFile, fields: dict[str, Fields]) -> None:
        self.file = file
        self.path = file.path
        self._fields = fields
        self._filled: dict[str, NDArray[np.bool_]] = {}

    def fields(self, section: str) -> Fields:
        """What the step uses of a section."""
        return self._fields[section]

    @property
    def images(self) -> RecordTable:
        return self.file.table("images", self._fields["images"])

    @property
    def annotations(self) -> RecordTable:
        return self.file.table("annotations", self._fields["annotations"])

    @property
    def categories(self) -> RecordTable:
        return self.file.table("categories", self._fields["categories"])

    def canonical(self, section: str) -> Callable[[bytes], bytes]:
        """What brings a raw record's fields into the form in which LVIS and COCO write them."""
        return record_decoder(self._fields[section]).canonical

    def filled_in(self, rows: NDArray[np.int64]) -> dict[str, list[bytes | None]]:
        """For an output in which every annotation has an `area` and a `bbox`: those that the records `rows` lack.

        By field, as raw JSON; None for records that have one. Empty where nothing is to be filled in.
        """
        table = self.annotations
        return {
            field: [
                msgspec.json.encode(table[field][row].tolist()) if lacks else None
                for row, lacks in zip(rows.tolist(), filled[rows].tolist(), strict=True)
            ]
            for field, filled in self._filled.items()
            if filled[rows].any()
        }

    def require_section(self, section: str, otherwise: str) -> None:
        """Refuse a file without a section of which no fields are used; `otherwise` says what it is not, then.

        Raises:
            AnnotationFileError: it has none.
        """
        if section not in self.file.sections:
            raise AnnotationFileError(
                self.path, f'has no "{section}": {otherwise}', detail=f"it has {', '.join(self.file.sections)}"
            )

    def close(self) -> None:
        """Close the file. Columns stay usable."""
        self.file.close()

    def __enter__(self) -> Annotations:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_annotations(
    path: Path | str,
    *,
    images: Iterable[str] | None = None,
    annotations: Iterable[str] | None = None,
    categories: Iterable[str] | None = None,
    optional: Collection[str] = (),
    spans: Collection[str] | None = None,
) -> Annotations:
    """Open an annotation file for a step that uses these fields of these sections, and check it.

    Args:
        images, annotations, categories: the fields that the step uses besides the ids, which are always read; an
            image's name is one, by any of `NAMES`. None: the step does not use the section, and the
            file need not have it.
        optional: fields that are required elsewhere but that this step can do without, as `categories.name`.
        spans: the sections of which raw records are wanted; None: all that are used.

    Raises:
        MissingInputError: there is no such file.
        AnnotationFileError: it is not what the step needs; names the record, its byte, what is needed and an example.

    >>> with open_annotations("lvis_v1_train.json", images=(), annotations=("area",)) as file:
    ...     file.annotations["area"].sum()
    """
    wanted: dict[str, Fields] = {}
    names = [name for name in NAMES if name in tuple(images or ())]
    if images is not None:
        own = [name for name in images if name not in NAMES]
        wanted["images"] = _fields("images", ("id", *own, *(_NAMES_FROM if names else ())), optional)
    if annotations is not None:
        refers = (("image_id",) if images is not None else ()) + (("category_id",) if categories is not None else ())
        wanted["annotations"] = _fields("annotations", ("id", *refers, *annotations), optional)
    if categories is not None:
        wanted["categories"] = _fields("categories", ("id", *categories), optional)
    with_spans = set(wanted if spans is None else spans)
    if annotations is not None and {"area", "bbox"} & set(wanted["annotations"].names):
        with_spans.add("annotations")  # a missing one is computed from the record
    if names:
        with_spans.add("images")
    file = AnnotationFile(path, wanted, spans=with_spans)
    try:
        opened = Annotations(file, wanted)
        for section in ("categories", "images", "annotations"):
            if section in wanted:
                file.table(section, wanted[section]).check_unique()
        for name in names:
            opened.images.add_column(name, image_names(opened.images, name))
        if annotations is not None:
            if categories is not None:
                opened.annotations.check_known("category_id", opened.categories["id"], "categories")
            if images is not None:
                opened.annotations.check_known("image_id", opened.images["id"], "images")
            _fill_in(opened)
    except BaseException:
        file.close()
        raise
    return opened


def read_table(path: Path | str, section: str, *fields: str, optional: Collection[str] = ()) -> RecordTable:
    """The columns of one section, checked as `open_annotations` checks it.

    Raises:
        MissingInputError, AnnotationFileError: as `open_annotations`.
    """
    with open_annotations(path, **{section: fields}, optional=optional) as opened:
        table: RecordTable = getattr(opened, section)
        return table


def categories_of(table: RecordTable) -> tuple[lvis.Category, ...]:
    """The classes as typed records; fields that were not asked for are empty."""
    columns = {name: table[name].tolist() for name in ("id", "name", "synset", "frequency") if name in table.names}
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return tuple(lvis.Category(**{"name": "", **row}) for row in rows)


def image_names(images: RecordTable, way: str = "name") -> NDArray[Any]:
    """The images' names by one of `NAMES`, in file order, each usable and there once.

    Bare names of which two are the same have their folders before them, as `image_names.flat_name` writes them.

    Raises:
        AnnotationFileError: names the first image that has none, or that has another's.
    """
    name_of = NAMES[way]
    pairs = list(zip(images["file_name"].tolist(), images["coco_url"].tolist(), strict=True))
    order = slice(None) if name_of is bare_name else slice(None, None, -1)  # where folders count, coco_url's do
    names = [name_of(*pair[order]) for pair in pairs]
    if way == "name" and len(set(names)) < len(names):  # images of several folders: their folders tell them apart
        names = [flat_name(*pair) for pair in pairs]
    for index, name in enumerate(names):
        if not is_usable_name(name):
            written = images["file_name"][index] or images["coco_url"][index]
            raise images.error(
                index,
                f"has no usable file name ({name!r})" if written else "has neither file_name nor coco_url",
                hint='an image needs a file_name, such as "000000391895.jpg", or a coco_url that ends with one; '
                f"a name has at most {LONGEST_NAME} bytes",
            )
    if way != "frame_name" and len(set(names)) < len(names):
        raise _same_name(images, names)
    return np.array(names, object)


def _same_name(images: RecordTable, names: Sequence[str]) -> AnnotationFileError:
    owners: dict[str, int] = {}
    for index, name in enumerate(names):
        owner = owners.setdefault(name, index)
        if owner != index:
            break
    written = [images["file_name"][row] or images["coco_url"][row] for row in (owner, index)]
    both = f" ({written[0]} and {written[1]})" if written[0] != written[1] else ""
    return images.error(
        index,
        f"has the file name {name} of {images.where(owner)}{both}",
        hint="images are kept by their names without folders, so no two may have the same: rename one of them, in the "
        "file and on disk" if both else "take one of the two out: an image is listed once",
    )  # fmt: skip


@dataclass(frozen=True)
class Captions:
    """The captions of a file: where each is, and of which image."""

    path: Path
    image_id: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    def of(self, image_ids: NDArray[np.int64]) -> RecordIndex:
        """The captions of these images, by image."""
        return RecordIndex(self.path, image_ids, self.image_id, self.starts, self.stops)


def open_captions(path: Path | str, image_ids: NDArray[np.int64]) -> Captions:
    """Open a COCO captions file for images with these ids; captions of others do no harm.

    A file with an empty list says that there are no captions.

    Raises:
        MissingInputError: there is no such file.
        AnnotationFileError: it is malformed, its annotations are not captions, or all of them are of other images.
    """
    fields = Fields("annotations", ("image_id", "caption"))
    with AnnotationFile(path, {"annotations": fields}) as file:
        table = file.table("annotations", fields)
        with_text = np.array([bool(text) for text in table["caption"]], np.bool_)
        if len(table) and not with_text.any():
            raise AnnotationFileError(
                path,
                f'has no "caption" in any of its {len(table):,} annotations: it is not a captions file',
                hint='a captions file is {"annotations": [{"image_id": 391895, "caption": "A dog on a bench."}, ...]}',
            )
        image_id = table["image_id"][with_text]
        if len(image_id) and not np.isin(image_id, image_ids).any():
            raise AnnotationFileError(
                path,
                f"none of its {len(image_id):,} captions is of an image of the annotation file",
                detail=f"the first is of image {image_id[0]}",
                hint="it is the captions file of other images: COCO's captions_train2017.json belongs to LVIS v1 train",
            )
        return Captions(Path(path), image_id, table.starts[with_text], table.stops[with_text])


def _fields(section: str, names: Iterable[str], optional: Collection[str]) -> Fields:
    own = frozenset(name.removeprefix(f"{section}.") for name in optional if name.startswith(f"{section}."))
    return Fields(section, tuple(dict.fromkeys(names)), own)


def _fill_in(opened: Annotations) -> None:
    """Give the annotations that lack an area or a box those of their masks."""
    table = opened.annotations
    fields = {"area", "bbox"} & set(table.names)
    missing = np.zeros(len(table), np.bool_)
    for field in fields:
        values = table[field]
        opened._filled[field] = np.isnan(values if values.ndim == 1 else values[:, 0])
        missing |= opened._filled[field]
    if not missing.any():
        return
    from ovforge.annotation_io.segmentation import mask_extent

    sizes = _image_sizes(opened) if "image_id" in table.names else {}
    for row in np.flatnonzero(missing).tolist():
        raw = take_apart(table.raw(row))
        segmentation, bbox = (decode_record(raw[name]) if name in raw else None for name in ("segmentation", "bbox"))
        width, height = sizes.get(int(table["image_id"][row]), (0, 0)) if sizes else (0, 0)
        extent = mask_extent(segmentation, width, height) if segmentation else None
        if "bbox" in fields and np.isnan(table["bbox"][row, 0]):
            if extent is None:
                raise table.error(
                    row,
                    "has no bbox, and no mask to take it from: it needs x, y, width, height, such as [10, 20, 30, 40]",
                )
            table["bbox"][row] = extent.box
        if "area" in fields and np.isnan(table["area"][row]):
            table["area"][row] = extent.area if extent is not None else _box_area(bbox)


def _box_area(box: Any) -> float:
    try:
        _, _, width, height = map(float, box)
    except (TypeError, ValueError):
        return 0.0
    return max(width, 0.0) * max(height, 0.0)


def _image_sizes(opened: Annotations) -> dict[int, tuple[int, int]]:
    """The images' sizes; 0 where they are not known."""
    fields = Fields("images", ("id", "width", "height"), frozenset(("width", "height")))
    try:
        table = opened.file.new_table("images", fields)
    except AnnotationFileError:  # the step does not use them: what is wrong with them is no matter here
        return {}
    columns = (table[name].tolist() for name in ("id", "width", "height"))
    return {image: (width, height) for image, width, height in zip(*columns, strict=True)}
