"""From the annotation formats of other data sets to the COCO/LVIS file that all steps take.

Each reader yields records one by one, so a file of any size passes through little memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ovforge.annotation_io.annotation_writer import write_annotation_file
from ovforge.annotations.importing.coco_like import read_coco_like
from ovforge.annotations.importing.imported import Imported
from ovforge.annotations.importing.open_images import read_open_images
from ovforge.annotations.importing.video import read_burst, read_youtube_vis
from ovforge.errors import AnnotationFileError
from ovforge.files.atomic import check_output
from ovforge.options.base import by_keywords
from ovforge.options.importing import ImportKind, ImportOptions
from ovforge.records.reporting import Progress, StepSummary, no_progress

__all__ = ["import_annotations"]


@by_keywords(ImportOptions)
def import_annotations(options: ImportOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Write the annotations of another data set as one COCO/LVIS file, with all fields that the release has.

    Raises:
        OutputExistsError: the output is there and `overwrite` is false.
        InputError: a file is missing or of another format, or nothing would be left of it; nothing is written.
    """
    check_output(options.out, overwrite=options.overwrite)
    progress("read", 0, 1)
    imported = _read(options)
    sections = {
        name: value if isinstance(value, bytes) else _never_empty(name, value, options)
        for name, value in imported.sections.items()
    }
    write_annotation_file(options.out, sections, overwrite=options.overwrite)
    progress("read", 1, 1)
    return StepSummary(
        step="import",
        outputs={"annotations": str(options.out)},
        counts=dict(imported.counts),
        drops=imported.drops.freeze(),
        notes=tuple(imported.notes),
    )


def _read(options: ImportOptions) -> Imported:
    match options.kind:
        case ImportKind.OPEN_IMAGES:
            return read_open_images(options)
        case ImportKind.BURST:
            return read_burst(options.annotations)
        case ImportKind.YOUTUBE_VIS | ImportKind.LV_VIS:
            return read_youtube_vis(options.annotations)
        case _:
            return read_coco_like(options.kind, options.annotations)


def _never_empty(section: str, records: Iterable[bytes], options: ImportOptions) -> Iterator[bytes]:
    empty = True
    for record in records:
        empty = False
        yield record
    if empty and section in ("images", "annotations"):
        raise AnnotationFileError(
            options.annotations,
            f"nothing would be left: it has no usable {section}",
            hint=f"is it a file of {options.kind.value}?",
        )
