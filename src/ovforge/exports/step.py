"""`pairs export`: a run's pairs or clips in another format, as a folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import msgspec

from ovforge.errors import InputError, Place
from ovforge.exports.run import ExportRun
from ovforge.exports.selection import selected
from ovforge.exports.videos import VideoFile
from ovforge.files.output_folder import atomic_folder
from ovforge.files.review_file import read_review
from ovforge.image_io.store import open_image_store
from ovforge.options.base import by_keywords
from ovforge.options.exports import ExportFormat, ExportOptions
from ovforge.parallel import Workers
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress
from ovforge.records.review import REJECTED
from ovforge.records.run_layout import merged_files, require_tracks, review_file, run_command

MARK = "ovforge-export.json"
"""Says what a folder is, so that `--overwrite` replaces nothing else."""
MODULES = {
    ExportFormat.TAO: "tao",
    ExportFormat.MOT: "mot",
    ExportFormat.YOUTUBE_VIS: "youtube_vis",
    ExportFormat.BURST: "burst",
    ExportFormat.CVAT: "cvat",
    ExportFormat.COCO: "coco",
    ExportFormat.FIFTYONE: "fiftyone",
    ExportFormat.WEBDATASET: "webdataset",
    ExportFormat.IMAGES: "images",
}


@by_keywords(ExportOptions)
def export_pairs(options: ExportOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Write a run's pairs or clips in another format.

    Raises:
        MissingInputError: the pairs JSON, the images or the list of what to export is not there.
        InputError: one of them cannot be used, or the format needs what the run does not have; says what.
        OutputExistsError: the folder is there and `overwrite` is false.
    """
    pairs_json = options.annotations or require_tracks(options.folder, options.name)
    images = options.images or merged_files(options.folder, options.name).h5
    drops = Drops()
    with contextlib.ExitStack() as stack:
        # Before a gigabyte is read: whether the place is free.
        folder = stack.enter_context(atomic_folder(options.output, overwrite=options.overwrite, mark=MARK))
        with Workers():
            file = stack.enter_context(VideoFile(pairs_json))
        store = stack.enter_context(open_image_store(images)) if options.copy_images else None
        numbers = selected(file, options.only)
        if options.review:
            rejected = read_review(review_file(options.folder, options.name)).rejected
            numbers, names = file.leave_out(rejected, numbers)
            drops.add_all("second view", REJECTED, names)
        if not len(numbers) and drops.count("second view", REJECTED):
            raise InputError(
                "has no pair left to export: all that were to be exported are rejected in the review",
                place=Place(str(review_file(options.folder, options.name))),
                hint="export them all the same with --no-review",
            )
        if not len(numbers):
            annotate = run_command("annotate", options.folder, options.name)
            raise InputError(
                "has no video of more than one frame to export",
                place=Place(str(pairs_json)),
                hint=f"`{annotate}` says why objects and pairs were skipped",
            )
        if file.stills:
            drops.add("video", "has one frame: a still, no pair", count=file.stills)
        run = ExportRun(options, folder, file, numbers, store, drops, progress)
        counts: dict[str, Any] = importlib.import_module(f"ovforge.exports.{MODULES[options.to]}").write(run)
        about = {"format": options.to.value, "name": options.name, "videos": len(numbers)}
        (folder / MARK).write_bytes(msgspec.json.encode(about) + b"\n")
    return StepSummary(
        "pairs export",
        outputs={options.to.value: str(options.output)},
        counts={"videos": len(numbers), **counts},
        drops=drops.freeze(),
    )
