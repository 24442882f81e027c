"""Partitions of a pairs run: three files each, made from the run's finished shards.

`NAME_total_p_P_split_i.h5` holds the images, `.pkl` the annotations of the second views (both as OVTrack writes
them), and `.pairs.json` what was remembered of each pair (see `pair_file`): one record per
planned image. The last one is published last: where it is, the partition is whole. The original scripts'
partitions have no `.pairs.json`, and no manifest beside them.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ovforge.errors import InputError, WorkError
from ovforge.files.atomic import atomic_path
from ovforge.files.restricted_pickle import ListWriter
from ovforge.image_io.hdf5 import Copied, ImageReader, ImageWriter, copy_images
from ovforge.records.pairs import RECORDS, PairRecord, VariantRecord
from ovforge.runs.ledger import Ledger
from ovforge.runs.plan import load_plan
from ovforge.synthesis.pair_file import About, PairFileWriter, PublishedPair, StoredImage


class PartitionFiles(msgspec.Struct, frozen=True):
    """The names of one partition's files."""

    h5: Path
    pkl: Path
    pairs: Path

    @property
    def is_published(self) -> bool:
        """Whether ovforge has published the partition, whole."""
        return self.pairs.is_file() and self.h5.is_file() and self.pkl.is_file()


def partition_files(run_folder: Path, index: int, total: int) -> PartitionFiles:
    """Where partition `index` of `total` is."""
    stem = f"{run_folder.name}_total_p_{total}_split_{index}"
    return PartitionFiles(*(run_folder / f"{stem}{suffix}" for suffix in (".h5", ".pkl", ".pairs.json")))


def partition_sizes(images: int, total: int) -> tuple[int, ...]:
    """How many images each partition gets: floor division, the last takes the rest (OVTrack)."""
    share = images // total
    return (*[share] * (total - 1), images - share * (total - 1))


def find_total(run_folder: Path) -> int:
    """How many partitions there are, from their names.

    Raises:
        InputError: there is none, or there are some of several divisions.
    """
    pattern = re.compile(re.escape(run_folder.name) + r"_total_p_(\d+)_split_\d+\.h5")
    totals = sorted({int(match[1]) for path in run_folder.glob("*.h5") if (match := pattern.fullmatch(path.name))})
    if not totals:
        raise InputError(
            f"{run_folder}: has no partition ({run_folder.name}_total_p_P_split_i.h5)",
            hint=f"`ovforge pairs generate {run_folder.name}` makes them; check the name and the folder",
        )
    if len(totals) > 1:
        raise InputError(
            f"{run_folder}: has partitions of several divisions, by {' and by '.join(map(str, totals))}",
            hint="say which with --partitions=N",
        )
    return totals[0]


def publish_partitions(run_folder: Path) -> list[int]:
    """Publish every partition of a run whose shards are all done, and remove those shards; the numbers published.

    May be called at any time and any number of times: partitions that are there stay, shards of unfinished
    partitions stay.
    """
    plan, plan_id = load_plan(run_folder)
    ledger = Ledger(run_folder, plan_id)
    groups = plan.shards_by_group()
    published = []
    for index, shards in enumerate(groups):
        files = partition_files(run_folder, index, len(groups))
        paths = [ledger.shard_path(shard, ".h5") for shard in shards]
        if not files.is_published:
            if any(not ledger.is_done(shard) or not path.is_file() for shard, path in zip(shards, paths, strict=True)):
                continue
            publish_partition(files, paths, options={**plan.options, "seed": plan.seed})
            published.append(index)
        # Also after a kill between publishing and removing.
        if any(path.exists() for path in paths):
            ledger.mark_consumed(shards, files.h5)
            for path in paths:
                path.unlink(missing_ok=True)
    return published


def publish_partition(files: PartitionFiles, shards: Sequence[Path], *, options: dict[str, Any] | None = None) -> None:
    """Make one partition from its shards, in order; all three files, `.pairs.json` last, or none.

    Files without a `.pairs.json` are left from a kill between the three and are replaced.

    Raises:
        WorkError: a shard lacks an image that its records name, or its records; names the shard.
    """
    overwrite = not files.is_published
    with contextlib.ExitStack() as stack:  # leaves in reverse: the HDF5 file is published first
        pairs = stack.enter_context(atomic_path(files.pairs, overwrite=overwrite))
        pkl = stack.enter_context(atomic_path(files.pkl, overwrite=overwrite))
        h5 = stack.enter_context(atomic_path(files.h5, overwrite=overwrite))
        counts = Counter[str]()
        with open(pkl, "wb", buffering=1 << 20) as pkl_file, open(pairs, "wb", buffering=1 << 20) as pairs_file:
            entries, records = ListWriter(pkl_file), PairFileWriter(pairs_file)
            with ImageWriter(h5) as writer:
                for shard in shards:
                    for record in _shard_records(shard, writer):
                        for variant in record.variants:
                            entries.extend(variant.annotations)
                            counts["entries"] += len(variant.annotations)
                        record.variants = [_without_polygons(variant) for variant in record.variants]
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
                )
            )


def _shard_records(shard: Path, writer: ImageWriter) -> Iterator[PublishedPair]:
    """Copy a shard's images and hand on its records with what was copied."""
    with ImageReader(shard) as reader:
        there = set(reader.names())
        if RECORDS not in there:
            raise WorkError(f"{shard}: has no records", hint=_AGAIN)
        records = msgspec.json.decode(reader.read(RECORDS), type=list[PairRecord])
        wanted = [_image_names(record, shard, there) for record in records]
        copied = copy_images([(reader, name, None) for names in wanted for name in names], writer)
        for record, names in zip(records, wanted, strict=True):
            images = [_stored(next(copied)) for _ in names]
            fields = {field: getattr(record, field) for field in record.__struct_fields__}
            yield PublishedPair(**fields, images=images)
        for _ in copied:  # the end of the iteration, so that its threads are done before the reader closes
            pass


def _image_names(record: PairRecord, shard: Path, there: set[str]) -> list[str]:
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


def _without_polygons(variant: VariantRecord) -> VariantRecord:
    return msgspec.structs.replace(
        variant,
        annotations=[{key: entry[key] for key in entry if key != "segmentation"} for entry in variant.annotations],
    )


def _stored(image: Copied) -> StoredImage:
    return StoredImage(*image)


_AGAIN = "remove the file and run `ovforge pairs generate` again: it makes this shard anew"
