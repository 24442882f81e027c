"""Write annotation files of the size and make of LVIS v1 train and COCO train2017, for the benchmarks.

    python benchmarks/make_lvis.py /tmp/bench            (1.0 GB and 0.5 GB)
    python benchmarks/make_lvis.py /tmp/bench --scale 0.1

Made up, but like the real ones in what matters for speed: numbers of images, annotations and classes, records'
length (polygons of a long-tailed number of points), key order, layout, classes of long-tailed frequency, the
`categories` at the end. LVIS's annotations come in random order, which is the harder case for merging.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ovforge.annotations.coco_classes import COCO_TO_LVIS_SYNSET

LVIS_IMAGES, LVIS_ANNOTATIONS = 100_170, 1_270_141
COCO_IMAGES, COCO_ANNOTATIONS = 118_287, 860_001
RARE, COMMON, FREQUENT = 337, 461, 405
POLYGONS = 40_000
LICENSES = [
    {"url": f"http://creativecommons.org/licenses/{n}/2.0/", "id": n, "name": f"License {n}"} for n in range(1, 9)
]


def make(folder: Path, scale: float = 1.0, seed: int = 0) -> tuple[Path, Path]:
    """Write `lvis_v1_train.json` and `instances_train2017.json` into `folder`; the same seed gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    images = np.sort(random.choice(581_000, COCO_IMAGES, replace=False)) + 1
    coco_images = images[: int(COCO_IMAGES * scale)]
    lvis_images = random.permutation(coco_images)[: int(LVIS_IMAGES * scale)]
    categories, weights = _lvis_categories(random)

    count = int(LVIS_ANNOTATIONS * scale)
    image_row = lvis_images[(random.beta(0.7, 1.6, count) * len(lvis_images)).astype(int)]
    category = random.choice(len(categories), count, p=weights)
    boxes = _boxes(random, count)
    lvis = folder / "lvis_v1_train.json"
    order = random.permutation(count)
    _write(
        lvis,
        {
            "info": {"description": "LVIS v1, made up for benchmarks", "version": "v1.0"},
            "annotations": _lvis_annotations(random, image_row[order], category[order] + 1, boxes[order]),
            "images": _images(random, lvis_images, lists=True),
            "licenses": LICENSES,
            "categories": categories,
        },
    )

    # Half of COCO's objects are LVIS's too, a little off.
    names = list(COCO_TO_LVIS_SYNSET)
    of_synset = {record["synset"]: index for index, record in enumerate(categories)}
    lvis_index = np.array([of_synset[COCO_TO_LVIS_SYNSET[name]] for name in names])
    coco_index = np.full(len(categories), -1)
    coco_index[lvis_index] = np.arange(len(names))
    count = int(COCO_ANNOTATIONS * scale)
    shared = random.choice(np.flatnonzero(coco_index[category] >= 0), count // 2)
    their_image = np.concatenate([image_row[shared], random.choice(coco_images, count - len(shared))])
    their_category = np.concatenate([coco_index[category[shared]], random.integers(0, len(names), count - len(shared))])
    near = boxes[shared] * random.uniform(0.9, 1.1, (len(shared), 4))
    their_boxes = np.concatenate([near, _boxes(random, count - len(shared))])
    coco = folder / "instances_train2017.json"
    order = random.permutation(count)
    _write(
        coco,
        {
            "info": {"description": "COCO 2017, made up for benchmarks", "version": "1.0"},
            "licenses": LICENSES,
            "images": _images(random, coco_images, lists=False),
            "annotations": _coco_annotations(random, their_image[order], their_category[order] + 1, their_boxes[order]),
            "categories": [
                {"supercategory": "thing", "id": index, "name": name} for index, name in enumerate(names, 1)
            ],
        },
    )
    return lvis, coco


def _lvis_categories(random: np.random.Generator) -> tuple[list[dict[str, object]], np.ndarray]:
    images = np.concatenate([
        random.integers(1, 11, RARE), random.integers(11, 101, COMMON), 100 + random.pareto(0.6, FREQUENT) * 60,
    ])  # fmt: skip
    frequencies = "r" * RARE + "c" * COMMON + "f" * FREQUENT
    shared = list(COCO_TO_LVIS_SYNSET.values())
    order = random.permutation(len(frequencies))
    frequent = iter(shared)
    categories = []
    for number, index in enumerate(order.tolist(), 1):
        synset = next(frequent, None) if frequencies[index] == "f" else None
        synset = synset or f"thing_{number}.n.01"
        name = synset.split(".")[0]
        categories.append({
            "image_count": int(images[index]), "synonyms": [name], "def": "a thing made up for this benchmark",
            "id": number, "synset": synset, "name": name, "frequency": frequencies[index],
            "instance_count": int(images[index]) * 2,
        })  # fmt: skip
    weights = np.minimum(images[order], 60_000)
    return categories, weights / weights.sum()


def _boxes(random: np.random.Generator, count: int) -> np.ndarray:
    sides = np.exp(random.normal(3.8, 0.9, (count, 2))).clip(2, 400)
    return np.concatenate([random.uniform(0, 1, (count, 2)) * (640 - sides), sides], axis=1).round(2)


def _polygons(random: np.random.Generator, decimals: int, mean: float) -> list[str]:
    """Outlines as text, with a long-tailed number of points; one in six has a second part."""
    polygons = []
    for points in np.exp(random.normal(np.log(mean) - 0.32, 0.8, POLYGONS)).astype(int).clip(4, 600).tolist():
        turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
        x, y, r = random.uniform(50, 590), random.uniform(50, 430), random.uniform(3, 50)
        radius = r * random.uniform(0.8, 1, points)
        path = np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1).round(decimals).ravel().tolist()
        cut = 2 * (points // 2) if points > 20 and random.random() < 0.17 else len(path)
        polygons.append(json.dumps([path[:cut], path[cut:]] if cut < len(path) else [path]))
    return polygons


def _lvis_annotations(
    random: np.random.Generator, image_row: np.ndarray, category: np.ndarray, boxes: np.ndarray
) -> Iterator[str]:
    polygons = _polygons(random, 2, 40)
    labelled = random.integers(0, len(polygons), len(image_row)).tolist()
    rows = zip(image_row.tolist(), category.tolist(), boxes.tolist(), labelled, strict=True)
    for number, (image, kind, (x, y, w, h), which) in enumerate(rows, 1):
        yield (
            f'{{"area": {w * h * 0.7:.2f}, "id": {number}, "segmentation": {polygons[which]}, '
            f'"image_id": {image}, "bbox": [{x}, {y}, {w}, {h}], "category_id": {kind}}}'
        )


def _coco_annotations(
    random: np.random.Generator, image_row: np.ndarray, category: np.ndarray, boxes: np.ndarray
) -> Iterator[str]:
    polygons = _polygons(random, 1, 24)
    labelled = random.integers(0, len(polygons), len(image_row)).tolist()
    crowd = (random.random(len(image_row)) < 0.01).tolist()
    rle = json.dumps({"counts": random.integers(1, 500, 150).tolist(), "size": [480, 640]})
    rows = zip(image_row.tolist(), category.tolist(), boxes.round(2).tolist(), labelled, crowd, strict=True)
    for number, (image, kind, (x, y, w, h), which, is_crowd) in enumerate(rows, 1):
        yield (
            f'{{"segmentation": {rle if is_crowd else polygons[which]}, "area": {w * h * 0.7:.4f}, '
            f'"iscrowd": {is_crowd:d}, "image_id": {image}, "bbox": [{x}, {y}, {w}, {h}], '
            f'"category_id": {kind}, "id": {number + 30_000}}}'
        )


def _images(random: np.random.Generator, images: np.ndarray, *, lists: bool) -> Iterator[str]:
    for number in images.tolist():
        name = f"{number:012}.jpg"
        record: dict[str, object] = {"license": 1 + number % 8, "height": 480, "width": 640, "id": number}
        record |= {
            "coco_url": f"http://images.cocodataset.org/train2017/{name}",
            "date_captured": "2013-11-17 07:01:52",
        }
        record |= {"flickr_url": f"http://farm3.staticflickr.com/2830/{number * 7919}_3caa03d0d0_z.jpg"}
        if lists:
            record["neg_category_ids"] = random.integers(1, 1204, 8).tolist()
            record["not_exhaustive_category_ids"] = random.integers(1, 1204, number % 3).tolist()
        else:
            record["file_name"] = name
        yield json.dumps(record)


def _write(path: Path, sections: dict[str, object]) -> None:
    with open(path, "w", encoding="ascii", buffering=1 << 20) as out:
        out.write("{")
        for index, (key, value) in enumerate(sections.items()):
            out.write((", " if index else "") + json.dumps(key) + ": ")
            if isinstance(value, dict | list):
                out.write(json.dumps(value))
                continue
            assert isinstance(value, Iterable)
            out.write("[")
            for number, record in enumerate(value):
                out.write((", " if number else "") + record)
            out.write("]")
        out.write("}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write annotation files of the size of LVIS and COCO.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is the real size")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for path in make(options.folder, options.scale, options.seed):
        print(f"{path}: {path.stat().st_size / 1e6:,.0f} MB")
