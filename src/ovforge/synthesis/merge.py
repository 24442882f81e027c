"""Merge the partitions of a pairs run into one HDF5 file, one pickle file and one file of records.

Nothing is published before it is proven complete: every planned image and each of its second views is there once,
with the size and the CRC-32 that were noted when the partition was made. What was planned is known from the run's
manifest and records, or, for partitions of the original scripts, from the annotation file and the rule by which they
divide it.

The HDF5 file is published last, and an old one is taken away before anything else is replaced. So where `NAME.h5` is,
the files beside it belong to it, and a merge that was killed between its files is simply run again.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import msgspec

from ovforge.annotation_io.door import read_table
from ovforge.errors import DamagedError, InputError, MissingInputError
from ovforge.files.atomic import atomic_path, check_output
from ovforge.files.restricted_pickle import ListWriter, load_list
from ovforge.image_io.hdf5 import ImageReader, ImageSource, ImageWriter, Location, copy_images
from ovforge.image_io.store import ImageStore, open_image_store
from ovforge.options.base import by_keywords
from ovforge.options.pairs import PAIR_FRAMES
from ovforge.options.tracks import PAIRS_IMAGES, MergeOptions
from ovforge.records.reporting import Drop, Drops, Progress, StepSummary, no_progress, require_some
from ovforge.records.run_layout import (
    PartitionFiles,
    check_run_name,
    find_partitions,
    merged_files,
    run_command,
    view_name,
    view_names,
)
from ovforge.runs.plan import Plan, plan_if_any
from ovforge.synthesis.pair_file import About, PairFileWriter, StoredImage, checked_lines, read_about, read_pairs
from ovforge.synthesis.partitions import find_total, partition_problem, partition_sizes
from ovforge.synthesis.run_inputs import check_annotations, planned_annotations

_SHOWN = 5
_VERIFY = "compares all that is published with its checksums and makes again what is damaged, and nothing else"
_FETCH_AGAIN = "fetch the partition again, or make it again with the program that made it"
_EVERY = 500  # images between two calls of `progress`


@by_keywords(MergeOptions)
def merge_pairs(options: MergeOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Merge a run's partitions into `NAME.h5`, `NAME.pkl` and, where it has records, `NAME.pairs.json`.

    Raises:
        MissingInputError: a partition, the annotation file or the image store is not there.
        InputError: something planned is missing or damaged; says what.
        OutputExistsError: the merged file is there and `overwrite` is false.
    """
    target = merged_files(options.folder, options.name, options.out)
    check_output(target.h5, overwrite=options.overwrite)
    run_folder = check_run_name(options.folder, options.name)
    partitions, plan = _partitions(options)
    verify = run_command("generate", options.folder, options.name, "--verify")
    remedy = _FETCH_AGAIN if plan is None else f"`{verify}` {_VERIFY}"
    with _remedy(remedy):
        planned = _planned_names(options, plan, partitions, run_folder)
    require_some(len(planned), "image", run_folder)
    drops = Drops()
    with contextlib.ExitStack() as stack:
        with _remedy(remedy):
            parts = _open(partitions, planned, _variants(options, plan), stack)
        _prove_complete(parts, _Originals(options.images, stack), drops)
        counts = _write(target, parts, drops, progress, remedy=remedy, overwrite=options.overwrite)
    return StepSummary(
        "pairs merge",
        outputs={"images": str(target.h5), "annotations": str(target.pkl)}
        | ({"records": str(target.pairs)} if target.pairs.exists() else {}),
        counts={"partitions": len(parts), **counts},
        drops=drops.freeze(),
        next_command=run_command("annotate", options.folder, options.name, annotations=options.annotations),
    )


@contextlib.contextmanager
def _remedy(remedy: str) -> Iterator[None]:
    """Give `remedy` as the next step where a partition turns out to be damaged."""
    try:
        yield
    except DamagedError as error:
        raise error.with_hint(remedy) from error


def _planned_names(
    options: MergeOptions, plan: Plan | None, partitions: Sequence[PartitionFiles], run_folder: Path
) -> list[str]:
    """The names of all planned images, in order. A run of ovforge has a record of each; for partitions of the original
    scripts, or where an annotation file is given, that file says."""
    if plan is not None and options.annotations is None:
        return [record.file_name for files in partitions for record in read_pairs(files.pairs, _Name)]
    annotations = planned_annotations(options.annotations, plan, run_folder)
    check_annotations(annotations, plan)
    planned: list[str] = read_table(annotations, "images", "name")["name"].tolist()
    return planned[: plan.items if plan is not None else None]


class _Name(msgspec.Struct, gc=False):
    file_name: str


class _View(msgspec.Struct, gc=False):
    """A second view, of which nothing is wanted here."""


class _Noted(msgspec.Struct, gc=False):
    """What is needed of a `PublishedPair`: the annotations are skipped, not decoded."""

    file_name: str
    variants: list[_View]
    images: list[StoredImage]
    drops: tuple[Drop, ...] = ()


@dataclass
class _Part:
    """One partition, opened."""

    files: PartitionFiles
    planned: list[str]
    variants: int
    """How many views each image has."""
    frames: int
    """Of a clip; 2: pairs."""
    reader: ImageReader
    about: About | None
    size: int
    """Of the HDF5 file, in bytes."""
    originals: ImageSource | None = None
    """Where the originals are, if not in the partition."""

    def __post_init__(self) -> None:
        self.is_as_noted = self.about is not None and self.about.h5_size == self.size
        """Whether the HDF5 file is the one whose records say what lies where: then their sums prove its images."""

    def records(self) -> Iterator[_Noted | None]:
        """A record per planned image; None for each where the partition has no records."""
        if self.about is None:
            return iter([None] * len(self.planned))
        return read_pairs(self.files.pairs, _Noted)


def _partitions(options: MergeOptions) -> tuple[list[PartitionFiles], Plan | None]:
    folder = options.folder / options.name
    plan = plan_if_any(folder)
    if plan is not None:
        total = len(plan.shards_by_group())
        if options.partitions not in (None, total):
            raise InputError(f"{folder}: the run has {total} partitions, not {options.partitions}")
    else:
        total = options.partitions or find_total(folder)
    files = find_partitions(folder, total)
    unfinished = {one.h5.name: _problem(one, is_ours=plan is not None) for one in files}
    unfinished = {name: problem for name, problem in unfinished.items() if problem}
    if unfinished:
        first, problem = next(iter(unfinished.items()))
        why = "" if problem == f"{first} is missing" or "are missing" in problem else f" ({problem})"
        generate = run_command("generate", options.folder, options.name)
        raise InputError(
            f"{folder}: {len(unfinished)} of {total} partitions are not finished: {_shown(list(unfinished))}{why}",
            hint=f"`{generate}` resumes the run with its own options and makes what is missing",
        )
    return files, plan


def _problem(files: PartitionFiles, *, is_ours: bool) -> str:
    if is_ours:
        return partition_problem(files)
    return "" if files.h5.is_file() else f"{files.h5.name} is missing"


def _variants(options: MergeOptions, plan: Plan | None) -> int | None:
    made = plan.options.get("variants") if plan is not None else None
    if plan is not None and (frames := plan.options.get("frames", PAIR_FRAMES)) > PAIR_FRAMES:
        if options.variants is not None:
            raise InputError(f"--variants {options.variants}: a clip has all its frames or none", hint="leave it out")
        return int(frames) - 1
    if options.variants is not None and isinstance(made, int) and options.variants > made:
        raise InputError(f"{options.name}: has {made} second views per image, not {options.variants}")
    return options.variants if options.variants is not None else made


def _open(
    partitions: Sequence[PartitionFiles], planned: list[str], variants: int | None, stack: contextlib.ExitStack
) -> list[_Part]:
    edges = [0, *accumulate(partition_sizes(len(planned), len(partitions)))]
    parts = []
    for files, (start, stop) in zip(partitions, pairwise(edges), strict=True):
        reader = stack.enter_context(ImageReader(files.h5))
        about = read_about(files.pairs) if files.pairs.is_file() else None
        frames = about.options.get("frames", PAIR_FRAMES) if about is not None else PAIR_FRAMES
        size = files.h5.stat().st_size
        parts.append(_Part(files, planned[start:stop], variants or 0, frames, reader, about, size))
    if variants is None:
        found = max((_count_variants(part) for part in parts), default=0)
        for part in parts:
            part.variants = found
    return parts


def _count_variants(part: _Part) -> int:
    """How many second views the first image of a partition has."""
    count = 0
    while part.planned and view_name(part.planned[0], count, part.frames) in part.reader:
        count += 1
    return count


class _Originals:
    """The image store, opened when a partition lacks its originals."""

    descriptor = -1

    def __init__(self, path: Path | None, stack: contextlib.ExitStack) -> None:
        self.path = path or next((place for place in PAIRS_IMAGES if place.exists()), PAIRS_IMAGES[0])
        self._stack = stack
        self._store: ImageStore | None = None

    @property
    def store(self) -> ImageStore:
        if self._store is None:
            self._store = self._stack.enter_context(open_image_store(self.path))
        return self._store

    def locate(self, name: str) -> Location | bytes:
        return self.store.read(name)


def _prove_complete(parts: Sequence[_Part], originals: _Originals, drops: Drops) -> None:
    """Check by name, before anything is copied, that all that was planned is there."""
    lacking: list[str] = []
    for part in parts:
        in_file = set() if part.is_as_noted else set(part.reader.names())
        records = part.records()
        seen = 0
        for name, record in zip(part.planned, records, strict=False):
            seen += 1
            if record is not None and record.file_name != name:
                raise InputError(
                    f"{part.files.pairs}: record {seen:,} is of {record.file_name}, planned was {name}",
                    hint="the partition was made from another annotation file; give that one with --annotations=FILE",
                )
            if record is not None and not record.variants:
                continue  # counted when it is merged
            there = in_file or {stored_image.name for stored_image in (record.images if record is not None else ())}
            if name not in there:
                part.originals = originals
                if name not in originals.store:
                    lacking.append(f"{name} (neither in {part.files.h5.name} nor in {originals.path})")
            views = view_names(name, part.variants, part.frames)
            lacking.extend(f"{view} ({part.files.h5.name})" for view in views if view not in there)
        if seen != len(part.planned) or next(records, None) is not None:
            raise InputError(
                f"{part.files.pairs}: has not one record for each of {len(part.planned):,} planned images",
                hint="the partition was made from another annotation file; give that one with --annotations=FILE",
            )
        if not part.files.pkl.is_file():
            raise MissingInputError(part.files.pkl, what="the annotations of the partition")
    if lacking:
        raise InputError(
            f"{parts[0].files.h5.parent}: {len(lacking):,} images are missing: {_shown(lacking)}",
            hint="make the partitions that lack them again, or give the originals with --images=PATH",
        )


def _write(
    target: PartitionFiles,
    parts: Sequence[_Part],
    drops: Drops,
    progress: Progress,
    *,
    remedy: str,
    overwrite: bool,
) -> dict[str, int]:
    counts = {"images": 0, "second views": 0, "annotations": 0, "bytes": 0}
    total = sum(len(part.planned) for part in parts)
    with _remedy(remedy), contextlib.ExitStack() as stack:  # leaves in reverse: the HDF5 file is published last
        h5 = stack.enter_context(atomic_path(target.h5, overwrite=overwrite))
        pkl = stack.enter_context(atomic_path(target.pkl, overwrite=True))
        recorded = all(part.about is not None for part in parts)
        pairs = stack.enter_context(atomic_path(target.pairs, overwrite=True)) if recorded else None
        with ThreadPoolExecutor(1) as thread:  # reading, hashing and writing a gigabyte does not hold up the images
            entries = thread.submit(_join_entries, pkl, parts)
            with ImageWriter(h5) as writer:
                for number in _copied(parts, writer, counts, drops):
                    if number % _EVERY == 0:
                        progress("merging images", counts["images"], total)
            counts["annotations"], pkl_sha256 = entries.result()
        require_some(counts["images"], "image", parts[0].files.h5.parent, "with second views: none could be used")
        if pairs is not None:
            _join_records(pairs, parts, (h5.stat().st_size, pkl.stat().st_size), pkl_sha256)
        # The old files go only when nothing but renaming is left to be done.
        _flush(path for path in (h5, pkl, pairs) if path is not None)
        target.h5.unlink(missing_ok=True)
        if pairs is None:
            target.pairs.unlink(missing_ok=True)
    progress("merging images", total, total)
    return counts


def _copied(parts: Sequence[_Part], writer: ImageWriter, counts: dict[str, int], drops: Drops) -> Iterator[int]:
    """Copy all images and compare each with what was noted of it; counts them."""
    noted: deque[tuple[_Part, StoredImage | None]] = deque()

    def wanted() -> Iterator[tuple[ImageSource, str, Location | None]]:
        for part in parts:
            for name, record in zip(part.planned, part.records(), strict=True):
                if record is not None and not record.variants:
                    drops.merge([drop for drop in record.drops if drop.kind == "image"])
                    continue
                known = (
                    {stored_image.name: stored_image for stored_image in record.images} if record is not None else {}
                )
                counts["images"] += 1
                counts["second views"] += part.variants
                for stored_image in (name, *view_names(name, part.variants, part.frames)):
                    note = known.get(stored_image)
                    noted.append((part, note))
                    place = Location(note.offset, note.size) if note is not None and part.is_as_noted else None
                    away = part.originals if stored_image == name and place is None else None
                    yield away or part.reader, stored_image, place

    for number, copied in enumerate(copy_images(wanted(), writer), start=1):
        part, expected = noted.popleft()
        if expected is not None and (copied.size, copied.crc32) != (expected.size, expected.crc32):
            raise DamagedError(
                f"{part.files.h5}: {copied.name}: checksum mismatch: expected {expected.size:,} bytes with "
                f"{expected.crc32:08x}, found {copied.size:,} with {copied.crc32:08x}"
            )
        counts["bytes"] += copied.size
        yield number


def _join_entries(path: Path, parts: Sequence[_Part]) -> tuple[int, str]:
    """Write one pickle file of all entries; how many there are, and its hash."""
    count = 0
    with open(path, "wb", buffering=1 << 20) as file:
        writer = ListWriter(file)
        for part in parts:
            if part.about is not None:
                writer.append_written(part.files.pkl, part.about.pkl_sha256)
                count += part.about.entries
            else:
                entries = load_list(part.files.pkl)
                writer.extend(entries)
                count += len(entries)
        writer.close()
    return count, writer.sha256


def _join_records(path: Path, parts: Sequence[_Part], sizes: tuple[int, int], pkl_sha256: str) -> None:
    abouts = [part.about for part in parts if part.about is not None]
    if len({about.labels for about in abouts}) > 1:
        raise InputError(
            f"{parts[0].files.h5.parent}: some partitions have the labels of another annotation file than others",
            hint="`ovforge pairs generate` with the run's name takes a corrected file over into all of them",
        )
    about = About(
        images=sum(about.images for about in abouts),
        datasets=sum(about.datasets for about in abouts),
        entries=sum(about.entries for about in abouts),
        h5_size=sizes[0],
        pkl_size=sizes[1],
        pkl_sha256=pkl_sha256,
        options=abouts[0].options,
        labels=abouts[0].labels,
    )
    with open(path, "wb", buffering=1 << 20) as file:
        writer = PairFileWriter(file)
        for part in parts:
            for record in checked_lines(part.files.pairs):
                writer.add(record)
        writer.close(about)


def _flush(paths: Iterable[Path]) -> None:
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
