"""Shards done in the calling process: small work is over before a worker process has started."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ovforge.runs.executors.base import ATTEMPTS, Executor, Finished, Outcome, ShardFailed
from ovforge.runs.heartbeat import Heartbeat
from ovforge.runs.task import Shard, Slot
from ovforge.runs.worker import Attempt, FatalError, Job, attempt, do_shard, open_worker


@dataclass(frozen=True)
class InProcessExecutor:
    """This process, one shard after another; what is left after a while goes to another executor.

    A crash in native code ends the whole command here, so this is for work that has none to fear.

    Attributes:
        then: who does what is left after `seconds`; None: everything is done here.
        seconds: looked at between shards.
    """

    then: Executor | None = None
    seconds: float = 1.0

    @property
    def workers(self) -> int | None:
        """How many at most at once."""
        return 1 if self.then is None else self.then.workers

    def execute(self, job: Job, shards: Sequence[Shard], report: Callable[[Outcome], None]) -> None:
        """Do `shards`; see `Executor.execute`."""
        until = time.monotonic() + self.seconds
        waiting = deque(shards)
        attempts: dict[int, list[Attempt]] = {}
        slot = Slot(0)
        name = f"{os.getpid()}/0"
        with Heartbeat(job.folder, slot.index) as heartbeat:
            try:
                worker = open_worker(job, replace(slot, report=heartbeat.advance))
                try:
                    while waiting and (self.then is None or time.monotonic() < until):
                        shard = waiting.popleft()
                        heartbeat.start(shard)
                        outcome: Outcome
                        try:
                            outcome = Finished(shard, do_shard(job, worker, shard, name))
                        except FatalError:
                            raise
                        except Exception as error:
                            tried = attempts.setdefault(shard.index, [])
                            tried.append(attempt(error, name))
                            if len(tried) < ATTEMPTS:
                                waiting.append(shard)  # behind the others: what troubles it may have passed by then
                                continue
                            outcome = ShardFailed(shard, tuple(tried))
                        heartbeat.stop()
                        report(outcome)
                finally:
                    worker.close()
            except FatalError as error:
                raise error.error from error.__cause__
        if waiting and self.then is not None:
            self.then.execute(job, tuple(waiting), report)
