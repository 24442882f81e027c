"""The images alone, under their names."""

from __future__ import annotations

from ovforge.exports.run import ExportRun


def write(run: ExportRun) -> dict[str, int]:
    """`images/<file name>` for every frame."""
    folder = run.folder_for("images")
    count = 0
    for video in run.videos():
        for frame in video.frames:
            run.copy_image(frame, folder / frame.file_name)
            count += 1
    return {"images": count}
