"""BURST: one sequence per video, its masks frame by frame.

annotations/train/train.json
frames/train/<run>/<video>/frame0000.jpg
"""

from __future__ import annotations

from typing import Any

from ovforge.exports.json_sections import JsonSections
from ovforge.exports.masks import compressed_rle
from ovforge.exports.run import IGNORE_REGION, ExportRun, image_suffix
from ovforge.exports.videos import Video

SPLIT = "train"
FRAME_RATE = 1


def write(run: ExportRun) -> dict[str, int]:
    """Write the frames and one JSON. Tracks are numbered from 1 in every sequence, as BURST does.

    Raises:
        InputError: an object has no mask.
    """
    images = masks = 0
    head = {"split": SPLIT}
    with JsonSections(run.folder / "annotations" / SPLIT / f"{SPLIT}.json", ("sequences", "categories"), head) as out:
        for video in run.videos():
            folder = run.folder_for("frames", SPLIT, run.name, video.name)
            files = [f"frame{frame.index:04d}{image_suffix(frame)}" for frame in video.frames]
            for frame, name in zip(video.frames, files, strict=True):
                run.copy_image(frame, folder / name)
            classes, segmentations = _masks(run, video)
            out.add(
                "sequences",
                {
                    "id": video.id,
                    "dataset": run.name,
                    "seq_name": video.name,
                    "width": video.width,
                    "height": video.height,
                    "fps": FRAME_RATE,
                    "all_image_paths": files,
                    "annotated_image_paths": files,
                    "neg_category_ids": video.neg_category_ids,
                    "not_exhaustive_category_ids": video.not_exhaustive_category_ids,
                    "track_category_ids": classes,
                    "segmentations": segmentations,
                },
            )
            images += len(files)
            masks += sum(map(len, segmentations))
        for category in run.categories:
            out.add("categories", category)
    return {"images": images, "masks": masks}


def _masks(run: ExportRun, video: Video) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """The category of each track, and for each frame the masks by track."""
    classes: dict[str, int] = {}
    segmentations: list[dict[str, Any]] = [{} for _ in video.frames]
    number = 0
    for objects in video.tracks().values():
        if objects[0][1].iscrowd:
            for _, found in objects:
                run.drops.add("annotation", IGNORE_REGION, found.id)
            continue
        number += 1
        classes[str(number)] = objects[0][1].category_id
        for frame, found in objects:
            segmentations[frame.index][str(number)] = {"rle": compressed_rle(frame, found)["counts"], "is_gt": True}
    return classes, segmentations
