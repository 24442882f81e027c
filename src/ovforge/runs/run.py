"""One run: freeze the plan, find out what is left, have an executor do it, say what came of it."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ovforge.errors import InputError, WorkError
from ovforge.files.atomic import write_bytes
from ovforge.records.reporting import Drop, Drops, Progress, no_progress
from ovforge.records.run_layout import CORRECTIONS, FAILED, LEDGER, MANIFEST, SHARDS, WRITTEN_FOLDERS
from ovforge.runs.executors.base import Executor, Finished, Outcome, ShardFailed
from ovforge.runs.heartbeat import worker_statuses
from ovforge.runs.ledger import Ledger, LedgerEntry
from ovforge.runs.live_progress import LiveProgress
from ovforge.runs.plan import Plan, differences, freeze, load_plan
from ovforge.runs.presence import RunPresence, other_calls
from ovforge.runs.stale_files import remove_stale_files
from ovforge.runs.task import Shard, Task
from ovforge.runs.worker import Attempt, Job


@dataclass(frozen=True)
class ShardSelection:
    """One part of a plan's shards: `3/16` is the third of sixteen parts, every 16th shard."""

    part: int = 1
    parts: int = 1

    @classmethod
    def parse(cls, text: str) -> ShardSelection:
        """Read `3/16`.

        Raises:
            InputError: not of that form, or not between 1/16 and 16/16.
        """
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        if match is None:
            raise InputError(
                f"--shards={text}: not of the form PART/PARTS", hint="write 3/16 for the third of 16 parts"
            )
        part, parts = int(match[1]), int(match[2])
        if not 1 <= part <= parts:
            raise InputError(
                f"--shards={text}: the parts of {parts} are 1/{parts} to {parts}/{parts}",
                hint="a Slurm array that fits: `--array=1-" + f"{max(parts, 1)}`",
            )
        return cls(part, parts)

    def of(self, shards: Iterable[Shard]) -> list[Shard]:
        """Those of `shards` that belong to this part."""
        return [shard for shard in shards if shard.index % self.parts == self.part - 1]

    def __str__(self) -> str:
        return f"{self.part}/{self.parts}"


class FailedShard(msgspec.Struct, frozen=True):
    """A shard that failed ATTEMPTS times; kept in `failed/NNNNNN.json` until it is done."""

    shard: int
    first_item: int
    items: int
    tries: int
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True)
class RunResult:
    """What a run has come to, over the whole plan, whoever did it."""

    folder: Path
    plan: Plan
    entries: dict[int, LedgerEntry]
    """The finished shards by number, in order."""
    failed: tuple[FailedShard, ...]
    """The shards that failed in this call."""
    ledger: Ledger
    done_before: int
    """How many of the shards asked for were done when this call began."""

    @property
    def complete(self) -> bool:
        """Whether every shard of the plan is done."""
        return len(self.entries) == len(self.plan.shards())

    @property
    def shard_files(self) -> tuple[Path, ...]:
        """The files of the finished shards in order, without those that a larger output has taken in."""
        return tuple(self.folder / entry.file for entry in self.entries.values() if not entry.consumed_by)

    @property
    def counts(self) -> dict[str, Any]:
        """What the finished shards counted, summed up; the order of keys is the first shard's."""
        total: dict[str, Any] = {}
        for entry in self.entries.values():
            _add(total, entry.report.counts)
        return total

    @property
    def drops(self) -> tuple[Drop, ...]:
        """What the finished shards skipped. Asking lists it, so it is asked once (see `Drops`)."""
        drops = Drops()
        for entry in self.entries.values():
            drops.merge(entry.report.drops)
        return drops.freeze()

    @property
    def items(self) -> int:
        """How many items are done."""
        return sum(entry.report.items for entry in self.entries.values())

    def check(self) -> None:
        """Raise the WorkError of the shards that failed, if any."""
        if self.failed:
            raise _failure(self.folder, self.failed)


def run_plan(
    folder: Path,
    plan: Plan,
    task: Task,
    executor: Executor,
    *,
    overwrite: bool = False,
    shards: ShardSelection | None = None,
    raise_failed: bool = True,
    accept_versions: Collection[str] = (),
    names: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> RunResult:
    """Do what is left of `plan` in `folder`.

    What an earlier or a simultaneous call has done is not done again. Shards that fail ATTEMPTS times are given up, the
    others are done all the same; calling again tries those that failed. A plan under which no shard is done binds
    nobody: it is replaced by another one, and a call that ends before its first shard takes it away.

    Args:
        overwrite: throw away a run that is there. Outputs made from its shards are the caller's.
        shards: only this part of the plan; the result speaks of the whole plan.
        raise_failed: False: failed shards are only told in the result (call its `check` later).
        accept_versions: libraries whose version may differ from the run's.
        names: what the user calls the plan's entries (see `plan.differences`).

    Raises:
        PlanMismatchError: the run in `folder` was started with other options or inputs.
        WorkError: shards failed, or something stops all of them (a full disk).
        RunInterrupted: Ctrl-C, or a signal that asks to end; says what is done.
    """
    with RunPresence(folder):
        if overwrite:
            _remove_run(folder, shards)
        elif not is_started(folder):
            _discard_plan(folder, unless=plan)
        plan_id = freeze(plan, folder, accept_versions=accept_versions, names=names)
        try:
            job = Job(folder.absolute(), plan_id, task)  # workers may stand in other folders
            return _run(folder, job, plan, executor, shards=shards, raise_failed=raise_failed, progress=progress)
        except BaseException as error:
            if not is_started(folder):
                _discard_plan(folder)
            if isinstance(error, KeyboardInterrupt):
                raise _interrupted(error, folder, plan, plan_id) from error
            raise


class RunInterrupted(KeyboardInterrupt):
    """A run was asked to end, and has; `message` says how far it is."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def is_started(folder: Path) -> bool:
    """Whether a shard of the run in `folder` is done, or another call is at work on it: then its plan is binding."""
    return any((folder / LEDGER).glob("*.json")) or bool(other_calls(folder))


def _interrupted(error: KeyboardInterrupt, folder: Path, plan: Plan, plan_id: str) -> RunInterrupted:
    shards = plan.shards()
    done = Ledger(folder, plan_id).done(shards) if (folder / MANIFEST).is_file() else {}
    items = sum(shard.stop - shard.start for shard in shards if shard.index in done)
    state = f"{items:,} of {plan.items:,} items are done and stay done" if items else "nothing is done yet"
    return RunInterrupted(
        f"{str(error) or 'interrupted'}: {state} ({len(done):,} of {len(shards):,} shards, in {folder})"
    )


def _discard_plan(folder: Path, *, unless: Plan | None = None) -> None:
    """Remove a plan under which nothing was done, and the empty folders beside it; an equal one stays."""
    if not (folder / MANIFEST).is_file():
        return
    if unless is not None:
        with contextlib.suppress(InputError):  # one that cannot be read binds nobody either, but is not removed unasked
            if not differences(load_plan(folder)[0], unless):
                return
            (folder / MANIFEST).unlink(missing_ok=True)
        return
    with contextlib.suppress(OSError):
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder / FAILED, ignore_errors=True)
        for name in (SHARDS, LEDGER):
            with contextlib.suppress(OSError):
                (folder / name).rmdir()


def _run(
    folder: Path,
    job: Job,
    plan: Plan,
    executor: Executor,
    *,
    shards: ShardSelection | None,
    raise_failed: bool,
    progress: Progress,
) -> RunResult:
    remove_stale_files(folder)
    ledger = Ledger(folder, job.plan_id)
    selected = (shards or ShardSelection()).of(plan.shards())
    done = ledger.done(selected)
    waiting = [shard for shard in selected if shard.index not in done]
    for path in (folder / FAILED).glob("*.json"):
        if path.stem.isdigit() and int(path.stem) in done:  # done since by another process
            path.unlink(missing_ok=True)
    failed: list[FailedShard] = []
    live = LiveProgress(folder, plan.task, selected, set(done), progress)

    def report(outcome: Outcome) -> None:
        live.finish(outcome.shard)
        if isinstance(outcome, ShardFailed):
            failed.append(_failed_shard(folder, outcome))
        elif isinstance(outcome, Finished):
            failed_path(folder, outcome.shard.index).unlink(missing_ok=True)

    if waiting:
        try:
            with live:
                executor.execute(job, waiting, report)
        finally:
            remove_stale_files(folder)
    failed.sort(key=lambda one: one.shard)
    result = RunResult(folder, plan, ledger.done(plan.shards()), tuple(failed), ledger, len(done))
    lost = [s for s in selected if s.index not in result.entries and s.index not in {f.shard for f in failed}]
    if lost:
        raise WorkError(
            f"{folder}: the files of {len(lost)} finished shards are not there (first: shard {lost[0].index})",
            hint="was the folder changed meanwhile? run the same command again: these shards are done again",
        )
    if raise_failed:
        result.check()
    return result


def failed_path(folder: Path, index: int) -> Path:
    """The report of a failed shard."""
    return folder / FAILED / f"{index:06d}.json"


def _failed_shard(folder: Path, outcome: ShardFailed) -> FailedShard:
    shard = outcome.shard
    record = FailedShard(shard.index, shard.start, shard.stop - shard.start, outcome.tries, outcome.attempts)
    write_bytes(
        failed_path(folder, shard.index), msgspec.json.format(msgspec.json.encode(record)) + b"\n", overwrite=True
    )
    return record


def _failure(folder: Path, failed: tuple[FailedShard, ...]) -> WorkError:
    last = failed[0].attempts[-1].problem
    more = f"; {len(failed) - 1} more" if len(failed) > 1 else ""
    return WorkError(
        f"{failed_path(folder, failed[0].shard)}: shard {failed[0].shard} failed {failed[0].tries} times "
        f"and was given up, last with {last}{more}",
        hint=f"everything else is done; the tracebacks are in {folder / FAILED}; run the same command again to retry",
    )


def check_overwrite(path: Path, shards: ShardSelection | None) -> None:
    """Refuse to throw away, in one of several parts, what is at `path`.

    Raises:
        InputError: `shards` is one of several parts.
    """
    if shards is not None and shards.parts > 1:
        raise InputError(
            "--overwrite and --shards=PART/PARTS exclude each other: "
            "each part would throw away what the others have done",
            hint=f"remove {path} first, then start the parts",
        )


def _remove_run(folder: Path, shards: ShardSelection | None) -> None:
    check_overwrite(folder, shards)
    at_work = [seen.worker for seen in worker_statuses(folder) if seen.alive]
    if at_work:
        raise InputError(
            f"{folder}: process {at_work[0].pid} on {at_work[0].host} is at work there, --overwrite would pull it away",
            hint="stop it first",
        )
    # Entries name the plan that they belong to, so the order does not matter: what a kill leaves does not count.
    for name in WRITTEN_FOLDERS[1:]:
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (MANIFEST, CORRECTIONS):
        (folder / name).unlink(missing_ok=True)


def _add(total: dict[str, Any], counts: dict[str, Any]) -> None:
    for key, value in counts.items():
        if isinstance(value, dict):
            _add(total.setdefault(key, {}), value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            total[key] = total.get(key, 0) + value
        else:
            total.setdefault(key, value)
