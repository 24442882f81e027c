"""The step `sample-data`: photographs and polygons in, a data set in the exact layout of both jobs out."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ovforge.errors import WorkError
from ovforge.files.output_folder import atomic_folder
from ovforge.options.base import by_keywords
from ovforge.options.sample_data import SampleDataOptions
from ovforge.records.reporting import Progress, StepSummary, no_progress
from ovforge.sample_data import labels, visual_genome
from ovforge.sample_data.geometry import Pixels, Tile
from ovforge.sample_data.imagenet import imagenet_images
from ovforge.sample_data.images import IMAGES, SourceImage
from ovforge.sample_data.photographs import PHOTOGRAPHS, load, photograph_folder
from ovforge.sample_data.sources import SOURCES_FILE, sources_text

JPEG_QUALITY = 95

_LINKS = {
    "data/lvis/train2017": "datasets/coco/train2017",
    "data/lvis/val2017": "datasets/coco/val2017",
    "data/lvis/annotations/lvis_v1_train.json": "datasets/lvis/lvis_v1_train.json",
    "data/lvis/annotations/lvis_v1_val.json": "datasets/lvis/lvis_v1_val.json",
    "data/lvis/annotations/captions_train2017.json": "datasets/coco/annotations/captions_train2017.json",
    "data/coco/train2017": "datasets/coco/train2017",
    "data/coco/val2017": "datasets/coco/val2017",
    "data/coco/annotations/instances_train2017.json": "datasets/coco/annotations/instances_train2017.json",
    "data/coco/annotations/instances_val2017.json": "datasets/coco/annotations/instances_val2017.json",
}
"""The tracking job's place of a file or folder -> the detection job's place of the same."""


@by_keywords(SampleDataOptions)
def sample_data(options: SampleDataOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Write the sample data set below `options.folder`, whole or not at all; the same bytes every time.

    Raises:
        MissingExtraError: scikit-image, which carries the photographs, is not installed.
        OutputExistsError: the folder is not empty and `overwrite` is false.
        InputError: the folder cannot be replaced, or the photographs are others than the polygons were drawn on.
        WorkError: the folder cannot be written.
    """
    photographs = photograph_folder()
    with atomic_folder(options.folder, overwrite=options.overwrite, mark=SOURCES_FILE) as root:
        pixels = {name: load(photograph, photographs) for name, photograph in PHOTOGRAPHS.items()}
        images = _images(pixels)
        for done, (path, image) in enumerate(images.items(), start=1):
            _write(root / path, _jpeg(image, path))
            progress("images", done, len(images))
        tables = _tables()
        for path, table in tables.items():
            _write(root / path, json.dumps(table).encode())
        for link, target in _LINKS.items():
            _link(root, link, target)
        _write(root / SOURCES_FILE, sources_text().encode())
    return _summary(options.folder, list(images), tables)


def _images(pixels: Mapping[str, Pixels]) -> dict[str, Pixels]:
    """Every image of the data set: path -> pixels."""
    images = {f"datasets/coco/{p.folder}/{p.file_name}": _composed(p, pixels) for p in IMAGES}
    single: list[tuple[str, Tile]] = [
        (f"datasets/imagenet/imagenet21k_P/{image.path}", image.tile) for image in imagenet_images()
    ]
    single += [(f"datasets/VisualGenome/{p.path}", p.tile) for p in visual_genome.genome_images()]
    images.update((path, tile.view(pixels[tile.photograph])) for path, tile in single)
    return images


def _composed(image: SourceImage, pixels: Mapping[str, Pixels]) -> Pixels:
    """The image: grey where all of its photographs are, else in colour."""
    views = [tile.view(pixels[tile.photograph]) for tile in image.tiles]
    if len(views) == 1:
        return views[0]
    width, height = image.size
    sheet = np.zeros((height, width, 3), np.uint8)
    for tile, view in zip(image.tiles, views, strict=True):
        (x, y), (w, h) = tile.at, tile.out_size
        sheet[y : y + h, x : x + w] = view if view.ndim == 3 else view[..., None]
    return sheet


def _tables() -> dict[str, Any]:
    """Every annotation file of the data set: path -> its content."""
    train, val = (_split(name) for name in ("train", "val"))
    return {
        "datasets/lvis/lvis_v1_train.json": labels.lvis(train),
        "datasets/lvis/lvis_v1_val.json": labels.lvis(val),
        "datasets/coco/annotations/instances_train2017.json": labels.coco_instances(train),
        "datasets/coco/annotations/instances_val2017.json": labels.coco_instances(val),
        "datasets/coco/annotations/captions_train2017.json": labels.coco_captions(train),
        "datasets/coco/annotations/captions_val2017.json": labels.coco_captions(val),
        "datasets/VisualGenome/objects.json": visual_genome.objects(),
        "datasets/VisualGenome/image_data.json": visual_genome.image_data(),
    }


def _split(name: str) -> list[SourceImage]:
    return [image for image in IMAGES if image.split == name]


def _jpeg(image: Pixels, path: str) -> bytes:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise WorkError(f"{path}: cannot be encoded as JPEG")
    return bytes(data)


def _write(path: Path, data: bytes) -> None:
    # The folder is published as a whole, so its files need no temporary names of their own.
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _link(root: Path, link: str, target: str) -> None:
    """Let `link` show the same as `target`: by a relative symbolic link, or by a copy where there are none."""
    path = root / link
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.symlink_to(os.path.relpath(root / target, path.parent))
    except OSError:
        if (root / target).is_dir():
            shutil.copytree(root / target, path)
        else:
            shutil.copyfile(root / target, path)


def _summary(folder: Path, images: Sequence[str], tables: Mapping[str, Any]) -> StepSummary:
    train, val = tables["datasets/lvis/lvis_v1_train.json"], tables["datasets/lvis/lvis_v1_val.json"]
    coco = tables["datasets/coco/annotations/instances_train2017.json"]
    used = [row["frequency"] for row in train["categories"] if row["instance_count"]]
    return StepSummary(
        step="sample-data",
        outputs={
            "detection data": str(folder / "datasets"),
            "tracking data": str(folder / "data"),
            "sources and licences": str(folder / SOURCES_FILE),
        },
        counts={
            "photographs": len(PHOTOGRAPHS),
            "LVIS and COCO images, train": len(train["images"]),
            "LVIS and COCO images, val": len(val["images"]),
            "LVIS annotations, train": len(train["annotations"]),
            "LVIS annotations, val": len(val["annotations"]),
            "LVIS classes in train: rare": used.count("r"),
            "LVIS classes in train: common": used.count("c"),
            "LVIS classes in train: frequent": used.count("f"),
            "COCO annotations, train": len(coco["annotations"]),
            "COCO crowd regions, train": sum(row["iscrowd"] for row in coco["annotations"]),
            "ImageNet images": sum("/imagenet21k_P/" in path for path in images),
            "Visual Genome images": sum("/VisualGenome/" in path for path in images),
            "Visual Genome objects": sum(len(row["objects"]) for row in tables["datasets/VisualGenome/objects.json"]),
        },
        notes=tuple(
            f"{photograph.file}: {photograph.shows}; {photograph.source} ({photograph.license.name})"
            for photograph in PHOTOGRAPHS.values()
        ),
        next_command=f"cd {shlex.quote(str(folder))} && ovforge lvis remove-rare",
    )
