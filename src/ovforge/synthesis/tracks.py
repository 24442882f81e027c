"""Write a run's annotation file: COCO video JSON in which an object and its second views carry one `track_id`.

Every image is a video: itself and its second views, with the objects that are followed. In a file of their own, or
before the pairs where OVTrack reads it, all images are videos of one frame with all their annotations but crowds
(small objects are only there).

Everything is computed in columns; records are copied with their new fields by the worker processes. So a file of
LVIS size takes seconds, and memory is that of the columns.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from ovforge.annotation_io.annotation_file import AnnotationFile
from ovforge.annotation_io.annotation_writer import Records, write_annotation_file
from ovforge.errors import AnnotationFileError, MissingInputError
from ovforge.files.atomic import check_output
from ovforge.files.byte_file import FileRange
from ovforge.files.review_file import read_review
from ovforge.options.base import by_keywords
from ovforge.options.rejection import RejectAs
from ovforge.options.tracks import AnnotateOptions, PairObjects
from ovforge.parallel import Workers
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress, require_some
from ovforge.records.run_layout import (
    PartitionFiles,
    check_run_name,
    merged_files,
    review_file,
    run_command,
    tracks_file,
)
from ovforge.runs.plan import Plan, plan_if_any
from ovforge.synthesis.annotated_columns import image_columns, listed_classes, object_columns
from ovforge.synthesis.followed_objects import MIN_MOVED_AREA, PAIR_MIN_AREA, Rejected, Rules, follow
from ovforge.synthesis.image_table import open_for_pairs
from ovforge.synthesis.judge import scores_path
from ovforge.synthesis.judge.judged_objects import JudgedObjects, judged_objects
from ovforge.synthesis.judge.rejection import broken_rules
from ovforge.synthesis.pair_file import read_about
from ovforge.synthesis.run_inputs import check_annotations, check_labels, planned_annotations
from ovforge.synthesis.second_views import SecondViews, open_second_views, without_rejected
from ovforge.synthesis.track_records import PairRecords, class_lists, image_tails

STILLS = "stills/"
"""Begins the names of the videos of one frame where they stand in one file with the pairs."""
NO_MASKS = "objects have no segmentation: the run did not keep the masks of second views (`pairs generate --masks`)"

BOX_MASKS = "objects without a segmentation have their rounded box as mask, in both views: the run moved these boxes"

Sections = dict[str, bytes | FileRange | Iterable[Records]]


@by_keywords(AnnotateOptions)
def annotate_pairs(options: AnnotateOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Write the annotation file of a merged run.

    Raises:
        MissingInputError: the merged files or the annotation file are not there.
        InputError: they do not belong together; says why.
        OutputExistsError: the file is there and `overwrite` is false.
    """
    out = options.out or tracks_file(options.folder, options.name)
    stills_out = options.stills_out(out)
    for output in (out, stills_out):
        if output is not None:
            check_output(output, overwrite=options.overwrite)
    run_folder = check_run_name(options.folder, options.name)
    review_path = review_file(options.folder, options.name)
    rejected = read_review(review_path, required=True).rejected if options.review else None
    plan = plan_if_any(run_folder)
    path = planned_annotations(options.annotations, plan, run_folder)
    merged = merged_files(options.folder, options.name)
    for needed, what in ((merged.h5, "the merged images"), (merged.pkl, "the merged annotations")):
        if not needed.is_file():
            merge = run_command("merge", options.folder, options.name)
            raise MissingInputError(needed, what=what, hint=f"`{merge}` makes them")
    check_labels(merged, plan)
    drops = Drops()
    with Workers(), tempfile.TemporaryDirectory(prefix="ovforge-") as scratch, ThreadPoolExecutor(1) as thread:
        checked = thread.submit(check_annotations, path, plan)  # hashing a gigabyte: meanwhile the workers read it
        try:
            file = open_for_pairs(path, lists=not options.original)
        except AnnotationFileError:
            checked.result()  # what is wrong with another file is of no interest
            raise
        with file:
            checked.result()
            images = image_columns(file)
            views = open_second_views(merged, images.names, options.variants, scratch=Path(scratch), drops=drops)
            if rejected is not None:
                views = without_rejected(views, images.names, rejected, drops)
            require_some(len(views.used), "image", merged.h5, "that is in the annotation file")
            classes = None if options.original else listed_classes(file, options.listed)
            objects = object_columns(file, views.used, classes)
            require_some(len(objects.rows), "object", path, "in the images of the run")
            judged = judged_objects(scores_path(options.folder, options.name), merged.pairs, images.names, views)
            tracks = follow(images, objects, views, _rules(options, views, judged), drops)
            records = PairRecords(
                path, images, objects, views, tracks, classes, None, masks=True, tails=views.extras or [],
                progress=progress, score_tails=[] if options.original else judged.tails,
            )  # fmt: skip
            notes: list[str] = []
            if classes is None:
                sections = _originals_sections(file.file, records)
            else:
                lists = class_lists(images, views.used, classes)
                tail, tails = image_tails(views, judged.extras)
                has_masks = bool(views.entries.has_mask[tracks.row[~tracks.is_original]].all())
                if options.masks and not has_masks:
                    notes.append(NO_MASKS)
                box_masks = _moved_boxes(merged, plan)
                if box_masks and options.masks and has_masks:
                    notes.append(BOX_MASKS)
                records = replace(
                    records, lists=lists, masks=options.masks and has_masks, tail=tail, tails=tails, first_track=1,
                    first_video=1, box_masks=box_masks,
                )  # fmt: skip
                sections = _sections(file.file, records, stills=stills_out == out, pairs=True)
            write_annotation_file(out, sections, overwrite=options.overwrite)
            if stills_out is not None and stills_out != out:
                sections = _sections(file.file, records, stills=True, pairs=False)
                write_annotation_file(stills_out, sections, overwrite=options.overwrite)
    stills = len(views.used) if stills_out is not None else 0
    return StepSummary(
        "pairs annotate",
        outputs={"annotations": str(out)} | ({"stills": str(stills_out)} if stills_out not in (None, out) else {}),
        counts={
            "videos": stills + len(tracks.kept),
            "images": stills + len(tracks.kept) + int(views.is_live[tracks.kept].sum()),
            "annotations": (len(objects.rows) if stills else 0) + len(tracks.id),
            "ignore regions in pairs": int(tracks.is_region.sum()),
            "tracks": (len(objects.rows) if stills else 0) + int(tracks.is_original.sum()),
        },
        drops=drops.freeze(),
        notes=tuple(notes),
        next_command=run_command(
            "view", options.folder, options.name, annotations=None if options.out is None else out
        ),
    )


def _moved_boxes(merged: PartitionFiles, plan: Plan | None) -> bool:
    """Whether the run has moved rounded boxes in the place of masks."""
    of_run = plan.options if plan is not None else read_about(merged.pairs).options if merged.pairs.is_file() else {}
    return bool(of_run.get("boxes_as_masks"))


def _rules(options: AnnotateOptions, views: SecondViews, judged: JudgedObjects) -> Rules:
    min_area = options.min_area if options.min_area is not None else views.min_area
    knows_all = views.knows_all_that_is_seen and not options.original
    return Rules(
        min_area=PAIR_MIN_AREA if min_area is None or (min_area < 0 and options.original) else min_area,
        min_fidelity=options.min_fidelity if options.min_fidelity is not None else float("-inf"),
        min_visibility=options.min_visibility if options.min_visibility is not None else float("-inf"),
        min_moved_area=0.0 if knows_all else MIN_MOVED_AREA,
        regions=knows_all,
        objects=PairObjects.ALL if options.original else options.objects,
        empty_pairs=options.original,
        first_track=0 if options.original else 1,
        first_video=0 if options.original else 1,
        rejected=_rejected(options, judged),
    )


def _rejected(options: AnnotateOptions, judged: JudgedObjects) -> Rejected | None:
    if not options.rules:
        return None
    reject_as = options.reject_as or (RejectAs.SKIP if options.original else RejectAs.IGNORE)
    return Rejected(
        broken_rules(options.rules, judged.columns),
        tuple(rule.reason for rule in options.rules),
        reject_as is RejectAs.IGNORE,
    )


def _originals_sections(file: AnnotationFile, records: PairRecords) -> Sections:
    """What OVTrack's own script writes."""
    numbers = np.arange(len(records.views.used))
    return {
        "images": [*records.stills(with_pairs=False), records.pair_images()],
        "annotations": [records.still_objects(with_pairs=False), records.pair_objects()],
        "videos": [*records.videos(numbers, 0), *records.videos(numbers, len(numbers))],
        "categories": file.whole("categories"),
    }


def _sections(file: AnnotationFile, records: PairRecords, *, stills: bool, pairs: bool) -> Sections:
    """A file that every reader takes."""
    count = len(records.views.used)
    videos: list[bytes] = []
    images: list[Records] = []
    objects: list[Records] = []
    if stills:
        videos += records.videos(np.arange(count), records.first_video, STILLS if pairs else "")
        images += records.stills(with_pairs=pairs)
        objects.append(records.still_objects(with_pairs=pairs))
    if pairs:
        videos += records.videos(records.tracks.kept, records.first_video + count)
        images.append(records.pair_images())
        objects.append(records.pair_objects())
    sections: Sections = {"info": _info(pairs=pairs)}
    if "licenses" in file.sections:
        sections["licenses"] = file.whole("licenses")
    sections |= {
        "videos": videos,
        "images": images,
        "tracks": records.track_records(stills=stills, pairs=pairs),
        "annotations": objects,
        "categories": list(records.classes.json if records.classes is not None else ()),
    }
    return sections


def _info(*, pairs: bool) -> bytes:
    what = "pairs of views of still images" if pairs else "still images as videos of one frame"
    return b'{"description": "%b", "contributor": "ovforge pairs annotate"}' % what.encode()
