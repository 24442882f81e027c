"""TAO: annotations and frames as its toolkit, TrackEval and TETA read them.

annotations/train.json
frames/train/<run>/<video>/frame0000.jpg
"""

from __future__ import annotations

from collections.abc import Sequence

from ovforge.exports.json_sections import JsonSections
from ovforge.exports.run import IGNORE_REGION, ExportRun, image_suffix

SPLIT = "train"


def write(run: ExportRun) -> dict[str, int]:
    """Write the frames and one JSON."""
    head = {"info": {"description": run.name}, "licenses": []}
    sections = ("videos", "images", "tracks", "annotations", "categories")
    with JsonSections(run.folder / "annotations" / f"{SPLIT}.json", sections, head) as out:
        for video in run.videos():
            name = f"{SPLIT}/{run.name}/{video.name}"
            out.add(
                "videos",
                {
                    "id": video.id,
                    "name": name,
                    "width": video.width,
                    "height": video.height,
                    "neg_category_ids": video.neg_category_ids,
                    "not_exhaustive_category_ids": video.not_exhaustive_category_ids,
                    "metadata": {"dataset": run.name},
                },
            )
            folder = run.folder_for("frames", name)
            tracks: dict[int, int] = {}
            for frame in video.frames:
                file_name = f"frame{frame.index:04d}{image_suffix(frame)}"
                place = {"file_name": f"{name}/{file_name}", "video": name, "frame_index": frame.index}
                out.add("images", {**frame.record, **place, "license": frame.record.get("license", 0)})
                for found, record in zip(frame.objects, frame.object_records, strict=True):
                    if found.iscrowd:
                        run.drops.add("annotation", IGNORE_REGION, found.id)
                        continue
                    tracks.setdefault(found.track_id, found.category_id)
                    out.add("annotations", {**record, "iscrowd": 0, "bbox": additive(found.bbox)})
                run.copy_image(frame, folder / file_name)
            for track, category in tracks.items():
                out.add("tracks", {"id": track, "category_id": category, "video_id": video.id})
        for listed in run.categories:
            out.add("categories", listed)
        return {name: out.counts[name] for name in ("images", "tracks", "annotations")}


def additive(box: Sequence[float]) -> list[float]:
    """x, y, width, height so that (x + width) - x is the width, which it need not be in floating point.

    TrackEval's TrackMAP stops at a box that agrees with the truth better than perfectly. The change is far below a
    millionth of a pixel.
    """
    x, y, width, height = box
    return [x, y, (x + width) - x, (y + height) - y]
