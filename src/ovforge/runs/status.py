"""How far a run is: read from its folder alone, while it runs or after, here or on another machine."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

import msgspec

from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.run_layout import FAILED
from ovforge.runs.heartbeat import RunningWorker, WorkerStatus, worker_statuses
from ovforge.runs.ledger import Ledger, LedgerEntry
from ovforge.runs.plan import Plan, load_plan
from ovforge.runs.run import FailedShard

SLOWEST = 5


class HostStatus(msgspec.Struct, frozen=True):
    """What one machine has done."""

    host: str
    shards: int
    items: int
    items_per_second: float
    """Of one worker."""
    workers: int
    """At work now."""


class SlowShard(msgspec.Struct, frozen=True):
    """A shard that took long."""

    shard: int
    host: str
    worker: str
    items: int
    seconds: float


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is. Rates rest on durations by monotonic clocks, so no clock that jumps changes them."""

    folder: str
    task: str
    shards: int
    done: int
    running: int
    """Shards that a living worker is at."""
    failed: int
    """Failed shards; the same command again retries them."""
    waiting: int
    items: int
    items_done: int
    workers: int
    """Workers at work now."""
    items_per_second: float | None
    """Of all workers at work now; None when none is at work or nothing is done yet."""
    items_per_second_of_worker: float | None
    seconds_left: float | None
    hosts: tuple[HostStatus, ...]
    slowest: tuple[SlowShard, ...]
    """The finished shards that took longest for an item."""
    at_work: tuple[RunningWorker, ...]
    lost: tuple[RunningWorker, ...]
    """Workers that left their file behind: killed, or without a heartbeat for long."""
    problems: dict[int, str]
    """Failed shard -> what went wrong last."""
    counts: dict[str, int] = {}
    """What the finished shards have counted, added up."""


def read_status(folder: Path) -> RunStatus:
    """How far the run in `folder` is.

    Raises:
        MissingInputError: there is no run.
    """
    plan, plan_id = load_plan(folder)
    shards = plan.shards()
    entries = Ledger(folder, plan_id).done(shards)
    seen = worker_statuses(folder)
    living = [one.worker for one in seen if one.alive]
    running = {worker.shard for worker in living if worker.shard is not None} - entries.keys()
    problems = {index: text for index, text in _problems(folder).items() if index not in entries}
    failed = problems.keys() - running
    items_done = sum(shard.stop - shard.start for shard in shards if shard.index in entries)
    at_work = [worker for worker in living if worker.shard is not None]
    one = _rate(list(entries.values()))
    rate = one * len(at_work) if one and at_work else None
    return RunStatus(
        folder=str(folder),
        task=plan.task,
        shards=len(shards),
        done=len(entries),
        running=len(running),
        failed=len(failed),
        waiting=len(shards) - len(entries) - len(running) - len(failed),
        items=plan.items,
        items_done=items_done,
        workers=len(at_work),
        items_per_second=rate,
        items_per_second_of_worker=one,
        seconds_left=_seconds_left(plan, items_done, rate),
        hosts=_hosts(list(entries.values()), living),
        slowest=_slowest(list(entries.values())),
        at_work=tuple(at_work),
        lost=tuple(_lost(seen)),
        problems={index: problems[index] for index in sorted(failed)},
        counts=_counts(list(entries.values())),
    )


def _counts(entries: list[LedgerEntry]) -> dict[str, int]:
    total = Counter[str]()
    for entry in entries:
        total.update({key: value for key, value in entry.report.counts.items() if isinstance(value, int)})
    return dict(total)


def _rate(entries: list[LedgerEntry]) -> float | None:
    """Items a second of one worker, over all that `entries` speak of."""
    seconds = sum(entry.seconds for entry in entries)
    return sum(entry.report.items for entry in entries) / seconds if seconds > 0 else None


def _seconds_left(plan: Plan, items_done: int, rate: float | None) -> float | None:
    if items_done == plan.items:
        return 0.0
    return (plan.items - items_done) / rate if rate else None


def _hosts(entries: list[LedgerEntry], living: list[RunningWorker]) -> tuple[HostStatus, ...]:
    names = sorted({entry.host for entry in entries} | {worker.host for worker in living})
    result = []
    for name in names:
        own = [entry for entry in entries if entry.host == name]
        workers = sum(worker.host == name for worker in living)
        result.append(HostStatus(name, len(own), sum(e.report.items for e in own), _rate(own) or 0.0, workers))
    return tuple(result)


def _slowest(entries: list[LedgerEntry]) -> tuple[SlowShard, ...]:
    ordered = sorted(entries, key=lambda entry: (-entry.seconds / max(1, entry.report.items), entry.shard))
    return tuple(SlowShard(e.shard, e.host, e.worker, e.report.items, e.seconds) for e in ordered[:SLOWEST])


def _lost(seen: list[WorkerStatus]) -> list[RunningWorker]:
    return [one.worker for one in seen if not one.alive]


def _problems(folder: Path) -> dict[int, str]:
    found: dict[int, str] = {}
    for path in sorted((folder / FAILED).glob("*.json")):
        with contextlib.suppress(OSError, *JSON_ERRORS):
            record = msgspec.json.decode(path.read_bytes(), type=FailedShard)
            found[record.shard] = record.attempts[-1].problem if record.attempts else ""
    return found
