"""Every family's tiny model from still images to tracks: generate, resume, merge, annotate, and one pair again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers", reason="needs the extra 'diffusion'")

from ovforge.errors import PlanMismatchError
from ovforge.image_io.hdf5 import ImageReader
from ovforge.options.diffusion import DiffusionOptions, Foreground
from ovforge.options.pairs import GenerateOptions
from ovforge.options.replay import ReplayOptions
from ovforge.options.tracks import AnnotateOptions, MergeOptions
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.synthesis.diffusion import DiffusionEngine
from ovforge.synthesis.generate import generate_pairs
from ovforge.synthesis.merge import merge_pairs
from ovforge.synthesis.replay import replay_pair
from ovforge.synthesis.tracks import annotate_pairs

KINDS = [
    "stable-diffusion",
    "stable-diffusion-xl",
    "stable-diffusion-3",
    "flux-dev",
    "flux-schnell",
    "flux-fill",
    "flux-kontext",
    "flux2-klein",
    "qwen-image",
    "z-image",
]


@pytest.mark.parametrize("kind", KINDS)
def test_from_stills_to_tracks(kind: str, tiny_family: Callable[[str], Path], mini: Path, tmp_path: Path) -> None:
    annotations = tmp_path / "annotations.json"
    annotations.write_bytes((mini / "lvis/lvis_v1_train.json").read_bytes())
    options = GenerateOptions(
        "run",
        out=tmp_path,
        images=mini / "coco/train2017",
        annotations=annotations,
        captions=mini / "coco/annotations/captions_train2017.json",
        limit=2,
    )
    quick: dict[str, Any] = {"device": "cpu", "cpu_threads": 1, "width": 64, "height": 64, "steps": 2}
    engine = DiffusionEngine(DiffusionOptions(model=tiny_family(kind), foreground=Foreground.EXACT, **quick))
    generate_pairs(options, engine, InProcessExecutor())
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())["plan"]["options"]["engine"]
    assert manifest["family"] in kind or kind.startswith(manifest["family"])
    generate_pairs(options, engine, InProcessExecutor())  # resumes: nothing is left to do
    with pytest.raises(PlanMismatchError, match="`steps`: 2 in the run, 3 now"):
        generate_pairs(options, replace(engine, options=replace(engine.options, steps=3)), InProcessExecutor())

    merge_pairs(MergeOptions("run", tmp_path))
    annotate_pairs(AnnotateOptions("run", tmp_path, annotations=annotations))
    tracks = json.loads((tmp_path / "annotations/run.json").read_text())
    pairs = json.loads((tmp_path / "run/run_total_p_1_split_0.pairs.json").read_text())["pairs"]
    views = {view["file_name"]: view["engine"] for record in pairs for view in record["variants"]}
    painted = [name for name, made in views.items() if made]
    assert painted and all(views[name]["attempt"] < 2 and "given_up" not in views[name] for name in painted)
    assert set(views) <= {image["file_name"] for image in tracks["images"]}
    with ImageReader(tmp_path / "run.h5") as reader:
        assert set(views) <= set(reader.names())

    one = next(record for record in pairs if any(view["file_name"] in painted for view in record["variants"]))
    summary = replay_pair(ReplayOptions("run", str(one["image_id"]), folder=tmp_path, model=tiny_family(kind)))
    assert summary.counts["equal to the run's, byte for byte"] == summary.counts["second views"] >= 1
