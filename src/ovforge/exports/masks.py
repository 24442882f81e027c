"""Masks as the formats want them, from whatever encoding the pairs JSON has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ovforge.errors import InputError, Place
from ovforge.exports.videos import Frame, VideoObject


def compressed_rle(frame: Frame, found: VideoObject) -> dict[str, Any]:
    """{"size": [height, width], "counts": text}.

    Raises:
        InputError: the object has no mask, or one of another size.
    """
    shape, height, width = found.segmentation, frame.height, frame.width
    try:
        if isinstance(shape, list) and shape:
            polygons = [polygon for polygon in shape if len(polygon) >= 6]  # pycocotools takes four numbers for a box
            rle = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        elif isinstance(shape, dict) and list(shape["size"]) == [height, width]:
            rle = shape if isinstance(shape["counts"], str) else coco_mask.frPyObjects(shape, height, width)
        else:
            raise InputError(
                "has no mask" + (" of the image's size" if shape else ""),
                place=_place(frame, found),
                hint="this format is made of masks: `ovforge pairs annotate` writes them where the run kept those of "
                "second views; the formats tao, mot, cvat and coco do without",
            )
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise InputError("has a mask that cannot be read", place=_place(frame, found), detail=str(error)) from error
    counts = rle["counts"]
    return {"size": [height, width], "counts": counts if isinstance(counts, str) else counts.decode("ascii")}


def _place(frame: Frame, found: VideoObject) -> Place:
    return Place(frame.file_name, record=f"annotation {found.id}")


def uncompressed_rle(frame: Frame, found: VideoObject) -> dict[str, Any]:
    """{"size": [height, width], "counts": [...]}: the lengths of runs of 0 and 1 in turns, down the columns.

    Raises:
        InputError: the object has no mask, or one that cannot be read.
    """
    return {"size": [frame.height, frame.width], "counts": run_lengths(decoded(frame, found))}


def decoded(frame: Frame, found: VideoObject) -> NDArray[np.uint8]:
    """The mask, uint8 (height, width), 1 where the object is."""
    mask: NDArray[np.uint8] = coco_mask.decode(compressed_rle(frame, found))
    return mask


def run_lengths(mask: NDArray[np.uint8]) -> list[int]:
    """The lengths of runs of 0 and 1 in turns, down the columns; the first run is of 0 and may be empty."""
    flat = np.asarray(mask, np.uint8).ravel(order="F")
    edges = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [len(flat)]])
    lengths: list[int] = np.diff(edges).tolist()
    return [0, *lengths] if len(flat) and flat[0] else lengths
