"""What is done: one small file per finished shard, written after the shard itself is in place.

A shard is done when its entry is there and the file that the entry speaks of is there with the size it had. So a
kill between the two, a lost rename or a deleted file only means that the shard is done once more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ovforge.files.atomic import write_bytes
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.run_layout import LEDGER, SHARDS
from ovforge.runs.task import Shard, ShardReport


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A finished shard."""

    shard: int
    plan: str
    """The hash of the manifest it was done under; entries of another plan do not count."""
    file: str
    """The shard's file, relative to the run's folder."""
    size: int
    sha256: str
    report: ShardReport
    seconds: float
    """How long it took, on the worker's monotonic clock."""
    host: str
    worker: str
    consumed_by: dict[str, int] = {}
    """The published files that have taken the shard in, relative to the run's folder, each with its size in bytes.
    While all of them are there, the shard's own file may be gone."""


class Ledger:
    """The finished shards of one run."""

    def __init__(self, folder: Path, plan_id: str) -> None:
        self.folder = folder
        self.plan_id = plan_id

    @staticmethod
    def plans(folder: Path) -> set[str]:
        """The hashes of the manifests under which shards in `folder` were done."""
        found = set()
        for path in (folder / LEDGER).glob("*.json"):
            with contextlib.suppress(OSError, *JSON_ERRORS):
                found.add(msgspec.json.decode(path.read_bytes(), type=LedgerEntry).plan)
        return found

    def shard_path(self, shard: Shard, suffix: str) -> Path:
        """Where the file of `shard` goes."""
        return self.folder / SHARDS / f"{shard.name}{suffix}"

    def read(self, shard: Shard) -> LedgerEntry | None:
        """The entry of `shard`, whether its file is there or not; None without one that can be read."""
        try:
            entry = msgspec.json.decode(self._entry_path(shard).read_bytes(), type=LedgerEntry)
        except (FileNotFoundError, *JSON_ERRORS):
            return None
        return entry if entry.plan == self.plan_id and entry.shard == shard.index else None

    def is_done(self, shard: Shard) -> bool:
        """Whether `shard` has an entry and its file, or every file that consumed it, is there with the right size."""
        return self.entry_if_done(shard) is not None

    def entry_if_done(self, shard: Shard, sizes: dict[str, int | None] | None = None) -> LedgerEntry | None:
        """The entry of `shard` if it is done. `sizes` remembers file sizes between calls."""
        entry = self.read(shard)
        if entry is None:
            return None
        sizes = {} if sizes is None else sizes
        if entry.consumed_by and all(self._size(name, sizes) == size for name, size in entry.consumed_by.items()):
            return entry
        return entry if self._size(entry.file, sizes) == entry.size else None

    def done(self, shards: Iterable[Shard]) -> dict[int, LedgerEntry]:
        """The entries of those of `shards` that are done, by shard number."""
        sizes: dict[str, int | None] = {}
        found = ((shard.index, self.entry_if_done(shard, sizes)) for shard in shards)
        return {index: entry for index, entry in found if entry is not None}

    def write(self, entry: LedgerEntry) -> None:
        """Enter a finished shard. Its file must be in place."""
        write_bytes(self._entry_path(entry), msgspec.json.encode(entry), overwrite=True)

    def mark_consumed(self, shards: Iterable[Shard], *into: Path) -> None:
        """Say that the published files `into` hold what `shards` hold; afterwards the shards' files may be deleted.

        While all of `into` are there with their present sizes, the shards count as done.

        Raises:
            ValueError: a shard has no entry.
        """
        sizes = {_relative(path, self.folder): path.stat().st_size for path in into}
        for shard in shards:
            entry = self.read(shard)
            if entry is None:
                raise ValueError(f"shard {shard.index} is not done, so {into[0]} cannot have consumed it")
            if entry.consumed_by != sizes:
                self.write(msgspec.structs.replace(entry, consumed_by=sizes))

    def invalidate(self, shards: Iterable[Shard]) -> None:
        """Remove the entries of `shards`, so that they are done once more."""
        for shard in shards:
            self._entry_path(shard).unlink(missing_ok=True)

    def _size(self, name: str, sizes: dict[str, int | None]) -> int | None:
        if name not in sizes:
            try:
                sizes[name] = (self.folder / name).stat().st_size
            except FileNotFoundError:
                sizes[name] = None
        return sizes[name]

    def _entry_path(self, shard: Shard | LedgerEntry) -> Path:
        index = shard.index if isinstance(shard, Shard) else shard.shard
        return self.folder / LEDGER / f"{index:06d}.json"


def _relative(path: Path, folder: Path) -> str:
    try:
        return path.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return str(path.resolve())
