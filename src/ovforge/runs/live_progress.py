"""Progress by items while shards are at work: what workers say in their heartbeat files, added to what is done."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from ovforge.records.reporting import Progress
from ovforge.runs.heartbeat import worker_statuses
from ovforge.runs.signals import start_quietly
from ovforge.runs.task import Shard

_EVERY_SECONDS = 1.0


class LiveProgress:
    """Calls `progress(stage, done, total)` for every finished shard, and every second for those at work.

    The workers may be anyone's: threads, processes, other calls, other machines.
    """

    def __init__(self, folder: Path, stage: str, shards: Iterable[Shard], done: set[int], progress: Progress) -> None:
        self._folder, self._stage, self._progress = folder, stage, progress
        self._sizes = {shard.index: shard.stop - shard.start for shard in shards}
        self._done = set(done)
        self._total = sum(self._sizes.values())
        self._told = -1
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._tell({})

    def finish(self, shard: Shard) -> None:
        """A shard has come to its end."""
        with self._lock:
            self._done.add(shard.index)
        self._tell({})

    def __enter__(self) -> LiveProgress:
        start_quietly(self._thread)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(_EVERY_SECONDS):
            workers = [seen.worker for seen in worker_statuses(self._folder) if seen.alive]
            self._tell({worker.shard: worker.items for worker in workers if worker.shard is not None})

    def _tell(self, at_work: dict[int, int]) -> None:
        with self._lock:
            running = sum(
                min(items, self._sizes[shard])
                for shard, items in at_work.items()
                if shard in self._sizes and shard not in self._done
            )
            done = sum(self._sizes[index] for index in self._done) + running
            if done > self._told:  # a shard that is tried again does not make the bar go back
                self._told = done
                self._progress(self._stage, done, self._total)
