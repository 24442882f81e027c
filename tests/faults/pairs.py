"""The subject that matters: `pairs generate` on real photographs, merged and annotated afterwards.

python -m tests.faults.pairs FOLDER [--executor ray]
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ovforge.cli.common import run_app
from ovforge.options.pairs import GenerateOptions
from ovforge.options.tracks import AnnotateOptions, MergeOptions
from ovforge.runs.plan import file_sha256
from ovforge.synthesis.generate import generate_pairs
from ovforge.synthesis.merge import merge_pairs
from ovforge.synthesis.repaint import Engine
from ovforge.synthesis.tracks import annotate_pairs
from tests.faults.synthetic import executor_of

DATA = Path(os.environ.get("OVFORGE_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
NAME = "pairs"


@dataclass(frozen=True)
class PairsSubject:
    """40 photographs with two second views each, in 20 shards and 2 partitions."""

    executor: str = "local"
    workers: int = 2
    engine: str = "warp"
    name: str = "pairs generate, 40 photographs"

    def command(self, folder: Path) -> list[str]:
        options = ["--executor", self.executor, "--workers", str(self.workers), "--engine", self.engine]
        return [sys.executable, "-m", "tests.faults.pairs", str(folder), *options]

    def run_folder(self, folder: Path) -> Path:
        return folder / NAME

    def outputs(self, folder: Path) -> dict[str, str]:
        """Merge and annotate, as the user does next; every file that comes out, and the partitions."""
        merge_pairs(MergeOptions(NAME, folder, overwrite=True))
        annotate_pairs(AnnotateOptions(NAME, folder, overwrite=True))
        paths = [*folder.glob(f"{NAME}.*"), *(folder / "annotations").iterdir(), *(folder / NAME).glob("*_split_*")]
        found = {path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(paths)}
        assert {f"{NAME}.h5", f"{NAME}.pkl", f"annotations/{NAME}.json"} <= found.keys()
        return found


def options(folder: Path) -> GenerateOptions:
    """The run's options."""
    return GenerateOptions(
        NAME,
        save_dir=folder,
        images=DATA / "mini/coco/train2017",
        annotations=DATA / "mini/lvis/lvis_v1_train.json",
        captions=DATA / "mini/coco/annotations/captions_train2017.json",
        partitions=2,
        variants=2,
        shard_size=2,
    )


def main(args: list[str] | None = None, standalone_mode: bool = False) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--executor", default="local")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", default="warp")
    given = parser.parse_args(args)
    generate_pairs(options(given.folder), _engine(given.engine), executor_of(given.executor, given.workers))


def _engine(name: str) -> Engine:
    if name != "warp":
        raise SystemExit(f"no engine {name} here")
    from ovforge.synthesis.warp import WarpEngine

    return WarpEngine()


if __name__ == "__main__":
    sys.exit(run_app(main))  # type: ignore[arg-type]
