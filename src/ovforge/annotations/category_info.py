"""Count in how many images and how often each class occurs; write the categories with their counts."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.annotation_file import AnnotationFile, RecordTable
from ovforge.annotation_io.record_edit import edit_record
from ovforge.annotations.checked import CheckedFile
from ovforge.annotations.counts import image_and_instance_counts, positions
from ovforge.errors import InputError
from ovforge.files.atomic import atomic_file, check_output
from ovforge.options.annotations import CategoryInfoOptions
from ovforge.records.lvis import Category
from ovforge.records.reporting import EXAMPLES_KEPT, Progress, StepSummary, no_progress


class PositiveImage(msgspec.Struct, frozen=True):
    """An image that says which classes are in it."""

    id: int
    pos_category_ids: list[int]


def category_info(options: CategoryInfoOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Write a list of the file's categories with `image_count` and `instance_count` counted anew.

    With `add_freq`, `frequency` is worked out anew too. Other fields and the order of fields stay as they are.

    Raises:
        OutputExistsError: the output is there and `overwrite` is false.
        AnnotationFileError: the input is malformed.
    """
    if options.r_thresh > options.c_thresh:
        raise InputError(
            f"--r_thresh {options.r_thresh} is above --c_thresh {options.c_thresh}",
            hint="classes in fewer images than r_thresh are rare, in fewer than c_thresh common",
        )
    check_output(options.output, overwrite=options.overwrite)
    progress("count", 0, 1)
    if options.bypass:
        with AnnotationFile(options.annotations, {"images": PositiveImage, "categories": Category}) as file:
            categories, images = file.table("categories", Category), file.table("images", PositiveImage)
            image_counts = instance_counts = _count_positives(categories, images)
            lines, changes = _counted(categories, image_counts, instance_counts, options)
    else:
        with CheckedFile(options.annotations, spans={"categories"}) as source:
            categories, annotations = source.categories, source.annotations
            image_counts, instance_counts = image_and_instance_counts(
                positions(annotations["image_id"], source.images["id"]),
                positions(annotations["category_id"], categories["id"]),
                len(categories),
            )
            lines, changes = _counted(categories, image_counts, instance_counts, options)
    with atomic_file(options.output, overwrite=options.overwrite) as out:
        out.write(b"[" + b", ".join(lines) + b"]")
    progress("count", 1, 1)
    counts = {
        "classes": len(categories),
        "classes without images": int((image_counts == 0).sum()),
        "objects": int(instance_counts.sum()),
    }
    if options.add_freq:
        counts["changes of frequency"] = len(changes)
    more = len(changes) - EXAMPLES_KEPT
    return StepSummary(
        step="lvis category-info",
        outputs={"categories": str(options.output)},
        counts=counts,
        notes=(*changes[:EXAMPLES_KEPT], *([f"and {more:,} more changes of frequency"] if more > 0 else [])),
    )


def frequency_of(image_count: int, r_thresh: int, c_thresh: int) -> str:
    """`r` below `r_thresh` images, `c` below `c_thresh`, else `f`."""
    return "r" if image_count < r_thresh else "c" if image_count < c_thresh else "f"


def _count_positives(categories: RecordTable, images: RecordTable) -> NDArray[np.int64]:
    categories.check_unique()
    images.check_unique()
    position = {number: index for index, number in enumerate(categories["id"].tolist())}
    counts = np.zeros(len(categories), np.int64)
    for index, positive in enumerate(images["pos_category_ids"]):
        for category in set(positive):
            if category not in position:
                raise images.error(index, f'has {category} in pos_category_ids, which is not in "categories"')
            counts[position[category]] += 1
    return counts


def _counted(
    categories: RecordTable,
    image_counts: NDArray[np.int64],
    instance_counts: NDArray[np.int64],
    options: CategoryInfoOptions,
) -> tuple[list[bytes], list[str]]:
    """The categories' new records, and what became of whose frequency."""
    lines, changes = [], []
    for index in range(len(categories)):
        fields: dict[str, bytes | None] = {
            "image_count": b"%d" % image_counts[index],
            "instance_count": b"%d" % instance_counts[index],
        }
        if options.add_freq:
            before = categories["frequency"][index]
            after = frequency_of(int(image_counts[index]), options.r_thresh, options.c_thresh)
            fields["frequency"] = b'"%b"' % after.encode()
            if before != after:
                changes.append(f"{categories['name'][index]}: frequency {before or 'none'} is now {after}")
        lines.append(edit_record(categories.raw(index), fields))
    return lines, changes
