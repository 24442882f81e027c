"""The runs of pairs in a folder, and how each stands, read from the disk alone."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ovforge.errors import InputError
from ovforge.records.run_layout import find_runs, merged_files, tracks_file
from ovforge.runs.plan import plan_if_any
from ovforge.runs.status import read_status


class PairsRun(msgspec.Struct, frozen=True):
    """One run, as found."""

    name: str
    images: int | None
    """Planned; None for a run of the original scripts, which leave no plan."""
    engine: str
    shards: int
    done: int
    failed: int
    workers: int
    """At work now."""
    merged: bool
    annotated: bool
    problem: str = ""
    """Why its plan cannot be read."""

    def describe(self) -> str:
        """The state in one line: `12,000 images by fill: merged and annotated`."""
        if self.problem:
            return self.problem
        if self.images is None:
            head = "made by the original scripts"
        else:
            head = f"{self.images:,} images" + (f" by {self.engine}" if self.engine else "")
        return f"{head}: {self._state()}"

    def _state(self) -> str:
        if self.annotated:
            return "merged and annotated" if self.merged else "annotated; its merged file is gone"
        if self.merged:
            return "merged"
        if self.images is None:
            return "not merged"
        if self.done == self.shards:
            return "made, not merged"
        parts = [f"{self.done:,} of {self.shards:,} shards done"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        parts.append(f"{self.workers} at work" if self.workers else "nobody at work")
        return ", ".join(parts)


def list_runs(folder: Path) -> list[PairsRun]:
    """Every run in `folder`, sorted by name; none where there is no such folder."""
    return [_run(folder, name) for name in find_runs(folder)]


def _run(folder: Path, name: str) -> PairsRun:
    merged = merged_files(folder, name).h5.is_file()
    annotated = tracks_file(folder, name).is_file()
    try:
        plan = plan_if_any(folder / name)
        if plan is None:
            return PairsRun(name, None, "", 0, 0, 0, 0, merged, annotated)
        state = read_status(folder / name)
    except InputError as error:
        return PairsRun(name, None, "", 0, 0, 0, 0, merged, annotated, error.reason)
    engine = plan.options.get("engine")
    return PairsRun(
        name=name,
        images=plan.items,
        engine=str(engine.get("engine", "")) if isinstance(engine, dict) else "",
        shards=state.shards,
        done=state.done,
        failed=state.failed,
        workers=state.workers,
        merged=merged,
        annotated=annotated,
    )
