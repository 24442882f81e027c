"""Partitions of a pairs run: three files each, made from the run's finished shards.

`NAME_total_p_P_split_i.h5` holds the images, `.pkl` the annotations of the second views (both as OVTrack writes
them), and `.pairs.json` what was remembered of each pair (see `pair_file`): one record per
planned image. The last one is published last. The original scripts' partitions have no `.pairs.json`, and no manifest
beside them.

Whether a partition is whole is decided in one place, `partition_problem`. A whole partition is proof that its shards
are done; one that is not whole is no proof of anything, and its shards are made again.
"""

from __future__ import annotations

import contextlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ovforge.errors import InputError, OvforgeError, StorageError, WorkError
from ovforge.files.atomic import atomic_path
from ovforge.files.restricted_pickle import ListWriter
from ovforge.image_io.hdf5 import Copied, ImageReader, ImageWriter, copy_images
from ovforge.records.pairs import PairRecord, VariantRecord, count_objects
from ovforge.records.reporting import Drops
from ovforge.records.run_layout import RECORDS, PartitionFiles, find_partitions, find_totals, run_command
from ovforge.runs.ledger import Ledger, LedgerEntry
from ovforge.runs.plan import Plan, load_plan
from ovforge.runs.task import Shard, ShardReport
from ovforge.synthesis.pair_file import About, PairFileWriter, PublishedPair, StoredImage, read_about, read_pairs

Relabel = Callable[[int, PairRecord], PairRecord]


def partition_problem(files: PartitionFiles) -> str:
    """What keeps a partition of ovforge from being whole, naming the file; empty if it is whole.

    Whole: all three files are there, the records are complete to their end, and the two others are those that the
    records were published with. An HDF5 file of another size is accepted if the library opens it: it may have been
    repacked, and merging compares every image with what was noted of it.
    """
    if files.missing:
        names = " and ".join(path.name for path in files.missing)
        return f"{names} {'is' if len(files.missing) == 1 else 'are'} missing"
    try:
        about = read_about(files.pairs)
        if about.h5_size != files.h5.stat().st_size:
            ImageReader(files.h5).close()
    except OvforgeError as error:
        return error.message
    size = files.pkl.stat().st_size
    if about.pkl_size != size:
        return f"{files.pkl.name} has {size:,} bytes, not the {about.pkl_size:,} that it was published with"
    return ""


def is_as_published(reader: ImageReader, image: StoredImage) -> bool:
    """Whether the image in a partition has the size and the checksum that it was published with.

    Raises:
        StorageError: a disk failed.
    """
    try:
        data = reader.read(image.name)
    except InputError:
        return False
    except OSError as error:
        raise StorageError(reader.path, error) from error
    return len(data) == image.size and zlib.crc32(data) == image.crc32


def partition_sizes(images: int, total: int) -> tuple[int, ...]:
    """How many images each partition gets: floor division, the last takes the rest (OVTrack)."""
    share = images // total
    return (*[share] * (total - 1), images - share * (total - 1))


def find_total(run_folder: Path) -> int:
    """How many partitions there are, from their names.

    Raises:
        InputError: there is none, or there are some of several divisions.
    """
    totals = find_totals(run_folder)
    if not totals:
        generate = run_command("generate", run_folder.parent, run_folder.name)
        raise InputError(
            f"{run_folder}: has no partition ({run_folder.name}_total_p_P_split_i.h5)",
            hint=f"`{generate}` makes them; check the name and the folder",
        )
    if len(totals) > 1:
        raise InputError(
            f"{run_folder}: has partitions of several divisions, by {' and by '.join(map(str, totals))}",
            hint="say which with --partitions=N",
        )
    return totals[0]


def adopt_partitions(run_folder: Path) -> list[str]:
    """Make the ledger agree with the partitions that are there; what was found, a line each.

    The shards of a whole partition are done, whatever became of their entries or of the partition's name. The shards of
    one that is not whole are not, but for those whose own files are there.

    Raises:
        InputError: a partition was published by another run.
    """
    plan, plan_id = load_plan(run_folder)
    ledger = Ledger(run_folder, plan_id)
    groups = plan.shards_by_group()
    notes = []
    for shards, files in zip(groups, find_partitions(run_folder, len(groups)), strict=True):
        if len(files.missing) == len(files.paths):
            continue
        problem = partition_problem(files)
        if not problem:
            _check_same_run(files, plan, sum(shard.stop - shard.start for shard in shards))
            _enter_shards(ledger, shards, files)
            continue
        # Entries that say "it is in the partition": sizes that fit prove nothing where the partition is not whole.
        taken_in = [s for s in shards if ledger.is_done(s) and not ledger.shard_path(s, ".h5").is_file()]
        if taken_in and not (problem := partition_problem(files)):
            continue  # another process has published it just now, and taken the shards away
        lost = [*taken_in, *(shard for shard in shards if not ledger.is_done(shard))]
        if lost and any(ledger.read(shard) is not None for shard in lost):
            again = "its shard is" if len(lost) == 1 else f"its {len(lost):,} shards are"
            notes.append(f"{files.h5.name.removesuffix('.h5')}: {problem}: {again} made again")
        ledger.invalidate(taken_in)
    return notes


def _check_same_run(files: PartitionFiles, plan: Plan, images: int) -> None:
    about = read_about(files.pairs)
    expected = msgspec.json.decode(msgspec.json.encode({**plan.options, "seed": plan.seed}))
    if about.images != images or about.options != expected:
        raise InputError(
            f"{files.h5}: was published by another run (other images or options than the manifest's)",
            hint="move its three files away, or the manifest and ledger/ if the partition is what you want to keep",
        )


def _enter_shards(ledger: Ledger, shards: Sequence[Shard], files: PartitionFiles) -> None:
    """Have the ledger say that `shards` are in `files`; lost entries are rewritten from the partition's records."""
    if not any(ledger.entry_if_done(shard) is None for shard in shards):
        return
    missing = {shard.index for shard in shards if ledger.read(shard) is None}
    if missing:
        records = list(read_pairs(files.pairs, PublishedPair))
        for shard in shards:
            if shard.index in missing:
                own = records[shard.start - shards[0].start : shard.stop - shards[0].start]
                ledger.write(
                    LedgerEntry(
                        shard=shard.index,
                        plan=ledger.plan_id,
                        file=ledger.shard_path(shard, ".h5").relative_to(ledger.folder).as_posix(),
                        size=0,
                        sha256="",
                        report=report_of(own),
                        seconds=0.0,
                        host="",
                        worker="",
                    )
                )
    ledger.mark_consumed(shards, *files.paths)


def report_of(records: Sequence[PairRecord]) -> ShardReport:
    """What a shard with these records says of itself."""
    drops, counts = Drops(keep_names=True), Counter[str]()
    for record in records:
        drops.merge(record.drops)
        counts.update(count_record(record))
    return ShardReport(len(records), dict(counts), drops.freeze())


def count_record(record: PairRecord) -> dict[str, int]:
    """What the summary of a run counts."""
    return {
        "images": 1 if record.variants else 0,
        "second views": len(record.variants),
        "second views with objects": sum(1 for variant in record.variants if variant.annotations),
        **_repainted_holes(record),
        **count_objects(record),
    }


def _repainted_holes(record: PairRecord) -> dict[str, int]:
    """How many of a record's second views had a hole that was repainted, and their crops; only of runs that do so."""
    crops = [len(variant.engine.get("crops", ())) for variant in record.variants]
    return (
        {"second views with repainted holes": sum(map(bool, crops)), "crops repainted": sum(crops)}
        if any(crops)
        else {}
    )


def publish_partitions(run_folder: Path, relabel: Relabel | None = None) -> list[int]:
    """Publish every partition of a run whose shards are all done, and remove those shards; the numbers published.

    May be called at any time, any number of times, and by several processes at once: they write the same bytes.
    Partitions that are there stay, shards of unfinished partitions stay.

    Args:
        relabel: gives a record the fields of a corrected annotation file; called with the image's position in the plan.
    """
    plan, plan_id = load_plan(run_folder)
    ledger = Ledger(run_folder, plan_id)
    groups = plan.shards_by_group()
    published = []
    for index, (shards, files) in enumerate(zip(groups, find_partitions(run_folder, len(groups)), strict=True)):
        paths = [ledger.shard_path(shard, ".h5") for shard in shards]
        if partition_problem(files):
            if any(not ledger.is_done(shard) or not path.is_file() for shard, path in zip(shards, paths, strict=True)):
                continue
            try:
                start = shards[0].start if shards else 0
                options = {**plan.options, "seed": plan.seed}
                annotations = plan.inputs.get("annotations")
                labels = annotations.sha256 if annotations is not None else ""
                publish_partition(files, paths, options=options, labels=labels, relabel=relabel, start=start)
            except (OvforgeError, OSError):
                # Another process may have published it meanwhile and taken the shards away.
                if partition_problem(files):
                    raise
            else:
                published.append(index)
        # Also after a kill between publishing and removing.
        if any(path.exists() for path in paths):
            _enter_shards(ledger, shards, files)
            ledger.mark_consumed(shards, *files.paths)
            for path in paths:
                path.unlink(missing_ok=True)
    return published


def check_published(run_folder: Path) -> None:
    """Check that every partition of a finished run is whole.

    Raises:
        WorkError: one is not; names it and what is wrong.
    """
    plan, _ = load_plan(run_folder)
    total = len(plan.shards_by_group())
    for files in find_partitions(run_folder, total):
        if problem := partition_problem(files):
            raise WorkError(
                f"{files.h5}: the partition is not whole although all its shards were done: {problem}",
                hint="was the folder changed meanwhile? run the same command again",
            )


def publish_partition(
    files: PartitionFiles,
    shards: Sequence[Path],
    *,
    options: dict[str, Any] | None = None,
    labels: str = "",
    relabel: Relabel | None = None,
    start: int = 0,
) -> None:
    """Make one partition from its shards, in order; all three files, `.pairs.json` last, or none.

    What is there of a partition that is not whole is replaced. `start` is the first image's position in the plan.

    Raises:
        WorkError: a shard lacks an image that its records name, or its records; names the shard.
    """
    with contextlib.ExitStack() as stack:  # leaves in reverse: the HDF5 file is published first
        pairs = stack.enter_context(atomic_path(files.pairs, overwrite=True))
        pkl = stack.enter_context(atomic_path(files.pkl, overwrite=True))
        h5 = stack.enter_context(atomic_path(files.h5, overwrite=True))
        counts = Counter[str]()
        with open(pkl, "wb", buffering=1 << 20) as pkl_file, open(pairs, "wb", buffering=1 << 20) as pairs_file:
            entries, records = ListWriter(pkl_file), PairFileWriter(pairs_file)
            with ImageWriter(h5) as writer:
                for shard in shards:
                    for record in _shard_records(shard, writer):
                        if relabel is not None:
                            relabelled = relabel(start + counts["images"], record)
                            record.variants = relabelled.variants
                        for variant in record.variants:
                            entries.extend(variant.annotations)
                            counts["entries"] += len(variant.annotations)
                        record.variants = [without_polygons(variant) for variant in record.variants]
                        records.add(msgspec.json.encode(record))
                        counts["images"] += 1
                        counts["datasets"] += len(record.images)
            entries.close()
            records.close(
                About(
                    images=counts["images"],
                    datasets=counts["datasets"],
                    entries=counts["entries"],
                    h5_size=h5.stat().st_size,
                    pkl_size=pkl_file.tell(),
                    pkl_sha256=entries.sha256,
                    options=options or {},
                    labels=labels,
                )
            )


def _shard_records(shard: Path, writer: ImageWriter) -> Iterator[PublishedPair]:
    """Copy a shard's images and hand on its records with what was copied."""
    with ImageReader(shard) as reader:
        there = set(reader.names())
        if RECORDS not in there:
            raise WorkError(f"{shard}: has no records", hint=_AGAIN)
        records = msgspec.json.decode(reader.read(RECORDS), type=list[msgspec.Raw])
        # Decoded one by one: the records of clips are long.
        wanted = [_image_names(msgspec.json.decode(one, type=_Named), shard, there) for one in records]
        copied = copy_images([(reader, name, None) for names in wanted for name in names], writer)
        for encoded, names in zip(records, wanted, strict=True):
            record = msgspec.json.decode(encoded, type=PairRecord)
            images = [_stored(next(copied)) for _ in names]
            fields = {field: getattr(record, field) for field in record.__struct_fields__}
            yield PublishedPair(**fields, images=images)
        for _ in copied:  # the end of the iteration, so that its threads are done before the reader closes
            pass


class _NamedView(msgspec.Struct):
    file_name: str


class _Named(msgspec.Struct):
    """Of a `PairRecord` what its images are called."""

    file_name: str
    variants: list[_NamedView]


def _image_names(record: _Named, shard: Path, there: set[str]) -> list[str]:
    """The images of a record; of one that could not be used, none."""
    if not record.variants:
        return []
    names = [record.file_name, *(variant.file_name for variant in record.variants)]
    # A run may be told not to store the originals again; they are taken from the image store when merging.
    names = [name for name in names if name != record.file_name or name in there]
    lacking = [name for name in names if name not in there]
    if lacking:
        raise WorkError(f"{shard}: has a record of {lacking[0]}, but not the image", hint=_AGAIN)
    return names


def without_polygons(variant: VariantRecord) -> VariantRecord:
    """The record of a second view as `.pairs.json` has it: its objects' polygons were the original's."""
    return msgspec.structs.replace(
        variant,
        annotations=[{key: entry[key] for key in entry if key != "segmentation"} for entry in variant.annotations],
    )


def _stored(image: Copied) -> StoredImage:
    return StoredImage(*image)


_AGAIN = "remove the file and run `ovforge pairs generate` again: it makes this shard again"
