"""Keep the base classes of an annotation file only: OVTrack trains on LVIS's common and frequent classes."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.annotation_file import AnnotationFile, RecordTable
from ovforge.annotation_io.annotation_writer import write_annotation_file
from ovforge.annotation_io.edited_records import EditedRecords
from ovforge.annotation_io.record_edit import edit_record
from ovforge.annotations.checked import CheckedFile, check_frequencies, excluded_categories
from ovforge.annotations.counts import positions
from ovforge.files.atomic import atomic_file, check_output
from ovforge.options.annotations import BaseClassesOptions, IdMode
from ovforge.parallel import Workers
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress

Ints = NDArray[np.int64]


class ListedImage(msgspec.Struct, frozen=True):
    """An image with its lists of category ids."""

    id: int
    neg_category_ids: list[int] = []
    not_exhaustive_category_ids: list[int] = []


def base_classes(options: BaseClassesOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Copy an annotation file without the classes of the frequencies `options.exclude`; write the others' names.

    Annotations of these classes go, and so do their ids in `neg_category_ids` and `not_exhaustive_category_ids`. In
    compact mode the other classes are numbered 1, 2, 3, ..., here, in the annotations and in both lists. All images
    stay. The class names are those of the output's categories, one a line, in their order.

    Raises:
        OutputExistsError: an output is there and `overwrite` is false.
        AnnotationFileError: the input is malformed, or a category has no frequency.
    """
    exclude = check_frequencies(options.exclude)
    check_output(options.output, overwrite=options.overwrite)
    # OVTrack's own list may lie there, a download: nobody is told to replace it.
    check_output(
        options.class_names_output,
        overwrite=options.overwrite,
        hint="--class-names=FILE writes the class list elsewhere",
    )
    progress("read", 0, 2)
    with Workers(), CheckedFile(options.annotations, images=ListedImage) as source:
        categories, annotations, file = source.categories, source.annotations, source.file
        kept = ~excluded_categories(categories, exclude)
        new_ids: Ints = np.cumsum(kept, dtype=np.int64) if options.mode is IdMode.COMPACT else categories["id"]
        renumbered = dict(zip(categories["id"][kept].tolist(), new_ids[kept].tolist(), strict=True))
        where = positions(annotations["category_id"], categories["id"])
        rows = np.flatnonzero(kept[where])
        unknown = Drops()
        progress("write", 1, 2)
        unchanged = all(old == new for old, new in renumbered.items())
        replacements = {
            "annotations": file.runs(annotations, kept[where])
            if unchanged
            else [_renumbered(file, annotations, rows, new_ids[where])],
            "images": [_relisted(file, source.images, renumbered, set(categories["id"].tolist()), unknown)],
            "categories": (
                edit_record(categories.raw(index), {"id": b"%d" % new_ids[index]})
                for index in np.flatnonzero(kept).tolist()
            ),
        }
        with atomic_file(options.class_names_output, overwrite=options.overwrite) as names:
            names.write("".join(f"{name}\n" for name in categories["name"][kept]).encode())
            write_annotation_file(
                options.output,
                {section: replacements.get(section, file.whole(section)) for section in file.sections},
                overwrite=options.overwrite,
            )
        skipped = annotations["id"][~kept[where]]
    drops = Drops()
    if len(rows) < len(annotations):
        drops.add_all("annotation", "its class is not a base class", skipped)
    drops.merge(unknown)
    progress("write", 2, 2)
    return StepSummary(
        step="lvis base-classes",
        outputs={"annotations": str(options.output), "class names": str(options.class_names_output)},
        counts={
            "classes in": len(categories),
            "classes out": int(kept.sum()),
            "annotations in": len(annotations),
            "annotations out": len(rows),
            "category ids": options.mode.value,
        },
        drops=drops.freeze(),
        next_command="ovforge lvis pack-images",
    )


def _renumbered(file: AnnotationFile, annotations: RecordTable, rows: Ints, new_ids: Ints) -> EditedRecords:
    return EditedRecords(
        (file.path,),
        np.zeros(len(rows), np.int8),
        annotations.starts[rows],
        annotations.stops[rows],
        numbers={"category_id": new_ids[rows]},
    )


def _relisted(
    file: AnnotationFile, images: RecordTable, renumbered: dict[int, int], known: set[int], drops: Drops
) -> EditedRecords:
    """The images, with both lists in new ids."""
    texts: dict[str, list[bytes | None]] = {}
    for field in ("neg_category_ids", "not_exhaustive_category_ids"):
        texts[field] = []
        for index, old_ids in enumerate(images[field]):
            new_ids = [renumbered[old] for old in old_ids if old in renumbered]
            texts[field].append(None if new_ids == old_ids else str(new_ids).encode())
            if len(new_ids) < len(old_ids):
                for old in old_ids:
                    if old not in known:
                        drops.add(
                            f"id in {field}", "there is no such category", f"{old} of image {images['id'][index]}"
                        )
    return EditedRecords((file.path,), np.zeros(len(images), np.int8), images.starts, images.stops, texts=texts)
