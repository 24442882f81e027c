"""Making part of a run again: what a corrected annotation file changes, and images that could not be used before.

Every record holds a fingerprint of what the annotation file said of its image, as far as pixels depend on it: its size,
its objects' ids, areas, crowd flags and polygons, and for engines that read them its captions or class names. An
annotation file that was corrected in something else is taken over by writing labels again; an image whose
fingerprint has changed has to be made again, and only its shard.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from ovforge.annotation_io.record_edit import decode_record
from ovforge.errors import InputError
from ovforge.files.atomic import atomic_path
from ovforge.files.restricted_pickle import ListWriter
from ovforge.image_io.hdf5 import ImageReader, ImageWriter
from ovforge.records.pairs import PairRecord
from ovforge.records.run_layout import CORRECTIONS, RECORDS, PartitionFiles, find_partitions
from ovforge.runs.ledger import Ledger, LedgerEntry
from ovforge.runs.plan import InputFile, Plan, file_sha256, load_plan, write_corrections
from ovforge.runs.presence import other_calls
from ovforge.runs.task import Shard
from ovforge.synthesis.fingerprints import fingerprint
from ovforge.synthesis.image_table import ImageTable
from ovforge.synthesis.pair_file import PairFileWriter, PublishedPair, read_about, read_pairs
from ovforge.synthesis.pairs import SourceImage
from ovforge.synthesis.partitions import is_as_published, partition_problem, report_of, without_polygons

_MADE_HERE = ("bbox", "area", "image_name", "iscrowd", "fidelity", "visibility", "old_copy", "mask")
"""The fields of an object in a second view that are not its original's."""


def done_records(run_folder: Path) -> Iterator[tuple[int, PairRecord]]:
    """(position in the plan, record) of every image that is done, from partitions and from shards, in order."""
    plan, plan_id = load_plan(run_folder)
    ledger = Ledger(run_folder, plan_id)
    groups = plan.shards_by_group()
    for shards, files in zip(groups, find_partitions(run_folder, len(groups)), strict=True):
        if shards and not partition_problem(files):
            yield from enumerate(read_pairs(files.pairs, PublishedPair), start=shards[0].start)
            continue
        for shard in shards:
            path = ledger.shard_path(shard, ".h5")
            if ledger.is_done(shard) and path.is_file():
                yield from enumerate(_shard_records(path), start=shard.start)


def changed_images(run_folder: Path, table: ImageTable, *, reads_prompts: bool) -> list[int]:
    """The positions of done images of which the annotation file says something else now that decides their pixels."""
    return [
        index
        for index, record in done_records(run_folder)
        if record.source != fingerprint(table.image(index), table.class_names, reads_prompts=reads_prompts)
    ]


def skipped_images(run_folder: Path) -> list[int]:
    """The positions of done images that could not be used."""
    return [index for index, record in done_records(run_folder) if not record.variants]


def take_corrections(run_folder: Path, now: Plan, table: ImageTable, *, reads_prompts: bool, remake: bool) -> list[str]:
    """Have a run resume with an annotation or caption file that was corrected since its start; notes of what it did.

    Labels of what is done are rewritten; images whose size, objects or prompts have changed are made again, if
    `remake` allows it.

    Raises:
        InputError: images have to be made again, and `remake` is false; names them. Or the file lists other images.
    """
    frozen, _ = load_plan(run_folder)
    corrected: dict[str, InputFile] = {
        role: now.inputs[role]
        for role in ("annotations", "captions")
        if role in frozen.inputs and role in now.inputs and frozen.inputs[role].sha256 != now.inputs[role].sha256
    }
    notes: list[str] = []
    files = " and ".join(f"{file.path} (the run's {role})" for role, file in corrected.items())
    if frozen.options.get("image_list") != now.options.get("image_list"):  # then positions mean other images
        if "annotations" in corrected:
            raise InputError(
                f"{files} lists other images than at the run's start, or in another order: {frozen.items:,} images "
                f"then, {now.items:,} now",
                hint="a corrected file has the images of the run's own file: give that, or start a run of another name",
            )
        return notes
    if corrected:
        changed = changed_images(run_folder, table, reads_prompts=reads_prompts)
        if changed:
            names = ", ".join(table.names[index] for index in changed[:3]) + (", ..." if len(changed) > 3 else "")
            what = f"{len(changed):,} of {now.items:,} images"
            if not remake:
                raise InputError(
                    f"{files} is another file than at the run's start, and {what} would come out otherwise: {names}",
                    hint="--remake-changed makes only their shards again; or give the run's own file",
                )
            shards = make_again(run_folder, changed, table)
            notes.append(f"{files} has changed: {what} are made again ({names}), in {len(shards):,} shards")
        else:
            notes.append(f"{files} has changed in what no pixel depends on: labels are taken from it")
        write_corrections(run_folder, {**_corrections(frozen), **corrected})
    if (run_folder / CORRECTIONS).is_file():
        relabel_partitions(run_folder, table, now.inputs["annotations"].sha256)
    return notes


def _corrections(plan: Plan) -> dict[str, InputFile]:
    return {role: plan.inputs[role] for role in ("annotations", "captions") if role in plan.inputs}


def relabel(record: PairRecord, source: SourceImage) -> PairRecord:
    """The record with its objects' fields as the annotation file has them now, polygons included."""
    originals = {annotation["id"]: annotation for annotation in (decode_record(one) for one in source.annotations)}
    variants = [
        msgspec.structs.replace(
            variant,
            annotations=[
                {**originals.get(entry["id"], entry), **{key: entry[key] for key in _MADE_HERE if key in entry}}
                for entry in variant.annotations
            ],
        )
        for variant in record.variants
    ]
    return msgspec.structs.replace(record, variants=variants)


def relabel_partitions(run_folder: Path, table: ImageTable, labels: str) -> int:
    """Write `.pkl` and `.pairs.json` of every published partition again, with the annotation file's fields of now; how
    many partitions needed it. Images are not touched.

    Args:
        labels: SHA-256 of the annotation file that `table` was read from.
    """
    plan, plan_id = load_plan(run_folder)
    ledger = Ledger(run_folder, plan_id)
    groups = plan.shards_by_group()
    count = 0
    for shards, files in zip(groups, find_partitions(run_folder, len(groups)), strict=True):
        if shards and not partition_problem(files) and read_about(files.pairs).labels != labels:
            relabel_partition(files, table, shards[0].start, labels)
            entered = [shard for shard in shards if ledger.read(shard) is not None]
            ledger.mark_consumed(entered, *files.paths)  # which may have other sizes now
            count += 1
    return count


def relabel_partition(files: PartitionFiles, table: ImageTable, first: int, labels: str) -> None:
    """Write `.pkl` and `.pairs.json` of a partition again; `first` is its first image's position in the plan."""
    about = read_about(files.pairs)
    with (
        atomic_path(files.pairs, overwrite=True) as pairs,  # left last, so published last
        atomic_path(files.pkl, overwrite=True) as pkl,
        open(pkl, "wb", buffering=1 << 20) as pkl_file,
        open(pairs, "wb", buffering=1 << 20) as pairs_file,
    ):
        entries, records = ListWriter(pkl_file), PairFileWriter(pairs_file)
        for index, record in enumerate(read_pairs(files.pairs, PublishedPair), start=first):
            labelled = relabel(record, table.image(index))
            for variant in labelled.variants:
                entries.extend(variant.annotations)
            labelled.variants = [without_polygons(variant) for variant in labelled.variants]
            records.add(msgspec.json.encode(labelled))
        entries.close()
        records.close(
            msgspec.structs.replace(about, pkl_size=pkl_file.tell(), pkl_sha256=entries.sha256, labels=labels)
        )


def require_alone(run_folder: Path) -> None:
    """Refuse to take away what another call may be reading.

    Raises:
        InputError: another call is at work on the run.
    """
    if at_work := other_calls(run_folder):
        raise InputError(
            f"{run_folder}: process {at_work[0].pid} on {at_work[0].host} is at work there", hint="stop it"
        )


def make_again(run_folder: Path, items: Collection[int], table: ImageTable) -> list[Shard]:
    """Have the shards of these images done once more by the next run; the shards.

    The other shards of a published partition get their own files back before the partition goes, so that nothing but
    these shards is made again. What is damaged is not handed on: shards of which an image has not the checksum that it
    was published with are made again too.

    Raises:
        InputError: another call is at work on the run.
    """
    require_alone(run_folder)
    plan, plan_id = load_plan(run_folder)
    ledger = Ledger(run_folder, plan_id)
    wanted = [shard for shard in plan.shards() if any(shard.start <= item < shard.stop for item in items)]
    numbers = {shard.index for shard in wanted}
    groups = plan.shards_by_group()
    for shards, files in zip(groups, find_partitions(run_folder, len(groups)), strict=True):
        if not numbers.intersection(shard.index for shard in shards):
            continue
        if not partition_problem(files):
            others = [shard for shard in shards if shard.index not in numbers]
            damaged = _split_partition(files, others, ledger, table, plan)
            wanted += damaged
            numbers.update(shard.index for shard in damaged)
            for path in reversed(files.paths):  # the records first: without them the partition counts for nothing
                path.unlink(missing_ok=True)
        for shard in shards:
            if shard.index in numbers:
                ledger.invalidate([shard])
                ledger.shard_path(shard, ".h5").unlink(missing_ok=True)
    return wanted


def _split_partition(
    files: PartitionFiles, shards: list[Shard], ledger: Ledger, table: ImageTable, plan: Plan
) -> list[Shard]:
    """Give `shards` of a published partition their own files again; those that have a damaged image get none."""
    if not shards:
        return []
    damaged: list[Shard] = []
    first = next(group for group in plan.shards_by_group() if shards[0] in group)[0].start
    records = list(read_pairs(files.pairs, PublishedPair))
    with ImageReader(files.h5) as reader:
        for shard in shards:
            mine = records[shard.start - first : shard.stop - first]
            if not all(is_as_published(reader, image) for record in mine for image in record.images):
                damaged.append(shard)
                continue
            path = ledger.shard_path(shard, ".h5")
            own = [
                relabel(_plain(records[index - first]), table.image(index)) for index in range(shard.start, shard.stop)
            ]
            with atomic_path(path, overwrite=True) as temporary, ImageWriter(temporary) as writer:
                for index in range(shard.start, shard.stop):
                    for image in records[index - first].images:
                        writer.add(image.name, reader.read(image.name))
                writer.add(RECORDS, msgspec.json.encode(own))
            ledger.write(
                LedgerEntry(
                    shard=shard.index,
                    plan=ledger.plan_id,
                    file=path.relative_to(ledger.folder).as_posix(),
                    size=path.stat().st_size,
                    sha256=file_sha256(path),
                    report=report_of(own),
                    seconds=0.0,
                    host="",
                    worker="",
                )
            )
    return damaged


def _plain(record: PublishedPair) -> PairRecord:
    return PairRecord(record.image_id, record.file_name, record.variants, record.drops, record.source)


def _shard_records(path: Path) -> list[PairRecord]:
    with ImageReader(path) as reader:
        return msgspec.json.decode(reader.read(RECORDS), type=list[PairRecord])
