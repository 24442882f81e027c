"""CVAT for video 1.1: all frames one after the other as one task, a track of boxes for every object.

    annotations.xml
    images/frame_000000.jpg
    frames.csv

Make a task of the folder `images` in CVAT, then upload `annotations.xml` to it. A track is there in its own video's
frames only; where it is out of sight, or its video ends, CVAT is told with `outside="1"`.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from ovforge.exports.run import ExportRun, image_suffix
from ovforge.exports.videos import Frame, VideoObject


def write(run: ExportRun) -> dict[str, int]:
    """Write the images, the XML file and a table that says which frame is which."""
    folder = run.folder_for("images")
    names = {int(category["id"]): str(category["name"]) for category in run.categories}
    used: set[int] = set()
    frames = tracks = 0
    size = (0, 0)
    body = run.folder / ".tracks.xml"
    with (
        open(body, "w+b") as out,
        open(run.folder / "frames.csv", "w", encoding="utf-8", newline="") as listed,
    ):
        rows = csv.writer(listed, lineterminator="\n")
        rows.writerow(("frame", "file", "video", "file_name"))
        for video in run.videos():
            size = size if frames else (video.width, video.height)
            for frame in video.frames:
                name = f"frame_{frames + frame.index:06d}{image_suffix(frame)}"
                rows.writerow((frames + frame.index, name, video.name, frame.file_name))
                run.copy_image(frame, folder / name)
            for track, objects in video.tracks().items():
                category = objects[0][1].category_id
                used.add(category)
                label = quoteattr(names.get(category, str(category)))
                out.write(f'  <track id="{tracks}" label={label} source="file">\n'.encode())
                out.writelines(_boxes(track, objects, frames, len(video.frames)))
                if objects[-1][0] is video.frames[-1] and video.number + 1 < len(run.numbers):
                    # Or the track would go on in the next video.
                    out.write(_box(frames + len(video.frames), objects[-1][1], track, outside=True))
                out.write(b"  </track>\n")
                tracks += 1
            frames += len(video.frames)
        last = len(run.numbers) and frames - 1
        with open(run.folder / "annotations.xml", "wb") as whole:
            whole.write(_head(run.name, [names.get(one, str(one)) for one in sorted(used)], last, size))
            out.seek(0)
            shutil.copyfileobj(out, whole, 1 << 20)
            whole.write(b"</annotations>\n")
    body.unlink()
    return {"images": frames, "tracks": tracks}


def _head(name: str, labels: Sequence[str], last: int, size: tuple[int, int]) -> bytes:
    listed = "".join(
        f"        <label><name>{escape(label)}</name><type>rectangle</type><attributes>"
        + _attribute("visibility", "number", "0;100;1", "100")
        + _attribute("ignore", "checkbox", "", "false")
        + _attribute("track", "text", "", "")
        + "</attributes></label>\n"
        for label in dict.fromkeys(labels)
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n'
        f"      <name>{escape(name)}</name>\n      <size>{last + 1}</size>\n      <mode>interpolation</mode>\n"
        f"      <overlap>0</overlap>\n      <start_frame>0</start_frame>\n      <stop_frame>{last}</stop_frame>\n"
        f"      <frame_filter></frame_filter>\n      <labels>\n{listed}      </labels>\n"
        f"      <original_size><width>{size[0]}</width><height>{size[1]}</height></original_size>\n"
        "    </task>\n  </meta>\n"
    ).encode()


def _attribute(name: str, kind: str, values: str, default: str) -> str:
    mutable = "True" if name != "track" else "False"
    return (
        f"<attribute><name>{name}</name><mutable>{mutable}</mutable><input_type>{kind}</input_type>"
        f"<default_value>{default}</default_value><values>{values.replace(';', chr(10))}</values></attribute>"
    )


def _boxes(track: int, objects: Sequence[tuple[Frame, VideoObject]], first: int, length: int) -> Iterator[bytes]:
    """A track in the video that begins at frame `first`: keyframes only, so that CVAT draws nothing between two."""
    by_frame = {frame.index: found for frame, found in objects}
    seen: VideoObject | None = None
    for index in range(objects[0][0].index, length):
        found = by_frame.get(index)
        if found is not None:
            yield _box(first + index, found, track, outside=False)
        elif seen is not None:
            yield _box(first + index, seen, track, outside=True)
        seen = found


def _box(frame: int, found: VideoObject, track: int, *, outside: bool) -> bytes:
    x, y, width, height = found.bbox
    visible = 100 if found.visibility is None else round(100 * found.visibility)
    return (
        f'    <box frame="{frame}" keyframe="1" outside="{int(outside)}" occluded="{int(found.is_occluded)}" '
        f'xtl="{x:.2f}" ytl="{y:.2f}" xbr="{x + width:.2f}" ybr="{y + height:.2f}" z_order="0">'
        f'<attribute name="visibility">{visible}</attribute>'
        f'<attribute name="ignore">{"true" if found.iscrowd else "false"}</attribute>'
        f'<attribute name="track">{track}</attribute></box>\n'
    ).encode()
