"""The steps of tracking data: LVIS and COCO in one file, its base classes, packed images, pairs."""

from __future__ import annotations

import os
from pathlib import Path

from ovforge.annotations import base_classes, merge_coco
from ovforge.annotations.pack_images import pack_images
from ovforge.errors import OutputExistsError
from ovforge.options import layout
from ovforge.options.annotations import CLASS_NAMES, BaseClassesOptions, MergeCocoOptions
from ovforge.options.diffusion import DiffusionOptions
from ovforge.options.pack import PackOptions
from ovforge.options.pairs import GenerateOptions
from ovforge.options.tracks import AnnotateOptions, MergeOptions
from ovforge.options.tracks import Reader as TracksReader
from ovforge.options.workflow import PairsEngine, WorkflowOptions
from ovforge.records.reporting import Progress, StepSummary
from ovforge.runs.executors.local import LocalExecutor, available_cores, visible_gpus
from ovforge.synthesis.generate import generate_pairs
from ovforge.synthesis.merge import merge_pairs
from ovforge.synthesis.repaint import Engine
from ovforge.synthesis.tracks import annotate_pairs
from ovforge.workflow.steps import TRACKING, Step

CLASS_NAMES_FILE = layout.TRACKING_LVIS_DIR / "annotations" / CLASS_NAMES


def merge_coco_step() -> Step:
    """LVIS with the COCO objects that it lacks."""

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        coco = next(path for path in layout.TRACKING_COCO_TRAIN_PLACES if (options.root / path).exists())
        step = MergeCocoOptions(
            lvis=options.root / layout.TRACKING_LVIS_TRAIN, coco=options.root / coco, overwrite=overwrite
        )
        return merge_coco(step, progress=progress)

    return Step("lvis merge-coco", TRACKING, (layout.TRACKING_MERGED,), ("tracking-lvis", "tracking-coco"), run)


def base_classes_step() -> Step:
    """The frequent and common classes of it, and the lists of class names."""

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        step = BaseClassesOptions(annotations=options.root / layout.TRACKING_MERGED, overwrite=overwrite)
        return base_classes(step, progress=progress)

    outputs = (layout.TRACKING_BASE, CLASS_NAMES_FILE)
    return Step("lvis base-classes", TRACKING, outputs, ("lvis merge-coco",), run)


def pack_images_step() -> Step:
    """The images in one HDF5 file."""

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        step = PackOptions(
            images=options.root / layout.TRACKING_IMAGES,
            out=options.root / layout.TRACKING_PACKED,
            annotations=options.root / layout.TRACKING_BASE,
            overwrite=overwrite,
        )
        return pack_images(step, progress=progress)

    needs = ("lvis base-classes", "tracking-images")
    return Step("lvis pack-images", TRACKING, (layout.TRACKING_PACKED,), needs, run)


def generate_step(name: str, engine: PairsEngine) -> Step:
    """The second views, in partitions."""
    words = f"pairs generate {name}" + ("" if engine is PairsEngine.FILL else f" --engine {engine.value}")

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        captions = options.root / layout.TRACKING_CAPTIONS
        step = GenerateOptions(
            name=name,
            out=options.root / layout.PAIRS_DIR,
            images=options.root / _images(options.root),
            annotations=options.root / layout.TRACKING_BASE,
            captions=captions if captions.exists() else None,
            overwrite=overwrite,
        )
        maker = _engine(options)
        gpus = visible_gpus() if engine is PairsEngine.DIFFUSION else ()
        workers = options.workers or len(gpus) or available_cores()
        executor = LocalExecutor(workers, gpus or (("cpu",) if engine is PairsEngine.DIFFUSION else None))
        return generate_pairs(step, maker, executor, progress=progress)

    needs = ["lvis base-classes", "tracking-images"]
    if engine is PairsEngine.DIFFUSION:
        needs.append("diffusion-model")
    uses = ("tracking-captions",) if engine is PairsEngine.DIFFUSION else ()
    done = layout.PAIRS_DIR / name / f"{name}_total_p_1_split_0.h5"
    return Step(words, TRACKING, (done,), tuple(needs), run, uses=uses)


def merge_pairs_step(name: str, generate: Step) -> Step:
    """All images and second views in one file."""

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        step = MergeOptions(
            name=name,
            folder=options.root / layout.PAIRS_DIR,
            annotations=options.root / layout.TRACKING_BASE,
            images=options.root / _images(options.root),
            overwrite=overwrite,
        )
        return merge_pairs(step, progress=progress)

    return Step(f"pairs merge {name}", TRACKING, (layout.PAIRS_DIR / f"{name}.h5",), (generate.name,), run)


def annotate_pairs_step(name: str, merge: Step, *, reader: TracksReader | None = None, out: Path | None = None) -> Step:
    """The annotation file of the pairs."""
    target = out or layout.PAIRS_DIR / "annotations" / f"{name}.json"
    words = f"pairs annotate {name}" + (f" --for {reader.value}" if reader else "") + (f" --out {out}" if out else "")

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        step = AnnotateOptions(
            name=name,
            folder=options.root / layout.PAIRS_DIR,
            out=options.root / target,
            annotations=options.root / layout.TRACKING_BASE,
            reader=reader,
            overwrite=overwrite,
        )
        return annotate_pairs(step, progress=progress)

    return Step(words, TRACKING, (target,), (merge.name,), run)


def link_step(source: Path, place: Path, need: Step) -> Step:
    """A file under the name that a reader's configuration has: a relative link."""

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        del progress
        path = options.root / place
        if path.is_symlink() and overwrite:
            path.unlink()
        if path.exists():
            raise OutputExistsError(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(options.root / source, path.parent))
        return StepSummary(step=f"link {place.name}", outputs={"link": str(path)})

    typed = f"ln -s {os.path.relpath(source, place.parent)} {place}"
    return Step(f"link {place.name}", TRACKING, (place,), (need.name,), run, typed=typed)


def _images(root: Path) -> Path:
    return layout.TRACKING_PACKED if (root / layout.TRACKING_PACKED).exists() else layout.TRACKING_IMAGES


def _engine(options: WorkflowOptions) -> Engine:
    if options.engine is PairsEngine.DIFFUSION:
        from ovforge.synthesis.diffusion import DiffusionEngine

        return DiffusionEngine(DiffusionOptions(model=options.root / layout.DIFFUSION_MODEL))
    from ovforge.synthesis.warp import FillEngine

    return FillEngine()
