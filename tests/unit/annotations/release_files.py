"""Small files in the formats in which other data sets are released, for the tests of `import`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

WIDTH, HEIGHT = 40, 30


def rectangle(x: int, y: int, width: int, height: int) -> np.ndarray:
    """A mask (HEIGHT, WIDTH), uint8, of one rectangle."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y : y + height, x : x + width] = 1
    return mask


def uncompressed(mask: np.ndarray) -> dict[str, Any]:
    """RLE with counts as a list, worked out run by run."""
    counts, value = [], 0
    for pixel in mask.T.reshape(-1):
        if not counts and pixel == 1:
            counts.append(0)
        if not counts or pixel != value:
            counts.append(0)
            value = int(pixel)
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def compressed(mask: np.ndarray) -> str:
    """The counts of a compressed RLE, as text."""
    return coco_mask.encode(np.asfortranarray(mask))["counts"].decode()


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def lvis_minival(folder: Path) -> Path:
    polygon = [[1, 1, 11, 1, 11, 11, 1, 11]]
    return write(
        folder / "lvis_v1_minival_inserted_image_name.json",
        {
            "info": {"year": 2020},
            "licenses": [],
            "images": [
                {
                    "id": 397133,
                    "width": WIDTH,
                    "height": HEIGHT,
                    "file_name": "COCO_val2014_000000397133.jpg",
                    "coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg",
                    "neg_category_ids": [2],
                    "not_exhaustive_category_ids": [],
                },
            ],
            "annotations": [
                {
                    "id": 7,
                    "image_id": 397133,
                    "category_id": 1,
                    "bbox": [1.0, 1.0, 10.0, 10.0],
                    "area": 100.0,
                    "segmentation": polygon,
                },
            ],
            "categories": [
                {"id": 1, "name": "cup", "synset": "cup.n.01", "frequency": "f"},
                {"id": 2, "name": "zebra", "synset": "zebra.n.01", "frequency": "f"},
            ],
        },
    )


def objects365(folder: Path) -> Path:
    return write(
        folder / "zhiyuan_objv2_val.json",
        {
            "images": [
                {
                    "id": 11,
                    "width": WIDTH,
                    "height": HEIGHT,
                    "license": 5,
                    "url": "",
                    "file_name": "images/v1/patch8/objects365_v1_00420917.jpg",
                },
                {
                    "id": 12,
                    "width": WIDTH,
                    "height": HEIGHT,
                    "file_name": "images/v2/patch16/objects365_v2_00908726.jpg",
                },
            ],
            "annotations": [
                {
                    "id": 1,
                    "iscrowd": 0,
                    "isfake": 0,
                    "isreflected": 1,
                    "area": 20.5,
                    "bbox": [1.5, 2, 4.1, 5],
                    "image_id": 11,
                    "category_id": 46,
                },
                {
                    "id": 2,
                    "iscrowd": 1,
                    "isfake": 0,
                    "isreflected": 0,
                    "area": 0,
                    "bbox": [1, 2, 0, 5],
                    "image_id": 12,
                    "category_id": 46,
                },
            ],
            "categories": [{"id": 46, "name": "Bakset"}],
        },
    )


def v3det(folder: Path) -> Path:
    return write(
        folder / "v3det_2023_v1_train.json",
        {
            "images": [{"id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "images/n07745046/21_371_b.jpg"}],
            "annotations": [
                {"id": 5, "image_id": 1, "category_id": 2, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0}
            ],
            "categories": [
                {"id": 1, "name": "mouse", "name_zh": "老鼠", "cat_info": "a rodent", "novel": False},
                {"id": 2, "name": "mouse", "name_zh": "鼠标", "cat_info": "a device", "novel": True},
            ],
        },
    )


def tao(folder: Path) -> Path:
    name = "train/YFCC100M/v_25685519b728afd746dfd1b2fe77c/frame{:04d}.jpg"
    return write(
        folder / "train.json",
        {
            "videos": [
                {
                    "id": 0,
                    "name": "train/YFCC100M/v_25685519b728afd746dfd1b2fe77c",
                    "width": WIDTH,
                    "height": HEIGHT,
                    "neg_category_ids": [4],
                    "not_exhaustive_category_ids": [],
                }
            ],
            "images": [
                {
                    "id": i,
                    "video_id": 0,
                    "frame_index": 30 * i,
                    "width": WIDTH,
                    "height": HEIGHT,
                    "video": "train/YFCC100M/v_25685519b728afd746dfd1b2fe77c",
                    "file_name": name.format(30 * i),
                }
                for i in range(2)
            ],
            "tracks": [{"id": 9, "category_id": 95, "video_id": 0}],
            "annotations": [
                {
                    "id": i,
                    "image_id": i,
                    "track_id": 9,
                    "video_id": 0,
                    "category_id": 95,
                    "iscrowd": 0,
                    "bbox": [2 + i, 3, 10, 8],
                    "area": 80,
                    "segmentation": [[2, 3, 12, 3, 12, 11, 2, 11]],
                }
                for i in range(2)
            ],
            "categories": [
                {"id": 95, "name": "baby", "synset": "baby.n.01", "frequency": "f"},
                {"id": 4, "name": "cat"},
            ],
        },
    )


def youtube_vis(folder: Path, name: str = "instances.json") -> tuple[Path, dict[tuple[int, int], np.ndarray]]:
    """The file, and its masks by (track, frame)."""
    masks = {(1, 0): rectangle(2, 3, 10, 8), (1, 2): rectangle(5, 3, 10, 8), (2, 1): rectangle(0, 0, 4, 4)}
    tracks = [
        {
            "id": 1,
            "video_id": 3,
            "category_id": 21,
            "iscrowd": 0,
            "height": HEIGHT,
            "width": WIDTH,
            "length": 3,
            "segmentations": [uncompressed(masks[1, 0]), None, uncompressed(masks[1, 2])],
            "bboxes": [[2, 3, 10, 8], None, [5, 3, 10, 8]],
            "areas": [80, None, 80],
        },
        {
            "id": 2,
            "video_id": 4,
            "category_id": 22,
            "iscrowd": 0,
            "height": HEIGHT,
            "width": WIDTH,
            "length": 2,
            "segmentations": [
                uncompressed(rectangle(0, 0, 0, 0)),
                {"size": [HEIGHT, WIDTH], "counts": compressed(masks[2, 1])},
            ],
            "bboxes": [None, [0, 0, 4, 4]],
            "areas": [None, 16],
        },
    ]
    videos = [
        {
            "id": 3,
            "width": WIDTH,
            "height": HEIGHT,
            "length": 3,
            "license": 1,
            "date_captured": "",
            "file_names": [f"0043f083b5/{i:05d}.jpg" for i in (0, 5, 10)],
        },
        {
            "id": 4,
            "width": WIDTH,
            "height": HEIGHT,
            "length": 2,
            "file_names": [f"0044fa5fba/{i:05d}.jpg" for i in (0, 5)],
        },
    ]
    content = {
        "info": {},
        "licenses": [],
        "videos": videos,
        "annotations": tracks,
        "categories": [{"id": 21, "name": "sloth", "supercategory": "object"}, {"id": 22, "name": "rabbit"}],
    }
    return write(folder / name, content), masks


def burst(folder: Path) -> tuple[Path, dict[tuple[str, int, str], np.ndarray]]:
    """The file, and its masks by (sequence, frame, track of the sequence)."""
    masks = {
        ("a", 0, "1"): rectangle(2, 3, 10, 8),
        ("a", 1, "1"): rectangle(4, 3, 10, 8),
        ("a", 1, "7"): rectangle(20, 3, 5, 5),
        ("b", 0, "1"): rectangle(0, 20, 9, 9),
    }

    def sequence(number: int, name: str, frames: int, tracks: dict[str, int]) -> dict[str, Any]:
        return {
            "id": number,
            "width": WIDTH,
            "height": HEIGHT,
            "fps": 30,
            "dataset": "HACS",
            "seq_name": name,
            "all_image_paths": [f"frame{i:04d}.jpg" for i in range(30 * frames)],
            "annotated_image_paths": [f"frame{30 * i:04d}.jpg" for i in range(frames)],
            "neg_category_ids": [3],
            "not_exhaustive_category_ids": [],
            "track_category_ids": tracks,
            "segmentations": [
                {
                    track: {"rle": compressed(mask), "is_gt": True}
                    for (which, frame, track), mask in masks.items()
                    if (which, frame) == (name, i)
                }
                for i in range(frames)
            ],
        }

    content = {
        "sequences": [sequence(0, "a", 2, {"1": 95, "7": 4}), sequence(1, "b", 1, {"1": 4})],
        "split": "train",
        "categories": [
            {"id": 4, "name": "cat", "synset": "cat.n.01", "def": "", "synonyms": []},
            {"id": 95, "name": "baby"},
        ],
    }
    return write(folder / "train.json", content), masks


def open_images(folder: Path) -> dict[str, Path]:
    """The files by the name of the option that takes them."""
    images, mask_images = folder / "train", folder / "masks"
    images.mkdir()
    (mask_images / "0").mkdir(parents=True)
    for name in ("000002b66c9c498e", "000002b97e5471a0"):
        cv2.imwrite(str(images / f"{name}.jpg"), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    # Masks are stored at another size than the image's.
    cv2.imwrite(str(mask_images / "0" / "000002b66c9c498e_m011k07_aa.png"), cv2.resize(rectangle(10, 6, 20, 12) * 255, (160, 120), interpolation=cv2.INTER_NEAREST))  # noqa: E501 # fmt: skip
    boxes = folder / "train-annotations-bbox.csv"
    with boxes.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "ImageID",
                "Source",
                "LabelName",
                "Confidence",
                "XMin",
                "XMax",
                "YMin",
                "YMax",
                "IsOccluded",
                "IsTruncated",
                "IsGroupOf",
                "IsDepiction",
                "IsInside",
            ]
        )
        writer.writerow(["000002b66c9c498e", "xclick", "/m/011k07", 1, 0.25, 0.75, 0.2, 0.6, 0, 1, 0, 0, 0])
        writer.writerow(["000002b66c9c498e", "xclick", "/m/011q46kg", 1, 0.0, 0.5, 0.0, 1.0, 0, 0, 1, 0, 0])
        writer.writerow(["000002b97e5471a0", "xclick", "/m/011k07", 1, 0.5, 0.5, 0.2, 0.6, 0, 0, 0, 0, 0])
        writer.writerow(["ffffffffffffffff", "xclick", "/m/011k07", 1, 0.1, 0.5, 0.2, 0.6, 0, 0, 0, 0, 0])
    classes = folder / "class-descriptions-boxable.csv"
    classes.write_text("/m/011k07,Tortoise\n/m/011q46kg,Container\n")
    masks = folder / "train-annotations-object-segmentation.csv"
    masks.write_text(
        "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks\n"
        "000002b66c9c498e_m011k07_aa.png,000002b66c9c498e,/m/011k07,aa,0.250000,0.750000,0.200000,0.600000,0.9,\n"
    )
    labels = folder / "train-annotations-human-imagelabels-boxable.csv"
    labels.write_text(
        "ImageID,Source,LabelName,Confidence\n"
        "000002b97e5471a0,verification,/m/011q46kg,0\n000002b66c9c498e,verification,/m/011k07,1\n"
    )
    return {
        "annotations": boxes,
        "images": images,
        "classes": classes,
        "masks": masks,
        "mask_images": mask_images,
        "image_labels": labels,
    }
