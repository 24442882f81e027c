"""Makes a run of as many pairs as wanted, for benchmarks of what reads runs: a JSON and an HDF5 file.

The JSON is of real size. The HDF5 file has every image under its own name, but many names lead to the same bytes
(hard links), so that 200,000 images take a few megabytes: what is measured is finding and decoding, not the disk.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
from h5py import h5f

from ovforge.annotation_io.annotation_writer import write_annotation_file
from ovforge.image_io.codec import encode_jpeg
from ovforge.image_io.hdf5 import ImageWriter

WIDTH, HEIGHT = 640, 480
DISTINCT = 40
CLASSES = 866


def make_pairs(folder: Path, pairs: int, *, objects: int = 7, name: str = "many") -> tuple[Path, Path]:
    """Write `folder`/NAME.h5 and `folder`/annotations/NAME.json; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    h5, annotations = folder / f"{name}.h5", folder / "annotations" / f"{name}.json"
    rng = np.random.default_rng(1)
    with ImageWriter(h5) as writer:
        for number in range(DISTINCT):
            writer.add(f"bytes_{number}", encode_jpeg(_image(rng), 92))
    file = h5f.open(bytes(h5), h5f.ACC_RDWR)
    for pair in range(pairs):
        for view, image_row in ((f"{pair:012d}.jpg", 2 * pair), (f"{pair:012d}_v0.jpg", 2 * pair + 1)):
            file.links.create_hard(view.encode(), file, f"bytes_{image_row % DISTINCT}".encode())
    file.close()
    categories = [
        {"id": c, "name": f"class_{c}", "synset": f"class_{c}.n.01", "frequency": "rcf"[c % 7 % 3]}
        for c in range(1, CLASSES + 1)
    ]
    # A class's share falls as in LVIS: a few have most of the objects.
    shares = 1 / np.arange(1, CLASSES + 1) ** 1.1
    drawn = 1 + rng.choice(CLASSES, size=(pairs, objects), p=shares / shares.sum())
    write_annotation_file(
        annotations,
        {
            "images": _images(pairs, rng),
            "annotations": _objects(pairs, objects, drawn, rng),
            "videos": (b'{"id": %d, "width": %d, "height": %d}' % (v, WIDTH, HEIGHT) for v in range(2 * pairs)),
            "categories": msgspec.json.encode(categories),
        },
    )
    return h5, annotations


def _image(rng: np.random.Generator) -> np.ndarray:
    """An image that compresses about as a photograph does: some 90 KB."""
    coarse = rng.integers(0, 256, (24, 32, 3), np.uint8)
    image_row = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.asarray(np.clip(image_row + rng.normal(0, 9, image_row.shape), 0, 255), np.uint8)


def _images(pairs: int, rng: np.random.Generator) -> Iterator[bytes]:
    record = (
        '{"id": %d, "width": %d, "height": %d, "license": 1, "file_name": "%s", "neg_category_ids": [378, 49, 816], '
    )
    record += '"coco_url": "http://images.cocodataset.org/train2017/%012d.jpg", "video_id": %d, "frame_id": %d%s}'
    for pair in range(pairs):
        yield (record % (pair, WIDTH, HEIGHT, f"{pair:012d}.jpg", pair, pair, 0, "")).encode()
    for pair in range(pairs):
        image = pairs + 2 * pair
        yield (record % (image, WIDTH, HEIGHT, f"{pair:012d}.jpg", pair, pairs + pair, 0, "")).encode()
        kind = ("affine", "perspective")[pair % 2]
        turn, scale = rng.uniform(-0.5, 0.5), rng.uniform(0.6, 1.5)
        a, b = scale * np.cos(turn), scale * np.sin(turn)
        more = (
            f', "caption": "An image of something, number {pair}.", "seed": 1, "motion": {{"kind": "{kind}", '
            f'"matrix": [[{a}, {b}, 12.5], [{-b}, {a}, -3.25], [0.0, 0.0, 1.0]], "flip": false, '
            '"brightness": 0.0, "contrast": 1.0}'
        )
        yield (record % (image + 1, WIDTH, HEIGHT, f"{pair:012d}_v0.jpg", pair, pairs + pair, 1, more)).encode()


def _objects(pairs: int, objects: int, drawn: np.ndarray, rng: np.random.Generator) -> Iterator[bytes]:
    record = b'{"id": %d, "image_id": %d, "category_id": %d, "bbox": [%d, %d, %d, %d], "area": %d, '
    polygon = b", ".join(b"%d.5" % n for n in rng.integers(0, 480, 40))
    static = record + b'"segmentation": [[' + polygon + b']], "instance_id": %d, "track_id": %d, "video_id": %d}'
    moved = record + b'"fidelity": %.4f, "instance_id": %d, "track_id": %d, "video_id": %d}'
    boxes = rng.integers((0, 0, 70, 70), (400, 300, 240, 180), (pairs, objects, 4)).tolist()
    fidelity = rng.beta(8, 2, (pairs, objects)).tolist()
    classes = drawn.tolist()
    for pair in range(pairs):
        for k, (x, y, w, h) in enumerate(boxes[pair]):
            number = pair * objects + k
            yield static % (number, pair, classes[pair][k], x, y, w, h, w * h * 0.7, number, number, pair)
    first = pairs * objects
    for pair in range(pairs):
        image, track, video = pairs + 2 * pair, first + pair * objects, pairs + pair
        for k, (x, y, w, h) in enumerate(boxes[pair]):
            number = first + 2 * (pair * objects + k)
            yield static % (number, image, classes[pair][k], x, y, w, h, w * h * 0.7, track + k, track + k, video)
        for k, (x, y, w, h) in enumerate(boxes[pair][: objects - pair % 2]):
            number = first + 2 * (pair * objects + k) + 1
            size = (x // 2, y // 2, min(w * 5 // 4, WIDTH), h)
            yield moved % (
                number,
                image + 1,
                classes[pair][k],
                *size,
                w * h * 0.8,
                fidelity[pair][k],
                track + k,
                track + k,
                video,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=100_000)
    options = parser.parse_args()
    for path in make_pairs(options.folder, options.pairs):
        print(f"{path}: {path.stat().st_size:,} bytes")
