"""Releases that are COCO files but for details: LVIS minival, Objects365 v2, V3Det, TAO.

Records pass through with all their fields; a reader changes the few that other programs stumble over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ovforge.annotation_io.annotation_file import AnnotationFile, read_records
from ovforge.annotations.importing.imported import Imported, encode
from ovforge.errors import AnnotationFileError
from ovforge.options.importing import ImportKind

Edit = Callable[[dict[str, Any]], None]

_NEEDED = ("images", "annotations", "categories")
_BOXES_AS_POLYGONS = "its masks are the boxes' rectangles: as coarse as boxes"


def read_coco_like(kind: ImportKind, path: Path) -> Imported:
    """Read a release that has COCO's sections.

    Raises:
        MissingInputError, AnnotationFileError: no such file, not JSON, or a section is not there.
    """
    imported = Imported()
    with AnnotationFile(path) as file:
        names = file.sections
        others = {name: file.value(name) for name in names if name not in ("images", "annotations")}
    for name in _NEEDED:
        if name not in names:
            raise AnnotationFileError(
                path, f'has no "{name}" (it has {", ".join(names) or "no keys"})', hint=f"it is no file of {kind.value}"
            )
    edit_image = _IMAGE_EDITS.get(kind, _unchanged)
    for name in names:
        if name == "images":
            imported.sections[name] = _images(path, edit_image, imported)
        elif name == "annotations":
            imported.sections[name] = _annotations(path, imported)
        else:
            imported.sections[name] = others[name]
    _count_classes(path, imported)
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
        box: Any = record.get("bbox")
        if not _is_box(box):
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


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and box[2] > 0 and box[3] > 0


def _count_classes(path: Path, imported: Imported) -> None:
    names = Counter(record.get("name") for record in read_records(path, "categories", dict))
    imported.counts["classes"] = names.total()
    if twice := sorted(str(name) for name, count in names.items() if count > 1):
        shown = ", ".join(twice[:5]) + (", ..." if len(twice) > 5 else "")
        imported.notes.append(
            f"{len(twice):,} class names stand for several classes ({shown}): tell classes apart by id, not by name"
        )


def _unchanged(record: dict[str, Any]) -> None:
    """TAO's and V3Det's names are the paths below the data set's folder already."""


def _bare_coco_name(record: dict[str, Any]) -> None:
    # What was inserted differs between copies of the file (with and without folder); the address is always LVIS's.
    name = record.get("coco_url") or record.get("file_name") or ""
    record["file_name"] = name.rpartition("/")[2]


def _objects365_name(record: dict[str, Any]) -> None:
    # `images/v1/patch8/objects365_v1_00420917.jpg` lies at `patch8/objects365_v1_00420917.jpg` of a split's folder.
    parts = str(record.get("file_name", "")).split("/")
    record["file_name"] = "/".join(parts[-2:]) if parts[0] == "images" else "/".join(parts)


_IMAGE_EDITS: dict[ImportKind, Edit] = {
    ImportKind.LVIS_MINIVAL: _bare_coco_name,
    ImportKind.OBJECTS365: _objects365_name,
}
