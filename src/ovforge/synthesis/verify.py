"""`pairs generate --verify`: what is published compared with the checksums that it was published with.

Whether a partition is done is asked often, so `partition_problem` looks at names, sizes and the records' end only. A
byte that flipped on a disk is found when everything is read: by merging, which stops at it, and here, where all that is
damaged is found and made again, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ovforge.errors import DamagedError
from ovforge.image_io.hdf5 import ImageReader
from ovforge.records.reporting import Progress, no_progress
from ovforge.records.run_layout import PartitionFiles, find_partitions
from ovforge.runs.ledger import Ledger
from ovforge.runs.plan import file_sha256, load_plan
from ovforge.runs.task import Shard
from ovforge.synthesis.corrections import make_again, relabel_partition, require_alone
from ovforge.synthesis.image_table import ImageTable
from ovforge.synthesis.pair_file import PublishedPair, checked_lines, read_about, read_pairs
from ovforge.synthesis.partitions import is_as_published, partition_problem

_SHOWN = 5
_EVERY = 200  # images between two calls of `progress`


@dataclass
class Damage:
    """What of a run is not as it was written."""

    images: dict[int, str] = field(default_factory=dict)
    """Position in the plan -> the name of the first image of it that is damaged."""
    labels: list[PartitionFiles] = field(default_factory=list)
    """Partitions whose pickle file is damaged; it can be written again without an image being made."""
    whole: list[tuple[PartitionFiles, list[Shard], str]] = field(default_factory=list)
    """Partitions of which nothing can be kept, with their shards, and why."""
    shards: list[Shard] = field(default_factory=list)
    """Finished shards whose own file is damaged."""
    compared: int = 0
    """Images that were read."""

    def __bool__(self) -> bool:
        return bool(self.images or self.labels or self.whole or self.shards)

    def describe(self) -> list[str]:
        """What is damaged, a line each."""
        lines = [problem for _, _, problem in self.whole]
        lines += [f"{files.pkl.name}: is damaged" for files in self.labels]
        if self.images:
            names = list(self.images.values())
            more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
            verb = "is" if len(names) == 1 else "are"
            lines.append(f"{', '.join(names[:_SHOWN])}{more} {verb} damaged")
        lines += [f"shard {shard.index:06d} is damaged" for shard in self.shards]
        return lines or [f"{self.compared:,} published images have the checksums that they were published with"]


def find_damage(run_folder: Path, *, progress: Progress = no_progress) -> Damage:
    """Read all that a run has published and all its finished shards, and compare; changes nothing.

    Raises:
        StorageError: a disk failed, which says nothing about the run.
    """
    plan, plan_id = load_plan(run_folder)
    ledger = Ledger(run_folder, plan_id)
    groups = plan.shards_by_group()
    damage = Damage()

    def count() -> None:
        damage.compared += 1
        if damage.compared % _EVERY == 0:
            progress("comparing with checksums", damage.compared, 0)

    for shards, files in zip(groups, find_partitions(run_folder, len(groups)), strict=True):
        if shards and not partition_problem(files):
            _compare_partition(files, shards, damage, count)
            continue
        for shard in shards:
            path, entry = ledger.shard_path(shard, ".h5"), ledger.read(shard)
            if entry is not None and entry.sha256 and path.is_file() and file_sha256(path) != entry.sha256:
                damage.shards.append(shard)
    return damage


def _compare_partition(files: PartitionFiles, shards: list[Shard], damage: Damage, count: Callable[[], None]) -> None:
    found: dict[int, str] = {}
    number = 0
    try:
        for _ in checked_lines(files.pairs):
            pass
        with ImageReader(files.h5) as reader:
            for index, record in enumerate(read_pairs(files.pairs, PublishedPair), start=shards[0].start):
                number += 1
                for image in record.images:
                    if index not in found and not is_as_published(reader, image):
                        found[index] = image.name
                    count()
    except DamagedError as error:
        damage.whole.append((files, shards, error.message))
        return
    if number != shards[-1].stop - shards[0].start:
        damage.whole.append((files, shards, f"{files.pairs}: has not one record for each image"))
        return
    damage.images |= found
    if file_sha256(files.pkl) != read_about(files.pairs).pkl_sha256:
        damage.labels.append(files)


def discard(run_folder: Path, damage: Damage) -> None:
    """Have damaged shards, and those of partitions of which nothing can be kept, made again by the next run.

    Raises:
        InputError: another call is at work on the run.
    """
    if damage:
        require_alone(run_folder)
    _, plan_id = load_plan(run_folder)
    ledger = Ledger(run_folder, plan_id)
    for files, shards, _ in damage.whole:
        files.pairs.unlink(missing_ok=True)  # without its records the partition counts for nothing
        ledger.invalidate(shards)
    for shard in damage.shards:
        ledger.invalidate([shard])
        ledger.shard_path(shard, ".h5").unlink(missing_ok=True)


def repair(run_folder: Path, damage: Damage, table: ImageTable) -> list[str]:
    """Have what is damaged made again by the next run: shards with damaged images, and pickle files; notes of it.

    Call `discard` before.
    """
    plan, _ = load_plan(run_folder)
    groups = plan.shards_by_group()
    for shards, files in zip(groups, find_partitions(run_folder, len(groups)), strict=True):
        is_damaged = any(files.pkl == other.pkl for other in damage.labels)
        if is_damaged and not partition_problem(files):
            relabel_partition(files, table, shards[0].start, read_about(files.pairs).labels)
    remade = make_again(run_folder, damage.images, table) if damage.images else []
    count = len({shard.index for shard in [*remade, *damage.shards, *_all(damage)]})
    notes = damage.describe()
    if count:
        notes.append(f"{'1 shard is' if count == 1 else f'{count:,} shards are'} made again")
    return notes


def _all(damage: Damage) -> Sequence[Shard]:
    return [shard for _, shards, _ in damage.whole for shard in shards]
