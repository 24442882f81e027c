"""A subject without a data set: a task that writes HDF5 shards, and a command that joins them.

python -m tests.faults.synthetic FOLDER [--executor ray]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ovforge.cli.common import run_app
from ovforge.files.atomic import atomic_path
from ovforge.image_io.hdf5 import ImageReader, ImageWriter
from ovforge.runs.executors.base import Executor
from ovforge.runs.executors.local import LocalExecutor
from ovforge.runs.executors.ray import RayExecutor
from ovforge.runs.plan import Plan, file_sha256
from ovforge.runs.run import run_plan
from ovforge.runs.task import Shard, ShardReport, Slot

PLAN = Plan(task="numbers", items=48, shard_size=4, groups=(20, 28))


@dataclass(frozen=True)
class NumbersTask:
    """Writes noise drawn from the item's number, slowly enough to be killed at it."""

    seconds: float = 0.02
    shard_suffix: str = ".h5"

    def open(self, slot: Slot) -> NumbersTask:
        return self

    def run(self, shard: Shard, out: Path) -> ShardReport:
        with ImageWriter(out) as writer:
            for item in range(shard.start, shard.stop):
                time.sleep(self.seconds)
                writer.add(f"{item:06d}", np.random.default_rng(item).bytes(20_000))
        return ShardReport(shard.stop - shard.start)

    def close(self) -> None:
        pass


def numbers(folder: Path, executor: Executor) -> None:
    """Do the run and join each group; the shards that went into a group are taken away."""
    result = run_plan(folder / "run", PLAN, NumbersTask(), executor)
    for index, group in enumerate(PLAN.shards_by_group()):
        path = folder / "run" / f"group_{index}.h5"
        if path.exists() and all(result.entries[shard.index].consumed_by for shard in group):
            continue
        if not path.exists():
            with atomic_path(path) as temporary, ImageWriter(temporary) as joined:
                for shard in group:
                    with ImageReader(result.ledger.shard_path(shard, ".h5")) as reader:
                        for name in reader.names():
                            joined.add(name, reader.read(name))
        result.ledger.mark_consumed(group, path)
        for shard in group:
            result.ledger.shard_path(shard, ".h5").unlink(missing_ok=True)


@dataclass(frozen=True)
class SyntheticSubject:
    """The command of this file."""

    executor: str = "local"
    workers: int = 2
    name: str = "synthetic HDF5 task"

    def command(self, folder: Path) -> list[str]:
        options = ["--executor", self.executor, "--workers", str(self.workers)]
        return [sys.executable, "-m", "tests.faults.synthetic", str(folder), *options]

    def run_folder(self, folder: Path) -> Path:
        return folder / "run"

    def outputs(self, folder: Path) -> dict[str, str]:
        return {path.name: file_sha256(path) for path in sorted((folder / "run").glob("group_*.h5"))}


def executor_of(name: str, workers: int) -> Executor:
    """The executor of that name."""
    return RayExecutor(workers=workers) if name == "ray" else LocalExecutor(workers)


def main(args: list[str] | None = None, standalone_mode: bool = False) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--executor", default="local")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(args)
    numbers(given.folder, executor_of(given.executor, given.workers))


if __name__ == "__main__":
    sys.exit(run_app(main))  # type: ignore[arg-type]
