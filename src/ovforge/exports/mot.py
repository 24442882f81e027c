"""MOTChallenge: a benchmark of one folder per video, as TrackEval, motmetrics and the MOTR family read it.

    seqmaps/<run>-train.txt
    <run>-train/<video>/img1/000001.jpg
    <run>-train/<video>/gt/gt.txt
    <run>-train/<video>/gt/tracks.csv
    <run>-train/<video>/seqinfo.ini

A line of `gt.txt` is frame (from 1), track (from 1 in every video), left, top, width, height (pixels, from 0), 1 for
what counts, class, visibility. The format knows pedestrians only: the class is 1 for every object, and `tracks.csv`
says which category each track has. A region to be ignored counts 0 and is of class 8, a distractor, what TrackEval
takes predictions away for.
"""

from __future__ import annotations

import csv

from ovforge.exports.run import ExportRun
from ovforge.exports.videos import Video

OBJECT, DISTRACTOR = 1, 8
FRAME_RATE = 1
"""Frames per second; two views of a still have no time between them."""


def write(run: ExportRun) -> dict[str, int]:
    """Write images, truth and `seqinfo.ini` of every video, and the list of videos."""
    benchmark = f"{run.name}-train"
    names = {category["id"]: category["name"] for category in run.categories}
    lines = images = 0
    with open(run.folder_for("seqmaps") / f"{benchmark}.txt", "w", encoding="utf-8") as sequences:
        sequences.write("name\n")
        for video in run.videos():
            sequences.write(f"{video.name}\n")
            folder = run.folder_for(benchmark, video.name, "img1")
            for frame in video.frames:
                run.copy_as_jpeg(frame, folder / f"{frame.index + 1:06d}.jpg")
            lines += _write_truth(run, video, benchmark, names)
            images += len(video.frames)
            (folder.parent / "seqinfo.ini").write_text(
                "[Sequence]\n"
                f"name={video.name}\nimDir=img1\nframeRate={FRAME_RATE}\nseqLength={len(video.frames)}\n"
                f"imWidth={video.width}\nimHeight={video.height}\nimExt=.jpg\n",
                encoding="utf-8",
            )
    return {"images": images, "annotations": lines}


def _write_truth(run: ExportRun, video: Video, benchmark: str, names: dict[int, str]) -> int:
    folder = run.folder_for(benchmark, video.name, "gt")
    tracks = video.tracks()
    number = {track: place for place, track in enumerate(tracks, start=1)}
    count = 0
    with open(folder / "gt.txt", "w", encoding="utf-8") as truth:
        for frame in video.frames:
            for found in frame.objects:
                box = ",".join(f"{value:.10g}" for value in found.bbox)
                counts, kind = (0, DISTRACTOR) if found.iscrowd else (1, OBJECT)
                visible = 1.0 if found.visibility is None else found.visibility
                truth.write(f"{frame.index + 1},{number[found.track_id]},{box},{counts},{kind},{visible:.6g}\n")
                count += 1
    with open(folder / "tracks.csv", "w", encoding="utf-8", newline="") as listed:
        rows = csv.writer(listed, lineterminator="\n")
        rows.writerow(("track", "track_id", "category_id", "category"))
        for track, objects in tracks.items():
            category = objects[0][1].category_id
            rows.writerow((number[track], track, category, names.get(category, "")))
    return count
