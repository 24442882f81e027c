"""What a run's own folder says about it: its plan, and what its shards skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ovforge.records.reporting import Drop, Drops
from ovforge.records.run_layout import MANIFEST
from ovforge.runs.ledger import Ledger
from ovforge.runs.plan import load_plan


def read_engine(run_folder: Path) -> dict[str, Any]:
    """Which engine made the run, and what is to be noted of it; empty where there is no plan to ask.

    Raises:
        InputError: the manifest cannot be read.
    """
    if not (run_folder / MANIFEST).is_file():
        return {}
    described = load_plan(run_folder)[0].options.get("engine", {})
    return {key: described[key] for key in ("engine", "note") if key in described}


def read_drops(run_folder: Path) -> tuple[Drop, ...] | None:
    """What the run's finished shards skipped; None where there is no plan to ask.

    Raises:
        InputError: the manifest cannot be read.
    """
    if not (run_folder / MANIFEST).is_file():
        return None
    drops = Drops()
    for of_shard in _reported(run_folder):
        drops.merge(of_shard)
    return drops.freeze()


def read_skipped(run_folder: Path, kind: str, reason: str, kept: bool) -> list[tuple[str, str]]:
    """All that the run's finished shards skipped for one reason, or kept with this warning: names and places.

    Raises:
        InputError: the manifest cannot be read.
    """
    if not (run_folder / MANIFEST).is_file():
        return []
    return [
        (name, drop.places[number] if drop.places else "")
        for of_shard in _reported(run_folder)
        for drop in of_shard
        if (drop.kind, drop.reason, drop.kept) == (kind, reason, kept)
        for number, name in enumerate(drop.examples)
    ]


def _reported(run_folder: Path) -> Iterator[tuple[Drop, ...]]:
    """What each finished shard skipped."""
    plan, plan_id = load_plan(run_folder)
    ledger = Ledger(run_folder, plan_id)
    for shard in plan.shards():
        # Whether the shard's file is still there does not matter: what it skipped was skipped.
        if (entry := ledger.read(shard)) is not None:
            yield entry.report.drops
