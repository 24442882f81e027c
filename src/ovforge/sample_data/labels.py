"""LVIS v1, COCO instances and COCO captions of the images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as masks

from ovforge.sample_data.coco_classes import COCO_CLASSES
from ovforge.sample_data.geometry import Polygon, bounding_box, coarser, rounded
from ovforge.sample_data.images import SourceImage
from ovforge.sample_data.photographs import LICENSES, PHOTOGRAPHS
from ovforge.sample_data.polygons import LabelledObject, objects_in
from ovforge.taxonomy import class_by_synset, lvis_classes

Record = dict[str, Any]

# Readers of LVIS v1 cut the file name out of `coco_url` behind exactly this address; there is nothing of ours to be
# fetched from it, and the ids are none of COCO's.
URL = "http://images.cocodataset.org"

_COCO_OF = {
    "person.n.01": 1,
    "cat.n.01": 17,
    "cup.n.01": 47,
    "spoon.n.01": 50,
    "table.n.02": 67,
    "wall_clock.n.01": 85,
}
"""LVIS synset of a polygon -> COCO class of the same object. COCO has one class for tables and one for clocks."""

_ABSENT = (
    ("dog.n.01", "banjo.n.01", "pizza.n.01"),
    ("zebra.n.01", "umbrella.n.01", "hippopotamus.n.01"),
    ("bicycle.n.01", "violin.n.01", "horse.n.01", "banana.n.02"),
    ("giraffe.n.01", "sofa.n.01", "walrus.n.01"),
)
"""Classes that are on none of the photographs; each image names one of these groups as looked for and not there."""

_COCO_TOLERANCE = 2.0
"""COCO's polygons are coarser than LVIS's: points are left away as long as none is further off, in pixels."""


def lvis(sample_images: Sequence[SourceImage]) -> Record:
    """The LVIS v1 file of `images`, all 1,203 categories in it, counted for these images."""
    annotations: list[Record] = []
    for image in sample_images:
        seen: dict[str, int] = {}
        for labelled in objects_in(image.tiles, image.size):
            seen[labelled.synset] = seen.get(labelled.synset, 0) + 1
            if labelled.synset in image.unlabelled and seen[labelled.synset] > image.outlined:
                continue
            polygons = [rounded(polygon) for polygon in labelled.polygons]
            annotations.append(
                {
                    "area": _area(polygons, image.size),
                    "id": len(annotations) + 1,
                    "segmentation": polygons,
                    "image_id": image.id,
                    "bbox": bounding_box(polygons),
                    "category_id": class_by_synset()[labelled.synset].id,
                }
            )
    return {
        "info": _info("LVIS v1 annotations of ovforge's sample data", "v1.0"),
        "annotations": annotations,
        "images": [_lvis_image(image) for image in sample_images],
        "licenses": _licenses(),
        "categories": _lvis_categories(annotations),
    }


def coco_instances(sample_images: Sequence[SourceImage]) -> Record:
    """The COCO instances file of `images`, with COCO's 80 classes."""
    annotations: list[Record] = []

    def add(image: SourceImage, category: int, shape: Record) -> None:
        annotations.append(
            {
                "segmentation": shape["segmentation"],
                "area": shape["area"],
                "iscrowd": int(isinstance(shape["segmentation"], dict)),
                "image_id": image.id,
                "bbox": shape["bbox"],
                "category_id": category,
                "id": len(annotations) + 1,
            }
        )

    for image in sample_images:
        crowds: dict[int, list[LabelledObject]] = {}
        seen: dict[int, int] = {}
        for labelled in objects_in(image.tiles, image.size):
            category = _COCO_OF.get(labelled.synset)
            if category is None:
                continue
            seen[category] = seen.get(category, 0) + 1
            if seen[category] > image.crowd_from:
                crowds.setdefault(category, []).append(labelled)
                continue
            add(image, category, _polygon_shape(labelled, image.size))
        for category, crowd in crowds.items():
            add(image, category, _crowd_shape(crowd, image.size))
    return {
        "info": _info("COCO instances of ovforge's sample data", "1.0"),
        "licenses": _licenses(),
        "images": [_coco_image(image) for image in sample_images],
        "annotations": annotations,
        "categories": [
            {"supercategory": supercategory, "id": id_, "name": name} for id_, name, supercategory in COCO_CLASSES
        ],
    }


def coco_captions(sample_images: Sequence[SourceImage]) -> Record:
    """The COCO captions file of `images`."""
    sentences = [(image, caption) for image in sample_images for caption in image.captions]
    return {
        "info": _info("COCO captions of ovforge's sample data", "1.0"),
        "images": [_coco_image(image) for image in sample_images],
        "licenses": _licenses(),
        "annotations": [
            {"image_id": image.id, "id": number, "caption": caption}
            for number, (image, caption) in enumerate(sentences, start=1)
        ],
    }


def _polygon_shape(labelled: LabelledObject, size: tuple[int, int]) -> Record:
    coarse: list[Polygon] = [coarser(polygon, _COCO_TOLERANCE) for polygon in labelled.polygons]
    polygons = [rounded(polygon) for polygon in coarse if len(polygon) >= 3]
    return {"segmentation": polygons, "area": _area(polygons, size), "bbox": bounding_box(polygons)}


def _crowd_shape(labelled_objects: Iterable[LabelledObject], size: tuple[int, int]) -> Record:
    """One region over all polygons, as COCO writes crowds: RLE down the columns, first of zeros."""
    width, height = size
    flat = [rounded(polygon) for labelled in labelled_objects for polygon in labelled.polygons]
    region = masks.merge(masks.frPyObjects(flat, height, width))
    return {
        "segmentation": {"counts": _rle(masks.decode(region)), "size": [height, width]},
        "area": int(masks.area(region)),
        "bbox": [float(value) for value in masks.toBbox(region)],
    }


def _rle(mask: NDArray[np.uint8]) -> list[int]:
    pixels = np.concatenate([[0], mask.ravel(order="F"), [2]])
    starts = np.flatnonzero(np.diff(pixels.astype(np.int16)))
    runs = np.diff(np.concatenate([[0], starts]))
    return [int(run) for run in runs]


def _area(polygons: list[list[float]], size: tuple[int, int]) -> float:
    width, height = size
    return float(masks.area(masks.merge(masks.frPyObjects(polygons, height, width))))


def _lvis_categories(annotations: list[Record]) -> list[Record]:
    instances: dict[int, int] = {}
    images: dict[int, set[int]] = {}
    for annotation in annotations:
        category = annotation["category_id"]
        instances[category] = instances.get(category, 0) + 1
        images.setdefault(category, set()).add(annotation["image_id"])
    return [
        {
            "image_count": len(images.get(row.id, ())),
            "synonyms": [row.name],
            "def": "",
            "id": row.id,
            "synset": row.synset,
            "name": row.name,
            "frequency": row.frequency,
            "instance_count": instances.get(row.id, 0),
        }
        for row in lvis_classes()
    ]


def _lvis_image(image: SourceImage) -> Record:
    absent = list(_ABSENT[image.id % len(_ABSENT)])
    if any(tile.photograph == "coffee" for tile in image.tiles):
        # A cup on a bar's table top: a table, and no table for meals. COCO, which has one class for both, disagrees.
        absent.append("dining_table.n.01")
    plain = _coco_image(image)
    return {
        "date_captured": plain["date_captured"],
        "neg_category_ids": [class_by_synset()[synset].id for synset in absent],
        "license": plain["license"],
        "height": plain["height"],
        "flickr_url": plain["flickr_url"],
        "coco_url": plain["coco_url"],
        "width": plain["width"],
        "not_exhaustive_category_ids": [class_by_synset()[synset].id for synset in image.unlabelled],
        "id": plain["id"],
    }


def _coco_image(image: SourceImage) -> Record:
    photographs = [PHOTOGRAPHS[tile.photograph] for tile in image.tiles]
    width, height = image.size
    return {
        "license": photographs[0].license.id,
        "file_name": image.file_name,
        "coco_url": f"{URL}/{image.folder}/{image.file_name}",
        "height": height,
        "width": width,
        "date_captured": "",
        "flickr_url": photographs[0].url,
        "id": image.id,
    }


def _info(description: str, version: str) -> Record:
    return {
        "description": f"{description}; sources and licences in SOURCES.md",
        "url": "",
        "version": version,
        "year": 2026,
        "contributor": "ovforge",
        "date_created": "2026-01-01 00:00:00",
    }


def _licenses() -> list[Record]:
    return [{"url": row.url, "id": row.id, "name": row.name} for row in LICENSES]
