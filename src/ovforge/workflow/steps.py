"""The steps from downloads to what a detector or a tracker is trained on, in order, and how each of them stands.

A step is done when its outputs are there and none is older than what it was made from. Outputs that a user has from
elsewhere (an index or exemplars published with a paper) count like those that ovforge made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from ovforge.annotations import category_info, remove_rare
from ovforge.exemplars import collate_exemplars, crop_exemplars, sample_exemplars
from ovforge.imagenet import index as index_imagenet
from ovforge.imagenet import prepare as prepare_imagenet
from ovforge.options import layout
from ovforge.options.annotations import CategoryInfoOptions, RemoveRareOptions
from ovforge.options.exemplars import CollateOptions, CropOptions, SampleOptions
from ovforge.options.imagenet import IndexOptions, PrepareOptions
from ovforge.options.workflow import WorkflowOptions
from ovforge.records.reporting import Progress, StepSummary
from ovforge.runs.executors.base import Executor
from ovforge.runs.executors.local import LocalExecutor, available_cores
from ovforge.sources.imagenet21k import find_tree
from ovforge.workflow.inventory import InputState

RunStep = Callable[[WorkflowOptions, bool, Progress], StepSummary]
"""run(options, overwrite, progress); paths are taken below `options.root`."""


class StepStatus(str, Enum):
    """How a step stands."""

    DONE = "done"
    READY = "ready"
    STALE = "stale"
    """Its output is older than one of its inputs."""
    UNFINISHED = "unfinished"
    """It was begun and stopped; it resumes."""
    BLOCKED = "blocked"
    """An input is missing."""


@dataclass(frozen=True)
class Step:
    """One step: what it needs, what it makes, how a user would type it."""

    name: str
    job: str
    command: str
    outputs: tuple[Path, ...]
    needs: tuple[str, ...]
    """Inputs and earlier steps without which it cannot run."""
    uses: tuple[str, ...] = ()
    """Inputs that it takes where they are here."""
    given: tuple[Path, ...] = ()
    """Files from elsewhere that stand in for its output."""
    makes: str = ""
    """The input that its output is for later steps: it is done when that is there, and whole."""
    run: RunStep | None = None
    """None: `prepare` leaves it to the user."""


class StepState(msgspec.Struct, frozen=True):
    """One step, as it stands."""

    name: str
    job: str
    standing: StepStatus
    command: str
    output: str
    """The output, or the file from elsewhere that stands in for it."""
    missing: tuple[str, ...] = ()
    """Where the missing inputs belong, or which step makes them."""
    without: tuple[str, ...] = ()
    """Where inputs belong that it would use, but can do without."""
    prepared: bool = False
    """Whether `ovforge prepare` runs it."""


@dataclass(frozen=True)
class Workspace:
    """What there is to decide with: the inputs as found, and the steps' states so far."""

    root: Path
    inputs: Mapping[str, InputState]
    steps: dict[str, StepState] = field(default_factory=dict)


def survey(options: WorkflowOptions, inputs: Iterable[InputState]) -> list[StepState]:
    """How every step stands, in order."""
    around = Workspace(options.root, {state.key: state for state in inputs})
    for step in all_steps(options):
        around.steps[step.name] = standing(step, around)
    return list(around.steps.values())


def standing(step: Step, around: Workspace) -> StepState:
    """How one step stands, given the states of those before it."""
    missing = tuple(place for need in step.needs if (place := _missing(need, around)))
    without = tuple(place for use in step.uses if (place := _missing(use, around)))
    made = [path for path in step.outputs if (around.root / path).exists()]
    given = next((path for path in step.given if (around.root / path).exists()), None)
    if step.makes:
        whole = around.inputs[step.makes]
        given = Path(whole.place) if whole.present else None
        if whole.present:
            state = StepStatus.DONE
        elif missing:
            state = StepStatus.BLOCKED
        else:
            state = StepStatus.UNFINISHED if made else StepStatus.READY
    elif len(made) == len(step.outputs):
        sources = [path for key in (*step.needs, *step.uses) if (path := _path_of(key, around)) is not None]
        state = StepStatus.STALE if not missing and _older(around.root, made, sources) else StepStatus.DONE
    elif given is not None:
        state = StepStatus.DONE
    else:
        state = StepStatus.BLOCKED if missing else StepStatus.READY
    return StepState(
        name=step.name,
        job=step.job,
        standing=state,
        command=step.command,
        output=str(given if given is not None and (step.makes or not made) else step.outputs[0]),
        missing=missing if state is StepStatus.BLOCKED else (),
        without=without,
        prepared=step.run is not None,
    )


def _missing(key: str, around: Workspace) -> str:
    """Where a needed thing belongs, if it is not here; empty if it is."""
    if key in around.steps:
        return "" if around.steps[key].standing in (StepStatus.DONE, StepStatus.STALE) else f"`ovforge {key}`"
    return "" if around.inputs[key].present else around.inputs[key].place


def _path_of(key: str, around: Workspace) -> Path | None:
    if key in around.steps:
        return Path(around.steps[key].output)
    return Path(around.inputs[key].place) if around.inputs[key].present else None


def _older(root: Path, made: list[Path], sources: list[Path]) -> bool:
    # A folder's own time changes when an entry comes or goes; images below are not looked at one by one.
    newest = max((_time(root / source) for source in sources), default=0)
    return min(_time(root / path) for path in made) < newest


def _time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _remove_rare(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
    step = RemoveRareOptions(annotations=options.root / layout.LVIS_TRAIN, overwrite=overwrite)
    return remove_rare(step, progress=progress)


def _category_info(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
    step = CategoryInfoOptions(annotations=options.root / layout.LVIS_TRAIN, overwrite=overwrite)
    return category_info(step, progress=progress)


def _prepare_imagenet(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
    del overwrite  # it goes on where it was
    archive = next(path for path in layout.IMAGENET_ARCHIVES if (options.root / path).exists())
    step = PrepareOptions(source=options.root / archive, out=options.root / layout.IMAGENET_21K)
    return prepare_imagenet(step, _crew(options), progress=progress)


def _index_imagenet(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
    step = IndexOptions(
        imagenet=options.root / _imagenet(options.root),
        lvis=options.root / layout.LVIS_TRAIN,
        out=options.root / layout.IMAGENET_LVIS_INFO,
        overwrite=overwrite,
    )
    return index_imagenet(step, _crew(options), progress=progress)


def _collate(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
    def where_here(path: Path) -> Path | None:
        return options.root / path if (options.root / path).exists() else None

    step = CollateOptions(
        out=options.root / layout.EXEMPLAR_DICT,
        lvis_dir=options.root / layout.LVIS_DIR,
        imagenet_dir=where_here(_imagenet(options.root)),
        visual_genome_dir=where_here(layout.VISUAL_GENOME_DIR),
        overwrite=overwrite,
    )
    return collate_exemplars(step, progress=progress)


def _sample(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
    step = SampleOptions(
        exemplars=options.root / layout.EXEMPLAR_DICT,
        categories=options.root / layout.LVIS_TRAIN,
        out=options.root / layout.exemplars_of(options.k),
        k=options.k,
        seed=options.seed,
        overwrite=overwrite,
    )
    return sample_exemplars(step, progress=progress)


def _crop(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
    own = layout.exemplars_of(options.k)
    drawn = own if (options.root / own).exists() else _given_exemplars(options.k)
    step = CropOptions(
        exemplars=options.root / drawn,
        out=options.root / layout.crops_of(options.k),
        lvis_images=options.root / layout.COCO_DIR,
        imagenet_images=options.root / _imagenet(options.root),
        visual_genome_images=options.root / layout.VISUAL_GENOME_DIR,
        overwrite=overwrite,
    )
    return crop_exemplars(step, _crew(options), progress=progress)


def _crew(options: WorkflowOptions) -> Executor:
    return LocalExecutor(options.workers or available_cores())


def _imagenet(root: Path) -> Path:
    """The tree of ImageNet, relative to `root`."""
    found = find_tree(root / layout.IMAGENET_DIR)
    return found.relative_to(root) if found is not None else layout.IMAGENET_21K


def _given_exemplars(k: int) -> Path:
    """MM-OVOD publishes the exemplars of its paper under this name."""
    return layout.METADATA_DIR / f"lvis_image_exemplar_dict_K-{k:03d}_author.json"


def all_steps(options: WorkflowOptions) -> tuple[Step, ...]:
    """Every step in order: detection, then tracking."""
    k = options.k
    drawn, crops = layout.exemplars_of(k), layout.crops_of(k)
    images: dict[str, Any] = {
        "needs": ("exemplars sample", "coco-train-images"),
        "uses": ("imagenet", "visual-genome-images-1", "visual-genome-images-2"),
    }
    model = (options.root / layout.DIFFUSION_MODEL).exists()
    archive = next((str(path) for path in layout.IMAGENET_ARCHIVES if (options.root / path).exists()), "ARCHIVE")
    return (
        Step(
            "lvis remove-rare",
            "detection",
            "ovforge lvis remove-rare",
            (layout.LVIS_TRAIN_NORARE,),
            ("lvis-train",),
            run=_remove_rare,
        ),
        Step(
            "lvis category-info",
            "detection",
            "ovforge lvis category-info",
            (layout.LVIS_TRAIN_CATEGORY_INFO,),
            ("lvis-train",),
            run=_category_info,
        ),
        Step(
            "imagenet prepare",
            "detection",
            f"ovforge imagenet prepare {archive}",
            (layout.IMAGENET_21K,),
            ("imagenet-archive",),
            makes="imagenet",
            run=_prepare_imagenet,
        ),
        Step(
            "imagenet index",
            "detection",
            "ovforge imagenet index",
            (layout.IMAGENET_LVIS_INFO,),
            ("imagenet", "lvis-train"),
            run=_index_imagenet,
        ),
        Step(
            "exemplars collate",
            "detection",
            "ovforge exemplars collate",
            (layout.EXEMPLAR_DICT,),
            ("lvis-train",),
            ("imagenet", "visual-genome-objects", "visual-genome-images"),
            run=_collate,
        ),
        Step(
            "exemplars sample",
            "detection",
            f"ovforge exemplars sample -k {k}",
            (drawn,),
            ("exemplars collate", "lvis-train"),
            given=(_given_exemplars(k),),
            run=_sample,
        ),
        Step(
            "exemplars crop",
            "detection",
            f"ovforge exemplars crop --exemplars {drawn}{'' if k == layout.DEFAULT_K else f' --out {crops}'}",
            (crops / "classes.json",),
            **images,
            run=_crop,
        ),
        Step(
            "lvis merge-coco",
            "tracking",
            "ovforge lvis merge-coco",
            (layout.TRACKING_MERGED,),
            ("tracking-lvis", "tracking-coco"),
        ),
        Step(
            "lvis base-classes", "tracking", "ovforge lvis base-classes", (layout.TRACKING_BASE,), ("lvis merge-coco",)
        ),
        Step(
            "lvis pack-images",
            "tracking",
            "ovforge lvis pack-images",
            (layout.TRACKING_PACKED,),
            ("lvis base-classes", "tracking-images"),
        ),
        Step(
            "pairs generate",
            "tracking",
            f"ovforge pairs generate my_pairs --engine {'diffusion' if model else 'fill'}",
            (layout.PAIRS_DIR,),
            ("lvis base-classes", "tracking-images"),
            ("diffusion-model", "tracking-captions"),
        ),
    )
