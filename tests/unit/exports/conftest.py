"""A run of pairs and one of clips to export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ovforge.exports import export_pairs
from ovforge.image_io.hdf5 import ImageWriter
from ovforge.options.exports import ExportFormat, ExportOptions
from ovforge.options.tracks import AnnotateOptions
from ovforge.synthesis.tracks import annotate_pairs

Content = dict[str, Any]
Export = Callable[..., Path]


@pytest.fixture(scope="session")
def pairs(mini_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `mini.h5` and `annotations/mini.json`; read only."""
    folder = tmp_path_factory.mktemp("export_pairs")
    (folder / "mini.h5").symlink_to(mini_pairs / "mini.h5")
    annotate_pairs(AnnotateOptions("mini", mini_pairs, out=folder / "annotations/mini.json"))
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `clips.h5` and its JSON: two clips of five and three frames, their objects come and go.

    One object is out of sight in the third frame of the first clip and noted as such, one leaves for good after the
    second frame, one is hidden by half in the fourth; one frame has a region to be ignored.
    """
    folder = tmp_path_factory.mktemp("export_clips")
    (folder / "annotations").mkdir()
    images, annotations, tracks = [], [], []
    random = np.random.default_rng(0)
    with ImageWriter(folder / "clips.h5") as writer:
        for video, length in ((7, 5), (9, 3)):
            height, width = (120, 160) if video == 7 else (90, 200)
            for frame in range(length):
                name = f"{video:03d}.jpg" if not frame else f"{video:03d}_v0_f{frame:03d}.jpg"
                pixels = random.integers(0, 256, (height, width, 3), np.uint8)
                writer.add(name, cv2.imencode(".jpg", pixels)[1].tobytes())
                image = 100 * video + frame
                images.append(
                    {"id": image, "file_name": name, "video_id": video, "frame_id": frame, "frame_index": frame,
                     "width": width, "height": height, "caption": "noise", "neg_category_ids": [3],
                     "not_exhaustive_category_ids": []}
                )  # fmt: skip
                for number in (1, 2, 3):
                    record = {"image_id": image, "category_id": 1 + number % 2, "track_id": 10 * video + number,
                              "instance_id": 10 * video + number, "video_id": video, "iscrowd": 0}  # fmt: skip
                    if (video, number, frame) == (7, 1, 2):
                        record |= {"outside": True, "bbox": [0, 0, 0, 0], "area": 0, "visibility": 0.0}
                        annotations.append({"id": len(annotations) + 1, **record})
                        continue
                    if video == 7 and number == 2 and frame > 1:
                        continue
                    box = [10 + 12 * frame, 5 + 25 * number - 3 * frame, 30.5, 20.25]
                    mask = np.zeros((height, width), np.uint8, order="F")
                    mask[round(box[1]) : round(box[1] + 20), round(box[0]) : round(box[0] + 30)] = 1
                    rle = coco_mask.encode(mask)
                    half = (video, number, frame) == (7, 3, 3)
                    annotations.append(
                        {"id": len(annotations) + 1, **record, "bbox": box, "area": float(mask.sum()),
                         "visibility": 0.5 if half else 1.0,
                         "segmentation": {"size": [height, width], "counts": rle["counts"].decode()}}
                    )  # fmt: skip
            tracks += [{"id": 10 * video + n, "category_id": 1 + n % 2, "video_id": video} for n in (1, 2, 3)]
        annotations.append(
            {"id": len(annotations) + 1, "image_id": 901, "category_id": 1, "track_id": 99, "instance_id": 99,
             "video_id": 9, "iscrowd": 1, "bbox": [120, 10, 40, 30], "area": 1200.0,
             "segmentation": annotations[-1]["segmentation"]}
        )  # fmt: skip
    content = {
        "videos": [
            {"id": video, "name": name, "width": width, "height": height, "neg_category_ids": [3],
             "not_exhaustive_category_ids": []}
            for video, name, width, height in ((7, "a.b", 160, 120), (9, "c/d", 200, 90))
        ],
        "images": list(reversed(images)),
        "tracks": tracks,
        "annotations": annotations,
        "categories": [
            {"id": n, "name": name, "frequency": "f"} for n, name in ((1, "cat"), (2, "R&D <dog>"), (3, "x"))
        ],
    }  # fmt: skip
    (folder / "annotations/clips.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def export(pairs: Path, clips: Path, tmp_path: Path) -> Export:
    """`export(name, to, **options)` exports `mini` or `clips` and gives the folder."""

    def run(name: str, to: str, **options: Any) -> Path:
        folder = pairs if name == "mini" else clips
        out = options.pop("out", tmp_path / f"{name}-{to}")
        export_pairs(ExportOptions(name, ExportFormat(to), folder=folder, out=out, **options))
        return Path(out)

    return run


@pytest.fixture
def content(pairs: Path, clips: Path) -> Callable[[str], Content]:
    """The pairs JSON of `mini` or `clips`."""

    def load(name: str) -> Content:
        folder = pairs if name == "mini" else clips
        loaded: Content = json.loads((folder / "annotations" / f"{name}.json").read_bytes())
        return loaded

    return load


@pytest.fixture
def stored(pairs: Path, clips: Path) -> Callable[[str, str], bytes]:
    """The bytes of an image of `mini` or `clips`."""
    from ovforge.image_io.hdf5 import ImageReader

    def read(name: str, file_name: str) -> bytes:
        with ImageReader((pairs if name == "mini" else clips) / f"{name}.h5") as reader:
            return reader.read(file_name)

    return read
