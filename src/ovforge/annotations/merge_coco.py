"""Add COCO's annotations to LVIS's: LVIS annotates few objects of a picture for the classes it did not look for."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from ovforge.annotations.checked import CheckedFile
from ovforge.annotations.coco_classes import COCO_TO_LVIS_SYNSET
from ovforge.annotations.counts import image_and_instance_counts, positions
from ovforge.errors import InputError
from ovforge.options.annotations import MergeCocoOptions, MergeVariant
from ovforge.records import coco, lvis
from ovforge.records.reporting import EXAMPLES_KEPT, Drops, Progress, StepSummary, no_progress
from ovforge.storage.annotation_file import RecordTable
from ovforge.storage.annotation_writer import Records, write_annotation_file
from ovforge.storage.atomic import check_output
from ovforge.storage.edited_records import KEEP, EditedRecords
from ovforge.storage.ordering import stable_order
from ovforge.storage.record_edit import edit_record
from ovforge.storage.worker_pool import Workers

_PAIRS_AT_ONCE = 1 << 20
_NAME_LENGTH = 16
"""`000000391895.jpg`: the end of a picture's name that LVIS and COCO have in common."""

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def merge_coco(options: MergeCocoOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Write an LVIS file with the COCO annotations added that LVIS does not have yet.

    A COCO object is added if its picture is in the LVIS file, its class has an LVIS counterpart, that class is not in
    the picture's `neg_category_ids`, and no LVIS object of that class in the picture has an IoU of
    `options.iou_threshold` or more with it. Annotations are grouped by picture, pictures in the order of their first
    LVIS annotation, then those that LVIS has not annotated; in a picture LVIS comes before COCO. All get new ids from
    1 on. `image_count` and `instance_count` of the categories are counted anew. In the box variant no annotation has
    a `segmentation`.

    Raises:
        OutputExistsError: the output is there and `overwrite` is false.
        AnnotationFileError: an input is malformed.
    """
    if not 0 < options.iou_threshold <= 1:
        raise InputError(f"--iou-threshold {options.iou_threshold}: must be above 0 and at most 1")
    check_output(options.output, overwrite=options.overwrite)
    progress("read", 0, 3)
    with (
        Workers(),
        CheckedFile(options.lvis, annotations=lvis.BoxedAnnotation, images=lvis.Image) as ours,
        CheckedFile(
            options.coco, annotations=coco.BoxedAnnotation, images=coco.Image, categories=coco.Category
        ) as theirs,
    ):
        progress("match", 1, 3)
        drops = Drops()
        picture = _matching_pictures(ours, theirs)
        category = _matching_categories(ours, theirs, drops)
        their_picture = picture[positions(theirs.annotations["image_id"], theirs.images["id"])]
        their_category = category[positions(theirs.annotations["category_id"], theirs.categories["id"])]
        our_picture = positions(ours.annotations["image_id"], ours.images["id"])
        our_category = positions(ours.annotations["category_id"], ours.categories["id"])

        candidate = (their_picture >= 0) & (their_category >= 0)
        _count_unmatched(theirs, their_picture, their_category, drops)
        absent = candidate & _in_negatives(ours, their_picture, their_category)
        _count(drops, theirs.annotations, absent, "LVIS says that its class is not in the picture")
        candidate &= ~absent
        overlapped = np.zeros(len(candidate), np.bool_)
        left = np.flatnonzero(candidate)
        overlapped[left] = _overlapped(
            ours.annotations["bbox"],
            our_picture * len(ours.categories) + our_category,
            theirs.annotations["bbox"][left],
            their_picture[left] * len(ours.categories) + their_category[left],
            options.iou_threshold,
        )
        _count(drops, theirs.annotations, overlapped, "LVIS has the object: same class, IoU at the threshold or above")
        added = np.flatnonzero(candidate & ~overlapped)

        source, row = _order(our_picture, their_picture[added], added, len(ours.images))
        image_counts, instance_counts = image_and_instance_counts(
            np.concatenate([our_picture, their_picture[added]]),
            np.concatenate([our_category, their_category[added]]),
            len(ours.categories),
        )
        progress("write", 2, 3)
        replacements: dict[str, Iterable[Records]] = {
            "annotations": [
                _merged(
                    ours,
                    theirs,
                    source,
                    row,
                    their_image_id=_ids_at(ours.images, their_picture),
                    their_category_id=_ids_at(ours.categories, their_category),
                    with_masks=options.variant is MergeVariant.MASK,
                )
            ],
            "categories": (
                edit_record(
                    ours.categories.raw(index),
                    {
                        "image_count": b"%d" % image_counts[index],
                        "instance_count": b"%d" % instance_counts[index],
                    },
                )
                for index in range(len(ours.categories))
            ),
        }
        write_annotation_file(
            options.output,
            {section: replacements.get(section, ours.file.whole(section)) for section in ours.file.sections},
            overwrite=options.overwrite,
        )
        rescued = np.zeros(len(ours.images), np.bool_)
        rescued[their_picture[added]] = True
        rescued[our_picture] = False
    progress("write", 3, 3)
    return StepSummary(
        step="lvis merge-coco",
        outputs={"annotations": str(options.output)},
        counts={
            "LVIS annotations": len(our_picture),
            "COCO annotations": len(their_picture),
            "COCO annotations added": len(added),
            "annotations out": len(source),
            "pictures annotated by COCO only": int(rescued.sum()),
        },
        drops=drops.freeze(),
        next_command="ovforge lvis base-classes",
    )


def iou_pairs(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float32]:
    """The IoU of boxes (n, 4) x, y, width, height with n others, one by one, in float32 as detectron2 computes it."""
    a, b = (_corners(boxes) for boxes in (first, second))
    area_a, area_b = ((c[:, 2] - c[:, 0]) * (c[:, 3] - c[:, 1]) for c in (a, b))
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    common = np.prod(np.maximum(sides, np.float32(0)), axis=1, dtype=np.float32)
    iou = np.zeros(len(a), np.float32)
    np.divide(common, area_a + area_b - common, out=iou, where=common > 0)
    return iou


def _corners(boxes: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).astype(np.float32)


def _overlapped(
    our_boxes: NDArray[np.float64],
    our_keys: Ints,
    their_boxes: NDArray[np.float64],
    their_keys: Ints,
    threshold: float,
) -> Bools:
    """Which of their boxes has one of ours with the same key (picture and class) and an IoU of `threshold` or more."""
    order, their_order = stable_order(our_keys), stable_order(their_keys)
    # Both sides in order: a search among a million keys in random places misses the processor's cache each time.
    our_keys, their_keys = our_keys[order], their_keys[their_order]
    first = np.searchsorted(our_keys, their_keys, "left")
    counts = np.searchsorted(our_keys, their_keys, "right") - first
    result = np.zeros(len(their_keys), np.bool_)
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        # As many of their boxes as give about a million pairs: memory stays flat whatever the crowd.
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, "right")))
        n = counts[start:stop]
        theirs = np.repeat(their_order[start:stop], n)
        ours = order[np.arange(len(theirs)) - np.repeat(np.cumsum(n) - n, n) + np.repeat(first[start:stop], n)]
        hits = iou_pairs(our_boxes[ours], their_boxes[theirs]) >= np.float32(threshold)
        result[theirs[hits]] = True
        start = stop
    return result


def _matching_pictures(ours: CheckedFile, theirs: CheckedFile) -> Ints:
    """For each COCO picture the index of the LVIS picture with the same name, or -1."""
    names = _picture_names(ours)
    index_of = dict(zip(names, range(len(names)), strict=True))
    if len(index_of) < len(names):
        index = next(index for index, name in enumerate(names) if index_of[name] != index)
        again = index_of[names[index]]
        raise ours.images.error(again, f"has the picture name {names[index]} of {ours.images.where(index)}")
    return np.fromiter(map(index_of.get, _picture_names(theirs), repeat(-1)), np.int64, len(theirs.images))


def _picture_names(file: CheckedFile) -> list[str]:
    images = file.images
    places = zip(images["file_name"].tolist(), images["coco_url"].tolist(), strict=True)
    names = [(coco_url or file_name)[-_NAME_LENGTH:] for file_name, coco_url in places]
    if "" in names:
        raise images.error(
            names.index(""), "has neither file_name nor coco_url", hint=f"{file.path}: every picture needs one"
        )
    return names


def _matching_categories(ours: CheckedFile, theirs: CheckedFile, drops: Drops) -> Ints:
    """For each COCO category the index of its LVIS category, or -1."""
    index_of = {synset: index for index, synset in enumerate(ours.categories["synset"])}
    matches = np.full(len(theirs.categories), -1, np.int64)
    for index, name in enumerate(theirs.categories["name"]):
        matches[index] = index_of.get(COCO_TO_LVIS_SYNSET.get(name, ""), -1)
        if matches[index] < 0:
            drops.add("COCO class", "it has no counterpart among the LVIS classes", name)
    return matches


def _in_negatives(ours: CheckedFile, picture: Ints, category: Ints) -> Bools:
    """Which COCO annotations are of a class that LVIS looked for in the picture and did not find."""
    lists = ours.images["neg_category_ids"]
    counts = np.fromiter(map(len, lists), np.int64, len(lists))
    pictures = np.repeat(np.arange(len(lists)), counts)
    ids = np.fromiter(chain.from_iterable(lists), np.int64, int(counts.sum()))
    # Keyed by index, not by id, so that the products stay small; ids that are no category match nothing.
    known = np.isin(ids, ours.categories["id"])
    size = len(ours.categories)
    keys = pictures[known] * size + positions(ids[known], ours.categories["id"])
    asked = picture * size + category
    order = stable_order(asked)
    keys = np.append(np.sort(keys), np.iinfo(np.int64).max)
    result = np.zeros(len(asked), np.bool_)
    result[order] = keys[np.searchsorted(keys, asked[order])] == asked[order]
    return result


def _count_unmatched(theirs: CheckedFile, picture: Ints, category: Ints, drops: Drops) -> None:
    _count(drops, theirs.annotations, category < 0, "its class has no counterpart among the LVIS classes")
    _count(drops, theirs.annotations, (category >= 0) & (picture < 0), "its picture is not in the LVIS file")


def _count(drops: Drops, annotations: RecordTable, which: Bools, reason: str) -> None:
    rows = np.flatnonzero(which)
    for number in annotations["id"][rows[:EXAMPLES_KEPT]].tolist():
        drops.add("COCO annotation", reason, number)
    if len(rows) > EXAMPLES_KEPT:
        drops.add("COCO annotation", reason, count=len(rows) - EXAMPLES_KEPT)


def _order(our_picture: Ints, their_picture: Ints, added: Ints, picture_count: int) -> tuple[NDArray[np.int8], Ints]:
    """The output's annotations in order: from which file (0 LVIS, 1 COCO) and which row of it."""
    # Pictures by their first LVIS annotation; those without one after them, in the order of the file.
    rank = np.arange(len(our_picture), len(our_picture) + picture_count)
    rank[our_picture[::-1]] = np.arange(len(our_picture))[::-1]  # of a picture's annotations the last one counts
    source = np.repeat(np.array([0, 1], np.int8), [len(our_picture), len(added)])
    row = np.concatenate([np.arange(len(our_picture)), added])
    # Within a picture they are in order already: LVIS before COCO, and by row.
    order = stable_order(rank[np.concatenate([our_picture, their_picture])])
    return source[order], row[order]


def _ids_at(table: RecordTable, index: Ints) -> Ints:
    """The ids at the indices, 0 where there is none (-1)."""
    ids: Ints = np.append(table["id"], 0)
    return ids[index]


def _merged(
    ours: CheckedFile,
    theirs: CheckedFile,
    source: NDArray[np.int8],
    row: Ints,
    *,
    their_image_id: Ints,
    their_category_id: Ints,
    with_masks: bool,
) -> EditedRecords:
    """The output's annotations, numbered from 1."""
    is_theirs = source == 1
    rows = row[is_theirs]
    numbers = {"id": np.arange(1, len(source) + 1)}
    for field, values in (("image_id", their_image_id), ("category_id", their_category_id)):
        # Picture ids are mostly COCO's own already.
        if not np.array_equal(theirs.annotations[field][rows], values[rows]):
            numbers[field] = np.full(len(source), KEEP)
            numbers[field][is_theirs] = values[rows]
    tables = (ours.annotations, theirs.annotations)
    starts, stops = np.empty(len(source), np.int64), np.empty(len(source), np.int64)
    for number, table in enumerate(tables):
        mine = source == number
        starts[mine], stops[mine] = table.starts[row[mine]], table.stops[row[mine]]
    return EditedRecords(
        (ours.path, theirs.path),
        source,
        starts,
        stops,
        numbers=numbers,
        removed=() if with_masks else ("segmentation",),
    )
