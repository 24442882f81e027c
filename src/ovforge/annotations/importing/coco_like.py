"""Releases that are COCO files but for details: LVIS minival, Objects365 v2, V3Det, TAO.

Records pass through with all their fields; a reader changes the few that other programs stumble over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ovforge.annotation_io.annotation_file import read_records
from ovforge.annotation_io.door import open_annotations
from ovforge.annotation_io.image_names import bare_name
from ovforge.annotation_io.schema import needed
from ovforge.annotation_io.segmentation import mask_extent
from ovforge.annotations.importing.imported import Imported, encode
from ovforge.errors import AnnotationFileError
from ovforge.options.importing import ImportKind
from ovforge.records.reporting import require_some

Edit = Callable[[dict[str, Any]], None]

_BOXES_AS_POLYGONS = "its masks are the boxes' rectangles: as coarse as boxes"


def read_coco_like(kind: ImportKind, path: Path) -> Imported:
    """Read a release that has COCO's sections.

    Raises:
        MissingInputError, AnnotationFileError: no such file, not JSON, a section is not there, or what the steps after
            this one would refuse: ids twice, annotations of unknown images or classes.
    """
    imported = Imported()
    with open_annotations(
        path, images=("file_name", "coco_url"), annotations=(), categories=("name",), spans=()
    ) as opened:
        require_some(len(opened.categories), "class", path)
        classes = Counter(opened.categories["name"].tolist())
        names = opened.file.sections
        others = {name: opened.file.value(name) for name in names if name not in ("images", "annotations")}
    edit_image = _IMAGE_EDITS.get(kind, _unchanged)
    for name in names:
        if name == "images":
            imported.sections[name] = _images(path, edit_image, imported)
        elif name == "annotations":
            imported.sections[name] = _annotations(path, imported)
        else:
            imported.sections[name] = others[name]
    _count_classes(classes, imported)
    if kind is ImportKind.TAO:
        imported.notes.append(_BOXES_AS_POLYGONS)
    return imported


def _images(path: Path, edit: Edit, imported: Imported) -> Iterator[bytes]:
    for record in read_records(path, "images", dict):
        edit(record)
        imported.counts["images"] += 1
        yield encode(record)


def _annotations(path: Path, imported: Imported) -> Iterator[bytes]:
    with_masks = False
    for record in read_records(path, "annotations", dict):
        _take_box_from_mask(record)
        box = _box_of(path, record)
        if box[2] <= 0 or box[3] <= 0:
            imported.drops.add("annotation", "its box has no area", record.get("id"))
            continue
        record.setdefault("iscrowd", 0)
        if record.get("area") is None:
            record["area"] = box[2] * box[3]
        with_masks = with_masks or bool(record.get("segmentation"))
        imported.counts["annotations"] += 1
        yield encode(record)
    if not with_masks:
        imported.notes.append("it has boxes and no masks: `pairs generate` needs --boxes-as-masks for it")


def _take_box_from_mask(record: dict[str, Any]) -> None:
    """Give a record without a box that of its mask, and the mask's area where it has none."""
    if record.get("bbox") is not None or not record.get("segmentation"):
        return
    if (extent := mask_extent(record["segmentation"])) is not None:
        record["bbox"] = list(extent.box)
        if record.get("area") is None:
            record["area"] = extent.area


def _box_of(path: Path, record: dict[str, Any]) -> list[float]:
    box: Any = record.get("bbox")
    if box is None:
        return [0.0, 0.0, 0.0, 0.0]
    if (
        not isinstance(box, list)
        or len(box) != 4
        or any(isinstance(side, bool) or not isinstance(side, int | float) for side in box)
    ):
        found = encode({"bbox": box})[8:-1].decode()
        found = found if len(found) <= 80 else f"{found[:77]}..."
        raise AnnotationFileError(
            path,
            f"has {found} as its bbox: it needs {needed('annotations', 'bbox')}",
            record=f"annotation {record.get('id')}",
        )
    return box


def _count_classes(names: Counter[str], imported: Imported) -> None:
    imported.counts["classes"] = names.total()
    if twice := sorted(str(name) for name, count in names.items() if count > 1):
        shown = ", ".join(twice[:5]) + (", ..." if len(twice) > 5 else "")
        stand = "1 class name stands" if len(twice) == 1 else f"{len(twice):,} class names stand"
        imported.notes.append(f"{stand} for several classes ({shown}): tell classes apart by id, not by name")


def _unchanged(record: dict[str, Any]) -> None:
    """TAO's and V3Det's names are the paths below the data set's folder already."""


def _bare_coco_name(record: dict[str, Any]) -> None:
    # What was inserted differs between copies of the file (with and without folder); the address is always LVIS's.
    record["file_name"] = bare_name(record.get("coco_url") or "", record.get("file_name") or "")


def _objects365_name(record: dict[str, Any]) -> None:
    # `images/v1/patch8/objects365_v1_00420917.jpg` lies at `patch8/objects365_v1_00420917.jpg` of a split's folder.
    if not record.get("file_name"):  # its coco_url is its name
        return
    parts = record["file_name"].split("/")
    record["file_name"] = "/".join(parts[-2:]) if parts[0] == "images" else "/".join(parts)


_IMAGE_EDITS: dict[ImportKind, Edit] = {
    ImportKind.LVIS_MINIVAL: _bare_coco_name,
    ImportKind.OBJECTS365: _objects365_name,
}
