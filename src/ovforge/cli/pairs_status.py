"""`pairs status`: how far a run is, also while it runs and from another machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ovforge.cli.common import Console, command
from ovforge.cli.output import ForgivingStream, write_out
from ovforge.options.pairs import StatusOptions
from ovforge.records.pairs import visibility_text
from ovforge.records.run_layout import check_run_name

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ovforge.runs.status import RunStatus

WATCH_SECONDS = 2.0


def register(app: typer.Typer) -> None:
    """Add the command `status` to the group `pairs`."""
    command(app, "status", example="ovforge pairs status my_pairs --watch")(_status)


def _status(console: Console, options: StatusOptions) -> None:
    """How far a run is: shards done, running, failed; speed, time left, and where the slow ones are.

    Reads the run's folder alone: it works while the run is going on, and on any machine that sees the folder.
    """
    from ovforge.runs.status import read_status

    run_folder, watch = check_run_name(options.folder, options.name), options.watch
    if console.json:
        import msgspec

        for state in _states(run_folder, watch=watch):
            text = msgspec.json.encode(state)
            write_out((text if watch else msgspec.json.format(text)).decode() + "\n")
        return
    from rich.console import Console as RichConsole
    from rich.live import Live

    screen = RichConsole(file=ForgivingStream(sys.stdout))  # type: ignore[arg-type]
    if not watch or not screen.is_terminal:
        for state in _states(run_folder, watch=watch):
            screen.print(_table(state))
        return
    with Live(_table(read_status(run_folder)), console=screen, auto_refresh=False) as live:
        for state in _states(run_folder, watch=True):
            live.update(_table(state), refresh=True)


def _states(folder: Path, *, watch: bool) -> Iterator[RunStatus]:
    from ovforge.runs.status import read_status

    while True:
        state = read_status(folder)
        yield state
        if not watch or state.done == state.shards:
            return
        time.sleep(WATCH_SECONDS)


def _table(state: RunStatus) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text  # names and messages may hold brackets, which plain strings would have as markup

    facts = Table.grid(padding=(0, 2))
    facts.add_row("run", Text(state.folder))
    facts.add_row(
        "shards",
        f"{state.done:,} of {state.shards:,} done, {state.running:,} running, {state.waiting:,} waiting, "
        f"{state.failed:,} failed",
    )
    facts.add_row("items", f"{state.items_done:,} of {state.items:,}")
    facts.add_row("speed", _speed(state))
    facts.add_row("time left", _time_left(state))
    if seen := visibility_text(state.counts):
        facts.add_row("visibility", seen)
    parts: list[RenderableType] = [facts]
    if state.hosts:
        hosts = Table("machine", "workers now", "shards done", "items/s of a worker", title="Machines")
        for host in state.hosts:
            hosts.add_row(host.host, f"{host.workers}", f"{host.shards:,}", f"{host.items_per_second:.2f}")
        parts.append(hosts)
    if state.slowest:
        slow = Table("shard", "machine", "process/slot", "items", "seconds", title="Slowest shards")
        for one in state.slowest:
            slow.add_row(f"{one.shard:06d}", one.host, one.worker, f"{one.items:,}", f"{one.seconds:.1f}")
        parts.append(slow)
    if state.at_work:
        at_work = Table("machine", "process/slot", "shard", "seconds so far", title="At work")
        for worker in state.at_work:
            at_work.add_row(
                worker.host, f"{worker.pid}/{worker.slot}", f"{worker.shard:06d}", f"{worker.shard_seconds:.0f}"
            )
        parts.append(at_work)
    for lost in state.lost:
        parts.append(Text(f"no longer heard from: process {lost.pid} on {lost.host}, slot {lost.slot}"))
    for shard, problem in state.problems.items():
        parts.append(Text(f"failed: shard {shard:06d}: {problem}"))
    if state.failed:
        parts.append(Text(f"tracebacks: {state.folder}/failed; run the same command again to retry"))
    return Group(*parts)


def _speed(state: RunStatus) -> str:
    if state.items_per_second is not None:
        return f"{state.items_per_second:.2f} items/s by {state.workers} workers"
    if state.items_per_second_of_worker is not None:
        return f"none is at work; a worker did {state.items_per_second_of_worker:.2f} items/s"
    return "not known yet"


def _time_left(state: RunStatus) -> str:
    if state.seconds_left is None:
        return "not known"
    seconds = round(state.seconds_left)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
