"""Write a run's annotation file: COCO video JSON in which an object and its second views carry one `track_id`.

First every image is a video of one frame with all its annotations but crowds (small objects are only there), then
every image is a video again: itself and its second views, with the objects that were followed. Order and ids are
OVTrack's: annotation ids go on from the file's largest and are used up by objects that are skipped, too, so that
files compare whatever the filters.

Everything is worked out in columns; records are copied with their new fields by the worker processes. So a file of
LVIS size takes seconds, and memory is that of the columns.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.annotation_file import RecordTable
from ovforge.annotation_io.annotation_writer import write_annotation_file
from ovforge.annotation_io.door import Annotations, open_annotations
from ovforge.annotation_io.edited_records import KEEP, EditedRecords
from ovforge.annotation_io.ordering import stable_order
from ovforge.errors import AnnotationFileError, MissingInputError
from ovforge.files.atomic import check_output
from ovforge.options.tracks import AnnotateOptions
from ovforge.parallel import Workers
from ovforge.records.reporting import EXAMPLES_KEPT, Drops, Progress, StepSummary, no_progress, require_some
from ovforge.records.run_layout import MANIFEST, check_run_name, merged_files, tracks_file, variant_name
from ovforge.runs.plan import load_plan
from ovforge.synthesis.image_table import USED
from ovforge.synthesis.run_inputs import check_annotations, planned_annotations
from ovforge.synthesis.second_views import SecondViews, open_second_views

PAIR_MIN_AREA = 64.0 * 64.0
"""Square pixels; objects of a pair have to be larger (OVTrack)."""
MIN_MOVED_AREA = 32.0 * 32.0
"""Square pixels; a second view's object has to be at least so large, and its box a pixel wide and high (OVTrack)."""
_TOGETHER = 5000  # records written at once
_LAST = np.iinfo(np.int64).max

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def annotate_pairs(options: AnnotateOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Write the annotation file of a merged run.

    Raises:
        MissingInputError: the merged files or the annotation file are not there.
        InputError: they do not belong together; says why.
        OutputExistsError: the file is there and `overwrite` is false.
    """
    out = options.out or tracks_file(options.folder, options.name)
    check_output(out, overwrite=options.overwrite)
    run_folder = check_run_name(options.folder, options.name)
    plan = load_plan(run_folder)[0] if (run_folder / MANIFEST).is_file() else None
    path = planned_annotations(options.annotations, plan, run_folder)
    merged = merged_files(options.folder, options.name)
    for needed, what in ((merged.h5, "the merged images"), (merged.pkl, "the merged annotations")):
        if not needed.is_file():
            raise MissingInputError(needed, what=what, hint=f"`ovforge pairs merge {options.name}` makes them")
    drops = Drops()
    with Workers(), tempfile.TemporaryDirectory(prefix="ovforge-") as scratch, ThreadPoolExecutor(1) as thread:
        checked = thread.submit(check_annotations, path, plan)  # hashing a gigabyte: meanwhile the workers read it
        try:
            file = open_annotations(path, images=("name", "width", "height"), annotations=USED, categories=())
        except AnnotationFileError:
            checked.result()  # what is wrong with another file is of no interest
            raise
        with file:
            checked.result()
            images = _Images(file.images, file.images["name"].tolist())
            views = open_second_views(merged, images.names, options.variants, scratch=Path(scratch), drops=drops)
            require_some(len(views.used), "image", merged.h5, "that is in the annotation file")
            objects = _objects(file, images, views.used)
            require_some(len(objects.rows), "object", path, "in the images of the run")
            min_area = options.min_area if options.min_area is not None else views.min_area or PAIR_MIN_AREA
            min_fidelity = options.min_fidelity if options.min_fidelity is not None else float("-inf")
            tracks = _follow(images, objects, views, _Rules(min_area, min_fidelity), drops)
            write_annotation_file(
                out,
                {
                    "images": _images(path, images, views, progress),
                    "annotations": [
                        _static_annotations(path, objects, progress),
                        _pair_annotations(path, objects, views, tracks, progress),
                    ],
                    "videos": _videos(images, views.used),
                    "categories": file.file.whole("categories"),
                },
                overwrite=options.overwrite,
            )
    return StepSummary(
        "pairs annotate",
        outputs={"annotations": str(out)},
        counts={
            "videos": 2 * len(views.used),
            "images": len(views.used) * (views.variants + 2),
            "annotations": len(objects.rows) + len(tracks.id),
            "tracks": len(objects.rows) + int(tracks.is_original.sum()),
        },
        drops=drops.freeze(),
    )


@dataclass(frozen=True)
class _Images:
    """The annotation file's images, in file order."""

    table: RecordTable
    names: list[str]


@dataclass(frozen=True)
class _Objects:
    """The objects without crowds of the images that the run has: by image, within it in file order."""

    file: Annotations
    table: RecordTable
    rows: Ints
    """Record numbers."""
    number: Ints
    """For each of `rows`: which of the run's images it is in."""
    largest_id: int


def _objects(file: Annotations, images: _Images, used: Ints) -> _Objects:
    ids, table = images.table["id"], file.annotations
    by_id = stable_order(ids)
    number_of = np.full(len(ids), -1)
    number_of[used] = np.arange(len(used))
    number = number_of[by_id][np.searchsorted(ids[by_id], table["image_id"])]
    rows = np.flatnonzero((table["iscrowd"] == 0) & (number >= 0))
    rows = rows[stable_order(number[rows])]
    return _Objects(file, table, rows, number[rows], int(table["id"].max(initial=0)))


class _Rules(NamedTuple):
    """Which objects are followed."""

    min_area: float
    min_fidelity: float


class _Tracks(NamedTuple):
    """The objects of the videos of pairs, in the order of the output."""

    is_original: Bools
    """Whether it is in the image itself."""
    row: Ints
    """Its record: a row of the annotation file's table, or else of the second views' entries."""
    id: Ints
    image_id: Ints
    track: Ints
    video: Ints


def _follow(images: _Images, objects: _Objects, views: SecondViews, rules: _Rules, drops: Drops) -> _Tracks:
    """Which objects are followed, and the numbers of each.

    Every frame of a pair has as many ids as objects were followed into it. Tracks go on from those of the videos of
    one frame, where every object is a track.
    """
    table, entries, variants, count = objects.table, views.entries, views.variants, len(views.used)
    is_followed = table["area"][objects.rows] > rules.min_area
    followed, number = objects.rows[is_followed], objects.number[is_followed]
    track = len(objects.rows) + np.arange(len(followed))

    original = _originals(entries.id, entries.view // max(variants, 1), table["id"][followed], number)
    order = np.lexsort((np.where(original >= 0, original, _LAST), entries.view))
    kept = _kept(views, original, rules, drops, order)

    of_image = np.bincount(number, minlength=count)
    of_view = np.bincount(entries.view, minlength=count * variants).reshape(count, variants)
    _count_empty(images, views, of_view, of_image, drops)
    # The original put the image's own boxes where nothing is noted of a view.
    sizes = np.concatenate([of_image[:, None], np.where(of_view == 0, of_image[:, None], of_view)], axis=1).ravel()
    first_id = objects.largest_id + 1 + np.cumsum(sizes) - sizes
    frame_of_original = number * (variants + 1)
    frame_of_entry = entries.view + entries.view // max(variants, 1) + 1
    id_of_original = first_id[frame_of_original] + _rank(number)
    id_of_entry = np.empty(len(order), np.int64)
    id_of_entry[order] = first_id[frame_of_entry[order]] + _rank(entries.view[order])

    taken = order[kept[order]]
    frame = np.concatenate([frame_of_original, frame_of_entry[taken]])
    in_order = stable_order(frame)

    def column(of_originals: Ints, of_entries: Ints) -> Ints:
        return np.concatenate([of_originals, of_entries])[in_order]

    return _Tracks(
        in_order < len(followed),
        column(followed, taken),
        column(id_of_original, id_of_entry[taken]),
        int(images.table["id"].max(initial=0)) + 1 + frame[in_order],
        column(track, track[original[taken]]),
        count + frame[in_order] // (variants + 1),
    )


def _originals(entry_id: Ints, entry_number: Ints, ids: Ints, number: Ints) -> Ints:
    """For each entry the index of its original among the followed objects of its image, or -1."""
    if not len(ids):
        return np.full(len(entry_id), -1)
    by_id = stable_order(ids)
    found = np.searchsorted(ids[by_id], entry_id)
    found[found == len(ids)] = 0
    original: Ints = by_id[found]
    return np.where((ids[original] == entry_id) & (number[original] == entry_number), original, -1)


def _rank(group: Ints) -> Ints:
    """0, 1, 2, ... within each group of equal neighbours."""
    starts = np.flatnonzero(np.append(True, np.diff(group) != 0)) if len(group) else np.zeros(0, np.int64)
    return np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))


def _kept(views: SecondViews, original: Ints, rules: _Rules, drops: Drops, order: Ints) -> Bools:
    entries = views.entries
    kept = np.ones(len(original), np.bool_)
    small = (entries.size < 1).any(axis=1) | (entries.area < MIN_MOVED_AREA)
    for reason, without in (
        (f"its original is no object larger than {rules.min_area:g} square pixels", original < 0),
        ("it left the image", entries.area <= 0),
        (f"smaller than {MIN_MOVED_AREA:g} square pixels in the second view", small),
        (f"fidelity below {rules.min_fidelity:g}", entries.fidelity < rules.min_fidelity),
    ):
        dropped = order[(kept & without)[order]]
        kept[dropped] = False
        for row in dropped[:EXAMPLES_KEPT].tolist():
            with open(views.records, "rb") as file:
                file.seek(entries.start[row])
                record = file.read(entries.stop[row] - entries.start[row])
            entry = msgspec.json.decode(record, type=_Named)
            drops.add("object", reason, f"annotation {entry.id} in {entry.image_name}")
        if len(dropped) > EXAMPLES_KEPT:
            drops.add("object", reason, count=len(dropped) - EXAMPLES_KEPT)
    return kept


class _Named(msgspec.Struct):
    id: int
    image_name: str


def _count_empty(images: _Images, views: SecondViews, of_view: Ints, of_image: Ints, drops: Drops) -> None:
    reason = "nothing is noted of its objects: it has no boxes"
    for number, variant in np.argwhere((of_view == 0) & (of_image > 0)[:, None]).tolist():
        drops.add("second view", reason, variant_name(images.names[views.used[number]], variant))


def _images(path: Path, images: _Images, views: SecondViews, progress: Progress) -> Iterator[EditedRecords]:
    """Every image as a video's only frame, then every image with its second views."""
    table, used, frames = images.table, views.used, views.variants + 1
    names = [images.names[position] for position in used.tolist()]
    noted = table["file_name"][used].tolist()
    yield EditedRecords(
        (path,),
        np.zeros(len(used), np.int8),
        table.starts[used],
        table.stops[used],
        texts={
            "file_name": [
                None if name == old else msgspec.json.encode(name) for name, old in zip(names, noted, strict=True)
            ]
        },
        appended={"video_id": np.arange(len(used)), "frame_id": np.zeros(len(used), np.int64)},
        stage="images",
        progress=progress,
    )
    tails = None
    if views.extras is not None:
        tails = [b""] * (len(used) * frames)
        for variant in range(views.variants):
            tails[variant + 1 :: frames] = views.extras[variant :: views.variants]
    positions = np.repeat(used, frames)
    yield EditedRecords(
        (path,),
        np.zeros(len(positions), np.int8),
        table.starts[positions],
        table.stops[positions],
        numbers={"id": int(table["id"].max(initial=0)) + 1 + np.arange(len(positions))},
        texts={
            "file_name": [
                msgspec.json.encode(variant_name(name, frame - 1) if frame else name)
                for name in names
                for frame in range(frames)
            ]
        },
        appended={
            "video_id": len(used) + np.arange(len(positions)) // frames,
            "frame_id": np.arange(len(positions)) % frames,
        },
        tails=tails,
        stage="images of pairs",
        progress=progress,
    )


def _static_annotations(path: Path, objects: _Objects, progress: Progress) -> EditedRecords:
    track = np.arange(len(objects.rows))
    return EditedRecords(
        (path,),
        np.zeros(len(track), np.int8),
        objects.table.starts[objects.rows],
        objects.table.stops[objects.rows],
        texts=objects.file.filled_in(objects.rows),
        appended={"instance_id": track, "track_id": track, "video_id": objects.number},
        stage="videos of one frame",
        progress=progress,
    )


def _pair_annotations(
    path: Path, objects: _Objects, views: SecondViews, tracks: _Tracks, progress: Progress
) -> EditedRecords:
    table, entries, is_original = objects.table, views.entries, tracks.is_original

    def column(of_originals: Ints, of_entries: Ints) -> Ints:
        values = np.empty(len(tracks.row), np.int64)
        values[is_original] = of_originals[tracks.row[is_original]]
        values[~is_original] = of_entries[tracks.row[~is_original]]
        return values

    return EditedRecords(
        (path, views.records),
        (~is_original).astype(np.int8),
        column(table.starts, entries.start),
        column(table.stops, entries.stop),
        numbers={"id": tracks.id, "image_id": tracks.image_id},
        texts={
            field: _scattered(values, is_original)
            for field, values in objects.file.filled_in(tracks.row[is_original]).items()
        },
        appended={
            "ori_ann_id": column(table["id"], np.full(len(entries.id), KEEP)),
            "instance_id": tracks.track,
            "track_id": tracks.track,
            "video_id": tracks.video,
        },
        renamed={1: {"mask": "segmentation"}},
        stage="pairs",
        progress=progress,
    )


def _scattered(values: list[bytes | None], where: Bools) -> list[bytes | None]:
    """The values at the places of `where` that are true, in order; None at the others."""
    remaining = iter(values)
    return [next(remaining) if is_there else None for is_there in where.tolist()]


def _videos(images: _Images, used: Ints) -> Iterator[bytes]:
    """All videos: their ids are those that the images carry."""
    widths, heights = images.table["width"][used].tolist(), images.table["height"][used].tolist()
    videos = [
        b'{"id": %d, "width": %d, "height": %d}' % video
        for video in zip(range(2 * len(used)), widths * 2, heights * 2, strict=True)
    ]
    for start in range(0, len(videos), _TOGETHER):
        yield b", ".join(videos[start : start + _TOGETHER])
