"""Index the ImageNet images of the LVIS classes: `imagenet_lvis_image_info.json`, weak labels for detectors.

The file is that of MM-OVOD, OVMR and Detic: `categories` with `image_count` set to the images found, `images` with
`pos_category_ids`, and no annotations. Categories keep their order, a category's images come part by part (train,
val, small classes) and by name; ids count from 1.

The work is a run over the classes, in a folder beside the output: `OUT.run`. Whoever finds all of them done puts the
file together and takes the folder away.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from ovforge import __version__
from ovforge.annotation_io.door import categories_of, open_annotations
from ovforge.annotation_io.record_edit import edit_record
from ovforge.errors import ArchiveError, ImageError, InputError, NothingDoneError, WorkError
from ovforge.files.atomic import atomic_file, check_output, temporary_path
from ovforge.imagenet.index_task import ClassRows, IndexedClass, IndexTask
from ovforge.options.base import by_keywords
from ovforge.options.imagenet import IndexOptions
from ovforge.records.lvis import Category
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress, require_some, shell_command
from ovforge.records.run_layout import MANIFEST
from ovforge.runs.executors.base import Executor
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.runs.executors.local import LocalExecutor, available_cores
from ovforge.runs.heartbeat import worker_statuses
from ovforge.runs.plan import InputFile, Plan, freeze, input_names
from ovforge.runs.run import RunResult, ShardSelection, check_overwrite, run_plan
from ovforge.sources.imagenet21k import ImageNet21k
from ovforge.taxonomy import category_differences, releases_of, substitute_synsets, synset_to_wnid

HEAD_START_SECONDS = 1.0
"""A tree that is indexed in this time needs no worker processes: one takes as long to start."""
SMALLEST_SHARD, LARGEST_SHARD, SHARDS_AIMED_AT = 4, 8, 64
"""Classes: each has about a thousand images, a fiftieth of a second where they are in memory."""
_SHOWN_DIFFERENCES = 5


@by_keywords(IndexOptions)
def index(
    options: IndexOptions,
    executor: Executor | None = None,
    *,
    shards: ShardSelection | None = None,
    progress: Progress = no_progress,
) -> StepSummary:
    """Write the index of the ImageNet images whose synset is an LVIS class.

    Args:
        options: which tree, which categories, where to.
        executor: who does the work, after a first second in this process; it has no influence on the result. None: a
            process per core.
        shards: only one part of the shards (several processes share the work); the file is put together by whoever
            finds all of them done.

    Raises:
        MissingInputError: the ImageNet folder or the annotation file is not there.
        InputError: the folder is not an ImageNet-21K tree; with `strict`, a category's synset has no ImageNet id.
        ImageError, ArchiveError: with `strict`, the first file that is not a readable image.
        OutputExistsError: the output is there already.
        PlanMismatchError: an index that was begun with other options, or from another tree, is unfinished.
        WorkError: shards failed; the others are done and stay.
    """
    check_output(options.out, overwrite=options.overwrite)
    if options.overwrite:
        check_overwrite(options.out, shards)
    with open_annotations(options.lvis, categories=("name", "synset", "frequency")) as lvis:
        require_some(len(lvis.categories), "class", options.lvis)
        categories_json = lvis.file.value("categories")
        raw = [lvis.categories.raw(index) for index in range(len(lvis.categories))]
        categories = categories_of(lvis.categories)
    drops = Drops()
    with ImageNet21k(options.imagenet) as tree:
        present = set(tree.classes())
        for entry in tree.unrecognised:
            drops.add("entry", "is not a folder or tar of an ImageNet class", entry)
        classes = _classes(options, categories, present, drops)
        plan = _plan(options, categories_json, classes, tree)
        layout = tree.layout
        unfinished = (f"{tree.path}: {tree.unfinished}",) if tree.unfinished else ()
    folder = run_folder(options.out)
    result: RunResult | None = None
    try:
        result = run_plan(
            folder,
            plan,
            IndexTask(options.imagenet, classes, options.strict),
            InProcessExecutor(executor or LocalExecutor(available_cores()), HEAD_START_SECONDS),
            overwrite=options.overwrite and _holds_another_run(folder, plan),
            shards=shards,
            progress=progress,
        )
        if result.complete:
            _put_together(options.out, raw, categories, result)
    except (ImageError, ArchiveError):  # the verdict of a strict index: nothing to go on with
        if shards is None:
            _remove(folder)
        raise
    except (WorkError, FileNotFoundError):
        if not _was_put_together(options):
            raise
    if result is None or not result.complete:
        return _unfinished(options, plan, result)
    _remove(folder)
    counts = _images_by_category(result)
    with_images = {id_ for id_, count in counts.items() if count}
    drops.merge(result.drops, listed=True)
    return StepSummary(
        step="imagenet index",
        outputs={"index": str(options.out)},
        counts={
            "layout": "train, val, small classes" if layout == "parts" else "flat",
            "categories": len(categories),
            "with images": len(with_images),
            "without images": len(categories) - len(with_images),
            "images": sum(counts.values()),
        },
        drops=drops.freeze(),
        notes=(*unfinished, *_notes_on_missing(categories, with_images, present), *_notes_on_table(categories)),
        next_command=shell_command("ovforge", "lvis", "category-info", "--bypass", "--add-freq", ann=options.out),
    )


def _check_some(options: IndexOptions, result: RunResult, classes: tuple[IndexedClass, ...]) -> None:
    if any(_images_by_category(result).values()):
        return
    if not classes:
        raise NothingDoneError(
            f"{options.imagenet}: holds none of the classes of {options.lvis}",
            hint="`ovforge doctor` shows what each of them looks like",
        )
    reasons = "; ".join(str(drop) for drop in result.drops[:3]) or "they are empty"
    raise NothingDoneError(f"{options.imagenet}: not one readable image in its {len(classes):,} classes ({reasons})")


def run_folder(out: Path) -> Path:
    """Where the unfinished index that is to become `out` is kept."""
    return out.with_name(f"{out.name}.run")


def _plan(options: IndexOptions, categories: bytes, classes: tuple[IndexedClass, ...], tree: ImageNet21k) -> Plan:
    return Plan(
        task="imagenet index",
        items=len(classes),
        shard_size=min(max(len(classes) // SHARDS_AIMED_AT, SMALLEST_SHARD), LARGEST_SHARD),
        options={"strict": options.strict},
        inputs={
            "categories": InputFile(
                str(options.lvis), len(categories), hashlib.sha256(categories).hexdigest(), "the categories in it"
            ),
            "classes": input_names(options.imagenet, _describe_images(tree, classes)),
        },
        versions={"ovforge": __version__},
    )


def _describe_images(tree: ImageNet21k, classes: tuple[IndexedClass, ...]) -> Iterator[str]:
    """Where every class lies and when a file was last added to it or taken away."""
    for each in classes:
        for place in tree.places(each.wnid):
            path = tree.path / (place.prefix.rstrip("/") + (".tar" if place.is_tar else ""))
            changed = path.stat().st_mtime_ns if path.exists() else 0
            yield f"{each.category_id} {place.prefix} {place.is_tar} {changed}"


def _holds_another_run(folder: Path, plan: Plan) -> bool:
    """Whether an unfinished index there was begun differently; the same one goes on, also with `overwrite`."""
    try:
        freeze(plan, folder)
    except InputError:
        return True
    return False


def _unfinished(options: IndexOptions, plan: Plan, result: RunResult | None) -> StepSummary:
    """What there is to say for a part that is not the last."""
    if result is None or _was_put_together(options):
        _remove(run_folder(options.out))  # what this process has left there since
        note = "another process has put the index together"
        return StepSummary(step="imagenet index", outputs={"index": str(options.out)}, notes=(note,))
    total = len(plan.shards())
    return StepSummary(
        step="imagenet index",
        counts={"classes": plan.items, "classes done": result.items},
        drops=result.drops,
        notes=(f"{total - len(result.entries):,} of {total:,} shards are still to be done, by other parts",),
        next_command="the same command again, when the other parts are done",
    )


def _was_put_together(options: IndexOptions) -> bool:
    """Whether another process has put the index together since this one began, and has taken the folder away."""
    if not options.out.exists():
        return False
    return not options.overwrite or not (run_folder(options.out) / MANIFEST).exists()


def _remove(folder: Path) -> None:
    """Take the run's folder away, in one step, unless another process is at work in it: then that one will."""
    if any(seen.alive for seen in worker_statuses(folder)):
        return
    leaving = temporary_path(folder)
    with contextlib.suppress(OSError):
        folder.rename(leaving)
        shutil.rmtree(leaving)


def _images_by_category(result: RunResult) -> dict[int, int]:
    return {int(id_): count for id_, count in result.counts.get("images", {}).items()}


def _put_together(out: Path, raw: list[bytes], categories: Sequence[Category], result: RunResult) -> None:
    # What is there by now is to be replaced, or another process of this run wrote the same.
    with atomic_file(out, overwrite=True) as file:
        for piece in _file_pieces(raw, categories, _images_by_category(result), _rows(result.shard_files)):
            file.write(piece)


def _rows(shard_files: Iterable[Path]) -> Iterator[bytes]:
    """The images of class after class, numbered."""
    total = 0
    for path in shard_files:
        for each in msgspec.json.decode(path.read_bytes(), type=list[ClassRows]):
            if each.rows:
                yield ", ".join(f'{{"id": {total + i}, {row}' for i, row in enumerate(each.rows, 1)).encode()
            total += len(each.rows)


def _classes(
    options: IndexOptions, categories: Sequence[Category], present: set[str], drops: Drops
) -> tuple[IndexedClass, ...]:
    """Every category whose class is in the tree, in the categories' order."""
    wnids = synset_to_wnid()
    # Of two categories with one synset the last counts, at the first one's place, as in the originals.
    by_synset = {category.synset: category for category in categories}
    for category in categories:
        if by_synset[category.synset] is not category:
            drops.add("category", "another category has the same synset", f"{category.name} ({category.synset})")
    classes = []
    for synset, category in by_synset.items():
        if synset in wnids:
            if wnids[synset] in present:
                classes.append(IndexedClass(wnids[synset], category.id))
            continue
        # LVIS's own synset is expected to have no id; any other is news.
        if options.strict and synset != "stop_sign.n.01":
            raise InputError(
                f"{options.lvis}: category {category.id} ({category.name}): synset {synset!r} has no ImageNet id",
                hint="without --strict it is skipped; only synsets of LVIS v1 and their substitutes are known",
            )
        drops.add("category", "its synset has no ImageNet id", f"{category.name} ({synset})")
    return tuple(classes)


def _file_pieces(
    raw: list[bytes], categories: Sequence[Category], counts: dict[int, int], images: Iterable[bytes]
) -> Iterator[bytes]:
    """The file as json.dump would write it: the same separators and the same order of keys."""
    counted = (
        edit_record(record, {"image_count": b"%d" % counts.get(category.id, 0)})
        for record, category in zip(raw, categories, strict=True)
    )
    yield b'{"categories": [' + b", ".join(counted) + b'], "images": ['
    for i, piece in enumerate(images):
        yield b", " + piece if i else piece
    yield b'], "annotations": []}'


def _notes_on_missing(categories: Sequence[Category], with_images: set[int], present: set[str]) -> Iterator[str]:
    missing = [c for c in categories if c.id not in with_images]
    never = [c for c in missing if not releases_of(c.synset)]
    if never:
        yield f"{len(never)} classes without images have none in any release of ImageNet-21K"
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


def _notes_on_table(categories: Sequence[Category]) -> Iterator[str]:
    differences = category_differences(categories)
    yield from differences[:_SHOWN_DIFFERENCES]
    if len(differences) > _SHOWN_DIFFERENCES:
        yield f"{len(differences) - _SHOWN_DIFFERENCES} more differences from the packaged classes of LVIS v1"


def _names(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
