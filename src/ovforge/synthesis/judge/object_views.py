"""Every object of a second view, beside itself in the first view: moved there, so that pixel stands on pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ovforge.annotation_io.record_edit import decode_record
from ovforge.errors import ImageError
from ovforge.image_io.codec import decode_rgb
from ovforge.records.pairs import VariantRecord
from ovforge.synthesis.compose import compose
from ovforge.synthesis.masks import UnusableMaskError, rasterise, stack
from ovforge.synthesis.motion import from_record


@dataclass(frozen=True)
class ObjectViews:
    """One second view with its objects.

    Attributes:
        file_name: the second view's.
        reference: the first view, moved as the second view is, uint8 RGB (height, width, 3).
        second: the second view, likewise.
        ids, categories: of the original annotations.
        boxes: float64 (n, 4): x, y, width, height in the second view.
        masks: uint8 (height, width), not 0 where the object is, in both.
    """

    file_name: str
    reference: NDArray[np.uint8]
    second: NDArray[np.uint8]
    ids: tuple[int, ...]
    categories: tuple[int, ...]
    boxes: NDArray[np.float64]
    masks: tuple[NDArray[np.uint8], ...]


def object_views(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    variant: VariantRecord,
    annotations: Sequence[bytes | memoryview],
) -> ObjectViews:
    """The objects that a second view's record names.

    Masks are the record's where it has them; else the annotation file's polygons, moved. Ignore regions are not
    objects.

    Raises:
        ImageError: the second view has another size than the first.
    """
    height, width = first.shape[:2]
    if second.shape != first.shape:
        raise ImageError(
            variant.file_name,
            "has another size than its first view",
            detail=f"{second.shape[1]}x{second.shape[0]}, not {width}x{height}",
        )
    motion = from_record(variant.motion)
    entries = [entry for entry in variant.annotations if not entry.get("iscrowd")]
    polygons = {} if all("mask" in entry for entry in entries) else _polygons(annotations)
    rles = [_rle(polygons.get(entry["id"]), width, height) for entry in entries]
    drawn = [row for row, rle in enumerate(rles) if rle is not None and "mask" not in entries[row]]
    composed = compose(first, stack([rle for row in drawn if (rle := rles[row]) is not None], width, height), motion)
    masks = []
    for row, entry in enumerate(entries):
        if "mask" in entry:
            masks.append(np.asarray(coco_mask.decode(entry["mask"]), np.uint8))
        elif row in drawn:
            masks.append(composed.masks.mask(drawn.index(row)))
        else:
            masks.append(np.zeros((height, width), np.uint8))
    return ObjectViews(
        file_name=variant.file_name,
        reference=composed.image,
        second=second,
        ids=tuple(int(entry["id"]) for entry in entries),
        categories=tuple(int(entry.get("category_id", -1)) for entry in entries),
        boxes=np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4),
        masks=tuple(masks),
    )


def decode_at_size(data: bytes, name: str, width: int, height: int) -> NDArray[np.uint8]:
    """An image at the size that its annotations are drawn on: as stored, or else turned upright.

    Raises:
        ImageError: it cannot be read, or has another size.
    """
    image = decode_rgb(data, name)
    if image.shape[:2] != (height, width) and image.shape[:2] == (width, height):
        image = decode_rgb(data, name, upright=True)
    if image.shape[:2] != (height, width):
        raise ImageError(
            name,
            "has another size than the annotation file says",
            detail=f"{image.shape[1]}x{image.shape[0]}, not {width}x{height}",
        )
    return image


def _polygons(annotations: Sequence[bytes | memoryview]) -> dict[int, Any]:
    records = (decode_record(record) for record in annotations)
    return {record["id"]: record.get("segmentation") for record in records if "id" in record}


def _rle(segmentation: Any, width: int, height: int) -> dict[str, Any] | None:
    try:
        return None if segmentation is None else rasterise(segmentation, width, height)
    except UnusableMaskError:
        return None
