"""Add COCO's annotations to LVIS's: LVIS annotates few objects of an image for the classes it did not look for."""

from __future__ import annotations

from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.annotation_file import RecordTable
from ovforge.annotation_io.annotation_writer import Section, write_annotation_file
from ovforge.annotation_io.door import Annotations, open_annotations
from ovforge.annotation_io.edited_records import KEEP, EditedRecords
from ovforge.annotation_io.ordering import find_positions, stable_order
from ovforge.annotation_io.record_edit import edit_record
from ovforge.annotations.coco_classes import COCO_TO_LVIS_SYNSET
from ovforge.annotations.counts import image_and_instance_counts
from ovforge.errors import AnnotationFileError, InputError, Place
from ovforge.files.atomic import check_output
from ovforge.options.annotations import OVTRACK_MERGED, MergeCocoOptions, MergeVariant
from ovforge.options.base import by_keywords
from ovforge.parallel import Workers
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress, require_some, shell_command

_PAIRS_AT_ONCE = 1 << 20

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@by_keywords(MergeCocoOptions)
def merge_coco(options: MergeCocoOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Write an LVIS file with the COCO annotations added that LVIS does not have yet.

    A COCO object is added if its image is in the LVIS file, its class has an LVIS counterpart, that class is not in
    the image's `neg_category_ids`, and no LVIS object of that class in the image has an IoU of
    `options.iou_threshold` or more with it. Annotations are grouped by image, images in the order of their first
    LVIS annotation, then those that LVIS has not annotated; in an image LVIS comes before COCO. All get new ids from
    1 on. `image_count` and `instance_count` of the categories are recounted. In the box variant no annotation has
    a `segmentation`.

    Raises:
        OutputExistsError: the output is there and `overwrite` is false.
        AnnotationFileError: an input is malformed.
    """
    check_output(options.output, overwrite=options.overwrite)
    with_masks = options.variant is MergeVariant.MASK
    # Without a mask nobody could tell the area of a record that lacks one.
    fields = ("bbox",) if with_masks else ("bbox", "area")
    progress("read", 0, 3)
    with (
        Workers(),
        open_annotations(
            options.lvis,
            images=("coco_name", "neg_category_ids"),
            annotations=fields,
            categories=("synset",),
        ) as lvis_file,
        open_annotations(
            options.coco_file, images=("coco_name",), annotations=fields, categories=("name",)
        ) as coco_file,
    ):
        _check_coco(coco_file)
        progress("match", 1, 3)
        drops = Drops()
        image_row = _matching_images(lvis_file, coco_file)
        category = _matching_categories(lvis_file, coco_file, drops)
        coco_image = image_row[find_positions(coco_file.images["id"], coco_file.annotations["image_id"])]
        coco_category = category[find_positions(coco_file.categories["id"], coco_file.annotations["category_id"])]
        lvis_image = find_positions(lvis_file.images["id"], lvis_file.annotations["image_id"])
        lvis_category = find_positions(lvis_file.categories["id"], lvis_file.annotations["category_id"])

        candidate = (coco_image >= 0) & (coco_category >= 0)
        _count_unmatched(coco_file, coco_image, coco_category, drops)
        absent = candidate & _in_negatives(lvis_file, coco_image, coco_category)
        _count(drops, coco_file.annotations, absent, "LVIS says that its class is not in the image")
        candidate &= ~absent
        overlapped = np.zeros(len(candidate), np.bool_)
        left = np.flatnonzero(candidate)
        overlapped[left] = _overlapped(
            lvis_file.annotations["bbox"],
            lvis_image * len(lvis_file.categories) + lvis_category,
            coco_file.annotations["bbox"][left],
            coco_image[left] * len(lvis_file.categories) + coco_category[left],
            options.iou_threshold,
        )
        _count(
            drops, coco_file.annotations, overlapped, "LVIS has the object: same class, IoU at the threshold or above"
        )
        added = np.flatnonzero(candidate & ~overlapped)

        require_some(len(lvis_image) + len(added), "annotation", options.lvis, "or added from COCO")
        source, row = _order(lvis_image, coco_image[added], added, len(lvis_file.images))
        image_counts, instance_counts = image_and_instance_counts(
            np.concatenate([lvis_image, coco_image[added]]),
            np.concatenate([lvis_category, coco_category[added]]),
            len(lvis_file.categories),
        )
        progress("write", 2, 3)
        replacements: dict[str, Section] = {
            "annotations": [
                _merged(
                    lvis_file,
                    coco_file,
                    source,
                    row,
                    coco_image_id=_ids_at(lvis_file.images, coco_image),
                    coco_category_id=_ids_at(lvis_file.categories, coco_category),
                    with_masks=with_masks,
                )
            ],
            "categories": (
                edit_record(
                    lvis_file.categories.raw(index),
                    {
                        "image_count": b"%d" % image_counts[index],
                        "instance_count": b"%d" % instance_counts[index],
                    },
                )
                for index in range(len(lvis_file.categories))
            ),
        }
        write_annotation_file(
            options.output,
            {section: replacements.get(section, lvis_file.file.whole(section)) for section in lvis_file.file.sections},
            overwrite=options.overwrite,
        )
        rescued = np.zeros(len(lvis_file.images), np.bool_)
        rescued[coco_image[added]] = True
        rescued[lvis_image] = False
    progress("write", 3, 3)
    return StepSummary(
        step="lvis merge-coco",
        outputs={"annotations": str(options.output)},
        counts={
            "LVIS annotations": len(lvis_image),
            "COCO annotations": len(coco_image),
            "COCO annotations added": len(added),
            "annotations out": len(source),
            "images annotated by COCO only": int(rescued.sum()),
        },
        drops=drops.freeze(),
        notes=() if len(added) else ("no COCO annotation was added: the output holds LVIS's own",),
        next_command=shell_command(
            "ovforge", "lvis", "base-classes", ann=None if options.output == OVTRACK_MERGED else options.output
        ),
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
    lvis_boxes: NDArray[np.float64],
    lvis_keys: Ints,
    coco_boxes: NDArray[np.float64],
    coco_keys: Ints,
    threshold: float,
) -> Bools:
    """Which COCO boxes have an LVIS box with the same key (image and class) and an IoU of `threshold` or more."""
    lvis_order, coco_order = stable_order(lvis_keys), stable_order(coco_keys)
    # Both sides in order: a search among a million keys in random places misses the processor's cache each time.
    lvis_keys, coco_keys = lvis_keys[lvis_order], coco_keys[coco_order]
    first = np.searchsorted(lvis_keys, coco_keys, "left")
    counts = np.searchsorted(lvis_keys, coco_keys, "right") - first
    result = np.zeros(len(coco_keys), np.bool_)
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        # As many COCO boxes as give about a million pairs: memory stays flat whatever the crowd.
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, "right")))
        n = counts[start:stop]
        coco_rows = np.repeat(coco_order[start:stop], n)
        lvis_rows = lvis_order[
            np.arange(len(coco_rows)) - np.repeat(np.cumsum(n) - n, n) + np.repeat(first[start:stop], n)
        ]
        hits = iou_pairs(lvis_boxes[lvis_rows], coco_boxes[coco_rows]) >= np.float32(threshold)
        result[coco_rows[hits]] = True
        start = stop
    return result


def _matching_images(lvis_file: Annotations, coco_file: Annotations) -> Ints:
    """For each COCO image the index of the LVIS image with the same name, or -1.

    Raises:
        InputError: the two files have no image in common.
    """
    index_of = {name: index for index, name in enumerate(lvis_file.images["coco_name"])}
    names = coco_file.images["coco_name"]
    rows = np.fromiter(map(index_of.get, names, repeat(-1)), np.int64, len(names))
    for file in (lvis_file, coco_file):
        require_some(len(file.images), "image", file.path)
    if not (rows >= 0).any():
        raise InputError(
            f"none of its {len(names):,} images is in {lvis_file.path}",
            place=Place(str(coco_file.path)),
            detail=f"{names[0]}, for one, is not",
            hint="one of the two is a file of other images: LVIS v1 train goes with COCO's instances_train2017.json",
        )
    return rows


def _matching_categories(lvis_file: Annotations, coco_file: Annotations, drops: Drops) -> Ints:
    """For each COCO category the index of its LVIS category, or -1."""
    index_of = {synset: index for index, synset in enumerate(lvis_file.categories["synset"]) if synset}
    matches = np.full(len(coco_file.categories), -1, np.int64)
    for index, name in enumerate(coco_file.categories["name"]):
        synset = COCO_TO_LVIS_SYNSET.get(name)
        matches[index] = index_of.get(synset, -1) if synset else -1
        if matches[index] < 0:
            drops.add("COCO class", "has no counterpart among the LVIS classes", name)
    return matches


def _check_coco(coco_file: Annotations) -> None:
    """Refuse a file whose annotations belong to more than images and classes: those ids would be lost."""
    for section in ("videos", "tracks"):
        if section in coco_file.file.sections:
            raise AnnotationFileError(
                coco_file.path,
                f'has "{section}": the ids of a video data set cannot be carried over into an LVIS file',
                hint="give a COCO instances file, such as instances_train2017.json: --coco=FILE",
            )


def _in_negatives(lvis_file: Annotations, image_row: Ints, category: Ints) -> Bools:
    """Which COCO annotations are of a class that LVIS looked for in the image and did not find."""
    lists = lvis_file.images["neg_category_ids"]
    counts = np.fromiter(map(len, lists), np.int64, len(lists))
    image_rows = np.repeat(np.arange(len(lists)), counts)
    ids = np.fromiter(chain.from_iterable(lists), np.int64, int(counts.sum()))
    # Keyed by index, not by id, so that the products stay small; ids that are not categories match nothing.
    known = np.isin(ids, lvis_file.categories["id"])
    size = len(lvis_file.categories)
    keys = image_rows[known] * size + find_positions(lvis_file.categories["id"], ids[known])
    asked = image_row * size + category
    order = stable_order(asked)
    keys = np.append(np.sort(keys), np.iinfo(np.int64).max)
    result = np.zeros(len(asked), np.bool_)
    result[order] = keys[np.searchsorted(keys, asked[order])] == asked[order]
    return result


def _count_unmatched(coco_file: Annotations, image_row: Ints, category: Ints, drops: Drops) -> None:
    _count(drops, coco_file.annotations, category < 0, "its class has no counterpart among the LVIS classes")
    _count(drops, coco_file.annotations, (category >= 0) & (image_row < 0), "its image is not in the LVIS file")


def _count(drops: Drops, annotations: RecordTable, which: Bools, reason: str) -> None:
    drops.add_all("COCO annotation", reason, annotations["id"][which])


def _order(lvis_image: Ints, coco_image: Ints, added: Ints, image_count: int) -> tuple[NDArray[np.int8], Ints]:
    """The output's annotations in order: from which file (0 LVIS, 1 COCO) and which row of it."""
    # Images by their first LVIS annotation; those without one after them, in the order of the file.
    rank = np.arange(len(lvis_image), len(lvis_image) + image_count)
    rank[lvis_image[::-1]] = np.arange(len(lvis_image))[::-1]  # of an image's annotations the last one counts
    source = np.repeat(np.array([0, 1], np.int8), [len(lvis_image), len(added)])
    row = np.concatenate([np.arange(len(lvis_image)), added])
    # Within an image they are in order already: LVIS before COCO, and by row.
    order = stable_order(rank[np.concatenate([lvis_image, coco_image])])
    return source[order], row[order]


def _ids_at(table: RecordTable, index: Ints) -> Ints:
    """The ids at the indices, 0 where there is none (-1)."""
    ids: Ints = np.append(table["id"], 0)
    return ids[index]


def _merged(
    lvis_file: Annotations,
    coco_file: Annotations,
    source: NDArray[np.int8],
    row: Ints,
    *,
    coco_image_id: Ints,
    coco_category_id: Ints,
    with_masks: bool,
) -> EditedRecords:
    """The output's annotations, numbered from 1."""
    is_theirs = source == 1
    rows = row[is_theirs]
    numbers = {"id": np.arange(1, len(source) + 1)}
    for field, values in (("image_id", coco_image_id), ("category_id", coco_category_id)):
        # Image ids are mostly COCO's own already.
        if not np.array_equal(coco_file.annotations[field][rows], values[rows]):
            numbers[field] = np.full(len(source), KEEP)
            numbers[field][is_theirs] = values[rows]
    tables = (lvis_file.annotations, coco_file.annotations)
    starts, stops = np.empty(len(source), np.int64), np.empty(len(source), np.int64)
    texts: dict[str, list[bytes | None]] = {}
    for number, (file, table) in enumerate(zip((lvis_file, coco_file), tables, strict=True)):
        mine = source == number
        starts[mine], stops[mine] = table.starts[row[mine]], table.stops[row[mine]]
        for name, found in file.filled_in(row[mine]).items():
            column = texts.setdefault(name, [None] * len(source))
            for place, text in zip(np.flatnonzero(mine).tolist(), found, strict=True):
                column[place] = text
    return EditedRecords(
        (lvis_file.path, coco_file.path),
        source,
        starts,
        stops,
        numbers=numbers,
        texts=texts,
        removed=() if with_masks else ("segmentation",),
    )
