"""Take the annotations of rare classes out of an LVIS file, for training on base classes only."""

from __future__ import annotations

import numpy as np

from ovforge.annotation_io.annotation_writer import write_annotation_file
from ovforge.annotation_io.door import open_annotations
from ovforge.annotations.frequencies import check_frequencies, excluded_categories
from ovforge.files.atomic import check_output
from ovforge.options.annotations import RemoveRareOptions
from ovforge.options.base import by_keywords
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress, require_some


@by_keywords(RemoveRareOptions)
def remove_rare(options: RemoveRareOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Copy an annotation file without the annotations whose class has one of the frequencies `options.exclude`.

    Images, categories and the images' lists of category ids stay as they are, as in MM-OVOD.

    Raises:
        OutputExistsError: the output is there and `overwrite` is false.
        AnnotationFileError: the input is malformed, or a category has no frequency.
    """
    exclude = check_frequencies(options.exclude)
    check_output(options.output, overwrite=options.overwrite)
    progress("read", 0, 2)
    with open_annotations(options.annotations, images=(), annotations=(), categories=("frequency",)) as source:
        categories, annotations, file = source.categories, source.annotations, source.file
        excluded = excluded_categories(categories, exclude)
        keep = ~np.isin(annotations["category_id"], categories["id"][excluded])
        require_some(int(keep.sum()), "annotation", options.annotations, "of a class that is kept")
        progress("write", 1, 2)
        write_annotation_file(
            options.output,
            {
                section: file.runs(annotations, keep) if section == "annotations" else file.whole(section)
                for section in file.sections
            },
            overwrite=options.overwrite,
        )
        drops = Drops()
        for frequency in sorted(exclude):
            ids = categories["id"][categories["frequency"] == frequency]
            skipped = annotations["id"][np.isin(annotations["category_id"], ids)]
            drops.add_all("annotation", f"its class has frequency {frequency}", skipped)
    progress("write", 2, 2)
    return StepSummary(
        step="lvis remove-rare",
        outputs={"annotations": str(options.output)},
        counts={
            "annotations in": len(annotations),
            "annotations out": int(keep.sum()),
            "classes without annotations now": int(excluded.sum()),
        },
        drops=drops.freeze(),
    )
