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
from ovforge.options.pairs import PAIR_FRAMES, GenerateOptions
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
    """40 photographs with `variants` second views each, in 20 shards and 2 partitions; or clips of `frames` frames.

    With the engine `diffusion` a tiny model of the real classes repaints them; it is built once, beside the runs.
    """

    executor: str = "local"
    workers: int = 2
    engine: str = "warp"
    variants: int = 2
    frames: int = PAIR_FRAMES
    limit: int | None = None

    @property
    def name(self) -> str:
        each = f"{self.variants} second views" if self.frames == PAIR_FRAMES else f"{self.frames} frames"
        return f"pairs generate, {self.limit or 40} photographs, {each} each, engine {self.engine}"

    def command(self, folder: Path) -> list[str]:
        if self.engine == "diffusion" and not model(folder).exists():
            from tests.tiny_stable_diffusion import build_tiny_stable_diffusion

            build_tiny_stable_diffusion(model(folder))
        options = ["--executor", self.executor, "--workers", str(self.workers), "--engine", self.engine]
        options += ["--variants", str(self.variants), "--frames", str(self.frames)]
        options += ["--limit", str(self.limit)] if self.limit else []
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


def model(folder: Path) -> Path:
    """Where the tiny model is."""
    return folder.parent / "tiny-model"


def options(folder: Path, variants: int = 2, frames: int = PAIR_FRAMES, limit: int | None = None) -> GenerateOptions:
    """The run's options."""
    return GenerateOptions(
        NAME,
        out=folder,
        images=DATA / "mini/coco/train2017",
        annotations=DATA / "mini/lvis/lvis_v1_train.json",
        captions=DATA / "mini/coco/annotations/captions_train2017.json",
        partitions=2,
        variants=variants,
        frames=frames,
        limit=limit,
        shard_size=2,
    )


def main(args: list[str] | None = None, standalone_mode: bool = False) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--executor", default="local")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", default="warp")
    parser.add_argument("--variants", type=int, default=2)
    parser.add_argument("--frames", type=int, default=PAIR_FRAMES)
    parser.add_argument("--limit", type=int)
    given = parser.parse_args(args)
    generate_pairs(
        options(given.folder, given.variants, given.frames, given.limit),
        _engine(given.engine, given.folder),
        executor_of(given.executor, given.workers),
    )


def _engine(name: str, folder: Path) -> Engine:
    if name == "diffusion":
        from ovforge.options.diffusion import DiffusionOptions
        from ovforge.synthesis.diffusion.engine import DiffusionEngine

        small = {"batch_size": 2, "steps": 4, "width": 192, "height": 128, "cpu_threads": 1}
        return DiffusionEngine(DiffusionOptions(model(folder), device="cpu", **small))  # type: ignore[arg-type]
    from ovforge.synthesis.warp import FillEngine, WarpEngine

    return FillEngine() if name == "fill" else WarpEngine()


if __name__ == "__main__":
    sys.exit(run_app(main))  # type: ignore[arg-type]
