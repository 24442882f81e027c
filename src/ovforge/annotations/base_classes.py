"""Keep the base classes of an annotation file only: OVTrack trains on LVIS's common and frequent classes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.annotation_file import RecordTable
from ovforge.annotation_io.annotation_writer import Section, write_annotation_file
from ovforge.annotation_io.door import Annotations, open_annotations
from ovforge.annotation_io.edited_records import EditedRecords
from ovforge.annotation_io.ordering import find_positions
from ovforge.annotation_io.record_edit import edit_record
from ovforge.annotation_io.schema import ID_LISTS as _ID_LISTS
from ovforge.annotation_io.schema import Fields
from ovforge.annotations.frequencies import check_frequencies, excluded_categories
from ovforge.errors import InputError, Place
from ovforge.files.atomic import atomic_file, check_output
from ovforge.options.annotations import BASE_CLASS_NAMES, BaseClassesOptions, IdMode
from ovforge.options.base import by_keywords
from ovforge.options.layout import TRACKING_BASE
from ovforge.parallel import Workers
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress, require_some, shell_command

CLASS_NAMES_ELSEWHERE = "--class-names=FILE writes the class list elsewhere"
ALL_ELSEWHERE = "it lists other classes than the annotation file: --out=FILE writes all files to another folder"

Ints = NDArray[np.int64]


@by_keywords(BaseClassesOptions)
def base_classes(options: BaseClassesOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Copy an annotation file without the classes of the frequencies `options.exclude`; write the others' names.

    Annotations and tracks of these classes go, and so do their ids in the lists of images and videos
    (`neg_category_ids`, `not_exhaustive_category_ids`, `pos_category_ids`). In compact mode the other classes are
    numbered 1, 2, 3, ..., in all these places together. All images stay. Two files list class names, one a line: those
    of the output's categories, and those of all categories of the input, in their order. OVTrack's configurations read
    the second one.

    Raises:
        OutputExistsError: an output is there and `overwrite` is false.
        AnnotationFileError: the input is malformed, or a category has no frequency.
    """
    exclude = check_frequencies(options.exclude)
    if options.class_names_output == options.all_names_output:
        raise InputError(
            "is the file of all classes' names",
            place=Place(str(options.class_names_output)),
            hint=f"--class-names=FILE writes the base classes' names elsewhere; the default is {BASE_CLASS_NAMES}",
        )
    check_output(options.output, overwrite=options.overwrite)
    progress("read", 0, 2)
    with (
        Workers(),
        open_annotations(
            options.annotations, images=_ID_LISTS, annotations=(), categories=("name", "frequency")
        ) as source,
    ):
        categories, annotations, file = source.categories, source.annotations, source.file
        kept = ~excluded_categories(categories, exclude)
        require_some(int(kept.sum()), "class", options.annotations, "that is kept")
        lists = {
            options.class_names_output: (_lines(categories["name"][kept]), CLASS_NAMES_ELSEWHERE),
            options.all_names_output: (_lines(categories["name"]), ALL_ELSEWHERE),
        }
        for list_path, (names, hint) in lists.items():
            _check_class_names(list_path, names, hint, overwrite=options.overwrite)
        new_ids: Ints = np.cumsum(kept, dtype=np.int64) if options.mode is IdMode.COMPACT else categories["id"]
        renumbered = dict(zip(categories["id"][kept].tolist(), new_ids[kept].tolist(), strict=True))
        where = find_positions(categories["id"], annotations["category_id"])
        rows = np.flatnonzero(kept[where])
        require_some(len(rows), "annotation", options.annotations, "of a class that is kept")
        drops = Drops()
        _count_unknown(source, drops)
        progress("write", 1, 2)
        unchanged = all(old == new for old, new in renumbered.items())
        sections: dict[str, Section] = {section: file.whole(section) for section in file.sections}
        sections |= {
            "annotations": file.runs(annotations, kept[where])
            if unchanged
            else [_edited(source, annotations, rows, renumbered, {"category_id": new_ids[where][rows]})],
            "images": [_edited(source, source.images, np.arange(len(source.images)), renumbered)],
            "categories": (
                edit_record(categories.raw(index), {"id": b"%d" % new_ids[index]})
                for index in np.flatnonzero(kept).tolist()
            ),
            **_others(source, renumbered, drops),
        }
        with contextlib.ExitStack() as stack:
            for list_path, (names, _) in lists.items():
                stack.enter_context(_class_names(list_path, names, overwrite=options.overwrite))
            write_annotation_file(options.output, sections, overwrite=options.overwrite)
        skipped = annotations["id"][~kept[where]]
    if len(skipped):
        drops.add_all("annotation", "its class is not a base class", skipped)
    progress("write", 2, 2)
    return StepSummary(
        step="lvis base-classes",
        outputs={
            "annotations": str(options.output),
            "class names": str(options.class_names_output),
            "names of all classes": str(options.all_names_output),
        },
        counts={
            "classes in": len(categories),
            "classes out": int(kept.sum()),
            "annotations in": len(annotations),
            "annotations out": len(rows),
            "category ids": options.mode.value,
        },
        drops=drops.freeze(),
        next_command=shell_command(
            "ovforge", "lvis", "pack-images", ann=None if options.output == TRACKING_BASE else options.output
        ),
    )


def _edited(
    source: Annotations,
    table: RecordTable,
    rows: Ints,
    renumbered: dict[int, int],
    numbers: dict[str, Ints] | None = None,
) -> EditedRecords:
    """The records `rows` with every list of category ids in new ids, without those of the other classes."""
    return EditedRecords(
        (source.path,),
        np.zeros(len(rows), np.int8),
        table.starts[rows],
        table.stops[rows],
        numbers=numbers or {},
        id_lists=dict.fromkeys(_ID_LISTS, renumbered),
    )


def _others(source: Annotations, renumbered: dict[int, int], drops: Drops) -> dict[str, Section]:
    """The sections of a video data set: what is said of classes there follows the new ids, too."""
    found: dict[str, Section] = {}
    if "videos" in source.file.sections:
        videos = source.file.table("videos", Fields("videos", _ID_LISTS))
        found["videos"] = [_edited(source, videos, np.arange(len(videos)), renumbered)]
    if "tracks" in source.file.sections:
        tracks = source.file.table("tracks", Fields("tracks", ("category_id",)))
        tracks.check_known("category_id", source.categories["id"], "categories")
        ids = tracks["category_id"]
        rows = np.flatnonzero(np.isin(ids, list(renumbered)))
        new_ids = np.array([renumbered[old] for old in ids[rows].tolist()], np.int64)
        found["tracks"] = [_edited(source, tracks, rows, renumbered, {"category_id": new_ids})]
        if len(rows) < len(ids):
            drops.add("track", "its class is not a base class", count=len(ids) - len(rows))
    return found


def _count_unknown(source: Annotations, drops: Drops) -> None:
    """Count the ids in the images' lists that are of no category: they are left out with those of the other classes."""
    known = set(source.categories["id"].tolist())
    images = source.images
    for field in _ID_LISTS:
        for index, ids in enumerate(images[field]):
            for unknown in () if known.issuperset(ids) else (one for one in ids if one not in known):
                drops.add(f"id in {field}", "there is no such category", f"{unknown} of image {images['id'][index]}")


def _lines(names: NDArray[np.object_]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def _check_class_names(path: Path, names: bytes, hint: str, *, overwrite: bool) -> None:
    """Refuse another list of names in an output's place: it may be OVTrack's own, a download."""
    if not _holds(path, names):
        # Nobody is told to replace it.
        check_output(path, overwrite=overwrite, hint=hint)


def _holds(path: Path, names: bytes) -> bool:
    return path.is_file() and path.read_bytes().replace(b"\r\n", b"\n").rstrip(b"\n") == names.rstrip(b"\n")


@contextlib.contextmanager
def _class_names(path: Path, names: bytes, *, overwrite: bool) -> Iterator[None]:
    """Publish a list of class names after what is done within; one that is there and says the same stays."""
    if _holds(path, names):
        yield
        return
    with atomic_file(path, overwrite=overwrite) as file:
        file.write(names)
        yield
