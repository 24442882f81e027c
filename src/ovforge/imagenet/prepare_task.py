"""`imagenet prepare` as a task for `runs`: a group of classes into the tree; the shard's file is their reports."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ovforge.errors import StorageError
from ovforge.imagenet.archives import ClassSource
from ovforge.imagenet.one_class import ClassFailure, ClassReport, prepare_class
from ovforge.options.imagenet import PrepareOptions
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.runs.task import Shard, ShardReport, Slot


class ShardClasses(msgspec.Struct, frozen=True):
    """What a shard's file says."""

    done: list[ClassReport]
    failed: list[ClassFailure]
    """Classes whose tar cannot be used; no retry helps until the source is another."""


@dataclass(frozen=True)
class PrepareTask:
    """All that a worker needs; picklable. A shard's items are positions in `sources`."""

    options: PrepareOptions
    sources: tuple[ClassSource, ...]
    shard_suffix: str = ".json"

    def open(self, slot: Slot) -> PrepareWorker:
        """Nothing is kept open between classes."""
        del slot
        return PrepareWorker(self)


class PrepareWorker:
    """A `PrepareTask` in one process."""

    def __init__(self, task: PrepareTask) -> None:
        self._task = task

    def run(self, shard: Shard, out: Path) -> ShardReport:
        """Put the shard's classes into the tree, one after another, then write their reports to `out`.

        Raises:
            OSError, StorageError: the first that a class met with; the other classes are in the tree all the same.
            WorkError: the disk is full or cannot be written.
        """
        done, failed = [], []
        problem: OSError | StorageError | None = None
        for source in self._task.sources[shard.start : shard.stop]:
            try:
                result = prepare_class(self._task.options, source)
            except (OSError, StorageError) as error:
                problem = problem or error
                continue
            if isinstance(result, ClassFailure):
                failed.append(result)
            else:
                done.append(result)
        if problem is not None:
            raise problem
        out.write_bytes(msgspec.json.encode(ShardClasses(done, failed)))
        return ShardReport(items=shard.stop - shard.start)

    def close(self) -> None:
        """Nothing is open."""


def read_classes(path: Path) -> ShardClasses | None:
    """What the shard file `path` says; None where there is none, or a broken one."""
    with contextlib.suppress(FileNotFoundError, *JSON_ERRORS):
        return msgspec.json.decode(path.read_bytes(), type=ShardClasses)
    return None
