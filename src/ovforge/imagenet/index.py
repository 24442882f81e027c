"""Index the ImageNet pictures of the LVIS classes: `imagenet_lvis_image_info.json`, weak labels for detectors.

The file is that of MM-OVOD, OVMR and Detic: `categories` with `image_count` set to the pictures found, `images` with
`pos_category_ids`, and no annotations. Categories keep their order, a category's pictures come part by part (train,
val, small classes) and by name; ids count from 1.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from ovforge.errors import ArchiveError, ImageError, InputError, OvforgeError
from ovforge.imagenet.workers import run_ordered, worker_count
from ovforge.options.imagenet import IndexOptions
from ovforge.records.lvis import Category
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress
from ovforge.sources.imagenet21k import ImageNet21k
from ovforge.storage.annotation_file import read_value
from ovforge.storage.atomic import atomic_file, check_output
from ovforge.taxonomy import category_differences, releases_of, substitute_synsets, synset_to_wnid

_SHOWN_DIFFERENCES = 5


class _ClassJob(NamedTuple):
    wnid: str
    category_id: int


class _ClassIndex(NamedTuple):
    """The pictures of one class: each picture's JSON without its id, which only the parent knows."""

    images: list[str]
    problems: list[tuple[str, OvforgeError]]
    """(reason, error) of every file left out."""


def index(options: IndexOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Write the index of the ImageNet pictures whose synset is an LVIS class.

    Raises:
        MissingInputError: the ImageNet folder or the annotation file is not there.
        InputError: the folder is no ImageNet-21K tree; with `strict`, a category's synset has no ImageNet id.
        ImageError, ArchiveError: with `strict`, the first file that is no readable picture.
        OutputExistsError: the output is there already.
    """
    check_output(options.out, overwrite=options.overwrite)
    workers = worker_count(options.workers)
    raw = json.loads(read_value(options.lvis, "categories"))
    categories = _categories(options, raw)
    drops = Drops()
    with ImageNet21k(options.imagenet) as tree:
        present = set(tree.classes())
        strays, layout = tree.strays, tree.layout
    for stray in strays:
        drops.add("entry", "no folder or tar of an ImageNet class", stray)
    jobs = _jobs(options, categories, present, drops)

    pieces: list[bytes] = []
    counts: dict[int, int] = {}
    total = 0
    results = run_ordered(functools.partial(ImageNet21k, options.imagenet), _index_class, jobs, workers=workers)
    for done, (job, found) in enumerate(zip(jobs, results, strict=True), start=1):
        if found.problems and options.strict:
            raise found.problems[0][1]
        for reason, error in found.problems:
            drops.add("file", reason, error.message)
        if found.images:
            pieces.append(
                ", ".join(f'{{"id": {total + i}, {image}' for i, image in enumerate(found.images, 1)).encode()
            )
        total += len(found.images)
        counts[job.category_id] = len(found.images)
        progress("classes", done, len(jobs))

    with atomic_file(options.out, overwrite=options.overwrite) as file:
        for piece in _file_pieces(raw, counts, pieces):
            file.write(piece)
    with_pictures = {id_ for id_, count in counts.items() if count}
    return StepSummary(
        step="imagenet index",
        outputs={"index": str(options.out)},
        counts={
            "layout": "train, val, small classes" if layout == "parts" else "flat",
            "categories": len(categories),
            "with pictures": len(with_pictures),
            "without pictures": len(categories) - len(with_pictures),
            "pictures": total,
        },
        drops=drops.freeze(),
        notes=(*_notes_on_missing(categories, with_pictures, present), *_notes_on_table(categories)),
        next_command=f"ovforge lvis category-info --bypass --add-freq --ann {options.out}",
    )


def _categories(options: IndexOptions, raw: Any) -> list[Category]:
    try:
        return msgspec.convert(raw, list[Category])
    except msgspec.ValidationError as error:
        raise InputError(
            f"{options.lvis}: categories are not those of an LVIS file ({error})",
            hint="give the LVIS v1 train or val annotations with --lvis-meta-path",
        ) from error


def _jobs(options: IndexOptions, categories: list[Category], present: set[str], drops: Drops) -> list[_ClassJob]:
    """One job for every category whose class is in the tree, in the categories' order."""
    wnids = synset_to_wnid()
    # Of two categories with one synset the last counts, at the first one's place, as in the originals.
    by_synset = {category.synset: category for category in categories}
    for category in categories:
        if by_synset[category.synset] is not category:
            drops.add("category", "another category has the same synset", f"{category.name} ({category.synset})")
    jobs = []
    for synset, category in by_synset.items():
        if synset in wnids:
            if wnids[synset] in present:
                jobs.append(_ClassJob(wnids[synset], category.id))
            continue
        # LVIS's own synset is expected to have no id; any other is news.
        if options.strict and synset != "stop_sign.n.01":
            raise InputError(
                f"{options.lvis}: category {category.id} ({category.name}): synset {synset!r} has no ImageNet id",
                hint="without --strict it is left out; only synsets of LVIS v1 and their substitutes are known",
            )
        drops.add("category", "its synset has no ImageNet id", f"{category.name} ({synset})")
    return jobs


def _index_class(tree: ImageNet21k, job: _ClassJob) -> _ClassIndex:
    """Sizes of all pictures of one class; runs in a worker."""
    found = _ClassIndex([], [])
    tail = f'"pos_category_ids": [{job.category_id}], "width": '
    seen: set[str] = set()
    for place in tree.places(job.wnid):
        try:
            names = tree.pictures(job.wnid, parts=(place.part,))
        except (ArchiveError, ImageError) as error:
            found.problems.append(("class folder or tar that cannot be used", error))
            continue
        for name in names:
            file = name.removeprefix(place.prefix)
            problem = None
            if file in seen:
                problem = ("in two parts of the tree, taken once", ImageError(name, "is in another part as well"))
            elif not _is_utf8(name):
                problem = ("its name is not UTF-8", ImageError(ascii(name), "has a name that is not UTF-8"))
            if problem is not None:
                found.problems.append(problem)
                continue
            seen.add(file)
            try:
                width, height = tree.read_size(name)
            except ImageError as error:
                found.problems.append(("no readable picture", error))
                continue
            found.images.append(f'"file_name": {json.dumps(name)}, {tail}{width}, "height": {height}}}')
    return found


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _file_pieces(raw: list[dict[str, Any]], counts: dict[int, int], images: list[bytes]) -> Iterator[bytes]:
    """The file as json.dump would write it: the same separators and the same order of keys."""
    counted = [{**category, "image_count": counts.get(category["id"], 0)} for category in raw]
    yield b'{"categories": ' + json.dumps(counted).encode() + b', "images": ['
    for i, piece in enumerate(images):
        yield b", " + piece if i else piece
    yield b'], "annotations": []}'


def _notes_on_missing(categories: list[Category], with_pictures: set[int], present: set[str]) -> Iterator[str]:
    missing = [c for c in categories if c.id not in with_pictures]
    never = [c for c in missing if not releases_of(c.synset)]
    if never:
        yield f"{len(never)} classes without pictures have none in any release of ImageNet-21K"
    absent = [c for c in missing if releases_of(c.synset)]
    if absent:
        yield f"{len(absent)} classes are in ImageNet-21K, but not here: {_names([c.synset for c in absent])}"
    here = {category.synset for category in categories}
    wnids = synset_to_wnid()
    lacking = [
        f"{substitute} (for {synset})"
        for synset, group in substitute_synsets().items()
        for substitute in group
        if synset in here
        and releases_of(substitute)
        and "winter21" not in releases_of(substitute)
        and wnids[substitute] not in present
    ]
    if lacking:
        yield (
            "Winter 2021 lacks most classes of people that Fall 2011 has: none is an LVIS class, "
            f"but one is a substitute that is not here: {_names(lacking)}"
        )


def _notes_on_table(categories: list[Category]) -> Iterator[str]:
    differences = category_differences(categories)
    yield from differences[:_SHOWN_DIFFERENCES]
    if len(differences) > _SHOWN_DIFFERENCES:
        yield f"{len(differences) - _SHOWN_DIFFERENCES} more differences from the packaged classes of LVIS v1"


def _names(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
