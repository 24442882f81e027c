"""COCO: every frame a plain image with a name of its own. The layout is datumaro's and CVAT's.

annotations/instances_train.json
images/train/<file name>
"""

from __future__ import annotations

from typing import Any

from ovforge.exports.json_sections import JsonSections
from ovforge.exports.run import ExportRun

RESERVED = "instance_id"
"""A name that FiftyOne keeps for itself; `track_id` says the same."""


def write(run: ExportRun) -> dict[str, int]:
    """Write the images and one JSON; records keep their fields, `track_id` and `video_id` among them."""
    folder = run.folder_for("images", "train")
    path = run.folder / "annotations" / "instances_train.json"
    head = {"info": {"description": run.name}, "licenses": []}
    with JsonSections(path, ("images", "annotations", "categories"), head) as out:
        for video in run.videos():
            for frame in video.frames:
                out.add("images", frame.record)
                for record in frame.object_records:
                    out.add("annotations", plain(record))
                run.copy_image(frame, folder / frame.file_name)
        for category in run.categories:
            out.add("categories", {**category, "supercategory": category.get("supercategory", "")})
        return {"images": out.counts["images"], "annotations": out.counts["annotations"]}


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """An annotation with what every COCO reader asks for, and without what FiftyOne's reader stops at."""
    fields = {name: value for name, value in record.items() if name != RESERVED}
    return {**fields, "iscrowd": record.get("iscrowd", 0)}
