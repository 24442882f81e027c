"""What a run's own folder says about it: its plan, and what its shards skipped."""

from __future__ import annotations

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
    plan, plan_id = load_plan(run_folder)
    ledger = Ledger(run_folder, plan_id)
    drops = Drops()
    for shard in plan.shards():
        # Whether the shard's file is still there does not matter: what it skipped was skipped.
        if (entry := ledger.read(shard)) is not None:
            drops.merge(entry.report.drops)
    return drops.freeze()
