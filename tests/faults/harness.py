"""Kills at random moments, each followed by a resume to the end, and what came out compared with an unbroken run.

    python -m tests.faults --kills 50                    # the pairs of the shared photographs, worker processes
    python -m tests.faults --kills 12 --executor ray
    python -m tests.faults --kills 50 --subject synthetic

Every kill is drawn from its seed: its kind, its moment, its victim. The moment lies anywhere in the time that an
unbroken run takes, start and end included.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from ovforge.files.atomic import is_temporary
from ovforge.files.machine import process_is_alive
from ovforge.runs.heartbeat import worker_statuses
from ovforge.runs.ledger import Ledger, LedgerEntry
from ovforge.runs.plan import file_sha256, load_plan

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"local": ("worker", "parent", "group"), "ray": ("worker", "parent", "group", "raylet")}
REMEASURE_EVERY = 5
_PATIENCE = 300.0


class Subject(Protocol):
    """What is being killed: a command that does a run in `folder` and can be given again."""

    name: str
    executor: str

    def command(self, folder: Path) -> list[str]:
        """The command; the same to start and to resume."""

    def run_folder(self, folder: Path) -> Path:
        """Where its manifest, shards and ledger are."""

    def outputs(self, folder: Path) -> dict[str, str]:
        """Once it is done: name -> SHA-256 of everything that it is for."""


@dataclass(frozen=True)
class Kill:
    """One kill and what it cost."""

    seed: int
    kind: str
    moment: float
    """Seconds after the start."""
    done: int
    """Shards that were done when it came."""
    shards: int
    lost: int
    """Shards that were begun and had to be begun again."""
    lost_work: float
    """Seconds that workers had spent on those."""
    seconds: float
    """Killed run and resume together."""
    lost_seconds: float
    """What that is more than the unbroken run measured last."""
    equal: bool


@dataclass
class _Running:
    process: subprocess.Popen[bytes]
    started: float
    log: Path

    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def wait(self) -> int:
        return self.process.wait(timeout=_PATIENCE)


def start(subject: Subject, folder: Path) -> _Running:
    """Start the command in a process group of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with log.open("ab") as out:
        process = subprocess.Popen(
            subject.command(folder), stdout=out, stderr=out, env=environment, start_new_session=True, cwd=folder
        )
    return _Running(process, time.monotonic(), log)


def unbroken(subject: Subject, folder: Path) -> tuple[dict[str, str], float]:
    """The outputs of an unbroken run, and the seconds that it took."""
    shutil.rmtree(folder, ignore_errors=True)
    running = start(subject, folder)
    _expect_success(running)
    return subject.outputs(folder), running.elapsed()


def kill_and_resume(subject: Subject, folder: Path, seed: int, *, expected: dict[str, str], seconds: float) -> Kill:
    """One seeded kill, the checks of what it left, the resume to the end, the comparison.

    Raises:
        AssertionError: a worker outlived its parent, a file under a final name is damaged, the resume failed.
    """
    draw = random.Random(seed)
    kind = draw.choice(KINDS[subject.executor])
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        moment = draw.uniform(0.0, seconds)
        running = start(subject, folder)
        time.sleep(moment)
        workers = _workers(subject, folder)
        struck = _strike(kind, running.process, subject, folder, draw)
        if struck is not None:
            break
        running.wait()  # it was faster than usual and is done: another moment
    before = running.elapsed()
    # In the killed process's own words: what it had done, and what it was at.
    done, at_work, total = _state(subject, folder)
    if kind == "worker":
        _expect_success(running)  # the run goes on by itself
        whole = running.elapsed()
    else:
        running.wait()
        _expect_all_gone(workers | _workers(subject, folder))
        done, at_work, total = _state(subject, folder)
        _check_whole(subject, folder)
        resumed = start(subject, folder)
        _expect_success(resumed)
        whole = before + resumed.elapsed()
    outputs = subject.outputs(folder)
    _check_whole(subject, folder)
    _expect_nothing_left(subject, folder)
    total = total or _state(subject, folder)[2]
    lost = {shard: spent for shard, spent in struck.items() if shard in at_work}
    return Kill(
        seed=seed,
        kind=kind,
        moment=round(moment, 3),
        done=done,
        shards=total,
        lost=len(lost),
        lost_work=round(sum(lost.values()), 3),
        seconds=round(whole, 2),
        lost_seconds=round(whole - seconds, 2),
        equal=outputs == expected,
    )


def _strike(
    kind: str, process: subprocess.Popen[bytes], subject: Subject, folder: Path, draw: random.Random
) -> dict[int, float] | None:
    """Kill. The shards that the victims were at, with the seconds spent on them; None if the run is over already."""
    while process.poll() is None:
        seen = [one for one in worker_statuses(subject.run_folder(folder)) if one.alive]
        spent = {one.worker.shard: one.age + one.worker.shard_seconds for one in seen if one.worker.shard is not None}
        if kind == "group":
            os.killpg(process.pid, signal.SIGKILL)
            return spent
        if kind == "parent":
            process.kill()
            return spent
        if kind == "raylet":
            victims = [child for child in children(process.pid) if "raylet/raylet" in _command_line(child)]
        else:
            victims = sorted(one.worker.pid for one in seen)
        if victims:
            victim = draw.choice(victims)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                if kind == "raylet":
                    return spent
                own = {one.worker.shard for one in seen if one.worker.pid == victim}
                return {shard: seconds for shard, seconds in spent.items() if shard in own}
        time.sleep(0.005)  # none has started yet
    return None


def _workers(subject: Subject, folder: Path) -> set[int]:
    return {seen.worker.pid for seen in worker_statuses(subject.run_folder(folder))}


def children(pid: int) -> list[int]:
    """The processes that `pid` has started."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _state(subject: Subject, folder: Path) -> tuple[int, set[int], int]:
    """(shards done, shards that workers were at, shards of the plan) by what the folder says."""
    run_folder = subject.run_folder(folder)
    if not (run_folder / "manifest.json").exists():
        return 0, set(), 0
    plan, plan_id = load_plan(run_folder)
    done = Ledger(run_folder, plan_id).done(plan.shards())
    at_work = {seen.worker.shard for seen in worker_statuses(run_folder) if seen.worker.shard is not None}
    return len(done), at_work - done.keys(), len(plan.shards())


def _check_whole(subject: Subject, folder: Path) -> None:
    """Every shard file that the ledger speaks of has the bytes that it had."""
    run_folder = subject.run_folder(folder)
    if not (run_folder / "manifest.json").exists():
        return
    plan, plan_id = load_plan(run_folder)
    entries: dict[int, LedgerEntry] = Ledger(run_folder, plan_id).done(plan.shards())
    for entry in entries.values():
        path = run_folder / entry.file
        if path.exists() or not entry.consumed_by:
            assert file_sha256(path) == entry.sha256, f"{path} is not what its ledger entry says"


def _expect_success(running: _Running) -> None:
    code = running.wait()
    tail = running.log.read_text(errors="replace")[-4000:]
    assert code == 0, f"the command ended with exit code {code}:\n{tail}"


def _expect_all_gone(workers: set[int]) -> None:
    deadline = time.monotonic() + 30
    while any(process_is_alive(pid) for pid in workers):
        assert time.monotonic() < deadline, f"workers outlived their parent: {sorted(workers)}"
        time.sleep(0.02)


def _expect_nothing_left(subject: Subject, folder: Path) -> None:
    run_folder = subject.run_folder(folder)
    left = sorted(path.name for path in run_folder.rglob("*") if is_temporary(path))
    assert not left, f"temporary files are left: {left}"


def campaign(
    subject: Subject, folder: Path, seeds: range, tell: Callable[[str], None] = lambda text: None
) -> tuple[list[Kill], float]:
    """A kill for every seed; the kills, and the seconds of an unbroken run.

    Every fifth kill an unbroken run is measured anew: machines are shared.
    """
    kills: list[Kill] = []
    measured: list[float] = []
    expected: dict[str, str] = {}
    seconds = 0.0
    for seed in seeds:
        if len(kills) % REMEASURE_EVERY == 0:
            outputs, seconds = unbroken(subject, folder / "unbroken")
            expected = expected or outputs
            assert outputs == expected, "unbroken runs differ among themselves"
            measured.append(seconds)
            tell(f"{subject.name}, {subject.executor}: an unbroken run takes {seconds:.2f} s, {len(expected)} outputs")
        kill = kill_and_resume(subject, folder / "broken", seed, expected=expected, seconds=seconds)
        kills.append(kill)
        tell(json.dumps(asdict(kill)))
    return kills, statistics.median(measured)


def summary(subject: Subject, kills: list[Kill], seconds: float) -> dict[str, object]:
    """The figures of a campaign, for docs/reliability.md."""
    lost = [kill.lost_seconds for kill in kills]
    return {
        "subject": subject.name,
        "executor": subject.executor,
        "kills": len(kills),
        "kinds": dict(sorted(Counter(kill.kind for kill in kills).items())),
        "equal to an unbroken run": sum(kill.equal for kill in kills),
        "shards in the plan": max(kill.shards for kill in kills),
        "kills before the first shard": sum(kill.done == 0 for kill in kills),
        "kills in the middle": sum(0 < kill.done < kill.shards for kill in kills),
        "kills after the last shard": sum(kill.done == kill.shards > 0 for kill in kills),
        "shards lost": sum(kill.lost for kill in kills),
        "most shards lost by a kill": max(kill.lost for kill in kills),
        "worker-seconds of work lost, mean": round(statistics.mean(kill.lost_work for kill in kills), 3),
        "worker-seconds of work lost, most": max(kill.lost_work for kill in kills),
        "unbroken run, seconds": round(seconds, 2),
        "seconds lost, mean": round(sum(lost) / len(lost), 2),
        "seconds lost, most": max(lost),
    }
