"""YouTube-VIS: one annotation per track, with its box, area and mask in every frame or null.

train/instances.json
train/JPEGImages/<video>/00000.jpg
"""

from __future__ import annotations

from typing import Any

from ovforge.exports.json_sections import JsonSections
from ovforge.exports.masks import uncompressed_rle
from ovforge.exports.run import ExportRun, image_suffix
from ovforge.exports.videos import Video


def write(run: ExportRun) -> dict[str, int]:
    """Write the images and one JSON.

    Raises:
        InputError: an object has no mask.
    """
    head = {"info": {"description": run.name}, "licenses": []}
    images = 0
    with JsonSections(run.folder / "train" / "instances.json", ("videos", "annotations", "categories"), head) as out:
        for video in run.videos():
            folder = run.folder_for("train", "JPEGImages", video.name)
            files = [f"{frame.index:05d}{image_suffix(frame)}" for frame in video.frames]
            for frame, name in zip(video.frames, files, strict=True):
                run.copy_image(frame, folder / name)
            images += len(files)
            out.add(
                "videos",
                {
                    "id": video.id,
                    "width": video.width,
                    "height": video.height,
                    "length": len(files),
                    "file_names": [f"{video.name}/{name}" for name in files],
                    "license": 0,
                    "date_captured": "",
                    "flickr_url": "",
                    "coco_url": "",
                },
            )
            for record in _tracks(video):
                out.add("annotations", record)
        for category in run.categories:
            out.add("categories", {**category, "supercategory": category.get("supercategory", "object")})
        return {"images": images, "tracks": out.counts["annotations"]}


def _tracks(video: Video) -> list[dict[str, Any]]:
    records = []
    for track, objects in video.tracks().items():
        length = len(video.frames)
        boxes, areas, masks = ([None] * length for _ in range(3))  # type: tuple[list[Any], list[Any], list[Any]]
        for frame, found in objects:
            boxes[frame.index], areas[frame.index] = list(found.bbox), found.area
            masks[frame.index] = uncompressed_rle(frame, found)
        records.append(
            {
                "id": track,
                "video_id": video.id,
                "category_id": objects[0][1].category_id,
                "width": video.width,
                "height": video.height,
                "length": length,
                "iscrowd": objects[0][1].iscrowd,
                "bboxes": boxes,
                "areas": areas,
                "segmentations": masks,
            }
        )
    return records
