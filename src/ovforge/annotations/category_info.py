"""Count in how many images and how often each class occurs; write the categories, or the file, with the counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.annotation_file import RecordTable
from ovforge.annotation_io.annotation_writer import Section, write_annotation_file
from ovforge.annotation_io.door import Annotations, open_annotations
from ovforge.annotation_io.ordering import find_positions
from ovforge.annotation_io.record_edit import decode_record, edit_record, take_apart
from ovforge.annotations.counts import image_and_instance_counts
from ovforge.files.atomic import atomic_file, check_output
from ovforge.options.annotations import AddFrequenciesOptions, CategoryInfoOptions, CountOptions
from ovforge.options.base import by_keywords
from ovforge.records.reporting import EXAMPLES_KEPT, Progress, StepSummary, no_progress, require_some

Ints = NDArray[np.int64]


@by_keywords(CategoryInfoOptions)
def category_info(options: CategoryInfoOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Write a list of the file's categories with `image_count` and `instance_count` recounted.

    With `add_freq`, `frequency` is recomputed too. Other fields and the order of fields stay as they are.

    Raises:
        OutputExistsError: the output is there and `overwrite` is false.
        AnnotationFileError: the input is malformed.
        NothingDoneError: the file has no class or no object.
    """
    check_output(options.output, overwrite=options.overwrite)
    progress("count", 0, 1)
    with _open(options.annotations, bypass=options.bypass) as source:
        counted = _count(source, options, add_frequency=options.add_freq)
    with atomic_file(options.output, overwrite=options.overwrite) as out:
        out.write(b"[" + b", ".join(counted.records) + b"]")
    progress("count", 1, 1)
    return _summary("lvis category-info", {"categories": str(options.output)}, counted, options.add_freq)


@by_keywords(AddFrequenciesOptions)
def add_frequencies(options: AddFrequenciesOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Copy an annotation file, its categories with `frequency`, `image_count` and `instance_count` recounted.

    Everything else stays as it is. The steps that take classes out by their frequency can then work on a file that
    had none.

    Raises:
        OutputExistsError: the output is there and `overwrite` is false.
        AnnotationFileError: the input is malformed.
        NothingDoneError: the file has no class or no object.
    """
    check_output(options.output, overwrite=options.overwrite)
    progress("count", 0, 2)
    with _open(options.annotations, bypass=options.bypass) as source:
        counted = _count(source, options, add_frequency=True)
        progress("write", 1, 2)
        sections: dict[str, Section] = {section: source.file.whole(section) for section in source.file.sections}
        write_annotation_file(options.output, sections | {"categories": counted.records}, overwrite=options.overwrite)
    progress("write", 2, 2)
    return _summary("lvis add-frequencies", {"annotations": str(options.output)}, counted, True)


def frequency_of(image_count: int, r_thresh: int, c_thresh: int) -> str:
    """`r` below `r_thresh` images, `c` below `c_thresh`, else `f`."""
    return "r" if image_count < r_thresh else "c" if image_count < c_thresh else "f"


@dataclass(frozen=True)
class _Counted:
    records: list[bytes]
    """The categories' new records."""
    image_counts: Ints
    instance_counts: Ints
    changes: list[str]
    """What became of whose frequency."""


def _open(path: Path, *, bypass: bool) -> Annotations:
    # What is recounted is not asked for.
    if bypass:
        return open_annotations(path, images=("pos_category_ids",), categories=(), spans={"categories"})
    return open_annotations(path, images=(), annotations=(), categories=(), spans={"categories"})


def _count(source: Annotations, options: CountOptions, *, add_frequency: bool) -> _Counted:
    categories = source.categories
    if options.bypass:
        image_counts = instance_counts = _count_positives(categories, source.images)
    else:
        image_counts, instance_counts = image_and_instance_counts(
            find_positions(source.images["id"], source.annotations["image_id"]),
            find_positions(categories["id"], source.annotations["category_id"]),
            len(categories),
        )
    require_some(len(categories), "class", source.path)
    require_some(
        int(instance_counts.sum()),
        "class in any image" if options.bypass else "annotation",
        source.path,
        hint="" if options.bypass else "for a file without annotations --bypass counts the images' pos_category_ids",
    )
    records, changes = [], []
    for index in range(len(categories)):
        fields: dict[str, bytes | None] = {
            "image_count": b"%d" % image_counts[index],
            "instance_count": b"%d" % instance_counts[index],
        }
        record = categories.raw(index)
        if add_frequency:
            after = frequency_of(int(image_counts[index]), options.r_thresh, options.c_thresh)
            fields["frequency"] = b'"%b"' % after.encode()
            if change := _change(record, after):
                changes.append(change)
        records.append(edit_record(record, fields))
    return _Counted(records, image_counts, instance_counts, changes)


def _count_positives(categories: RecordTable, images: RecordTable) -> Ints:
    position = {number: index for index, number in enumerate(categories["id"].tolist())}
    counts = np.zeros(len(categories), np.int64)
    for index, positive in enumerate(images["pos_category_ids"]):
        for category in set(positive):
            if category not in position:
                raise images.error(index, f'has {category} in pos_category_ids, which is not in "categories"')
            counts[position[category]] += 1
    return counts


def _change(record: bytes, after: str) -> str:
    """What became of a category's frequency, in words; empty if nothing did."""
    fields = {name: decode_record(value) for name, value in take_apart(record).items() if name in _NOTED}
    before = fields.get("frequency")
    return (
        "" if before == after else f"{fields.get('name') or fields['id']}: frequency {before or 'none'} is now {after}"
    )


_NOTED = ("id", "name", "frequency")


def _summary(step: str, outputs: dict[str, str], counted: _Counted, add_frequency: bool) -> StepSummary:
    counts = {
        "classes": len(counted.records),
        "classes without images": int((counted.image_counts == 0).sum()),
        "objects": int(counted.instance_counts.sum()),
    }
    if add_frequency:
        counts["changes of frequency"] = len(counted.changes)
    more = len(counted.changes) - EXAMPLES_KEPT
    notes = (
        *counted.changes[:EXAMPLES_KEPT],
        *([f"and {more:,} more changes of frequency"] if more > 0 else []),
    )
    return StepSummary(step=step, outputs=outputs, counts=counts, notes=notes)
