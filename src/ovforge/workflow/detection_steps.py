"""The steps of detection data: LVIS files, ImageNet-21K, exemplars, crops."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ovforge.annotations import category_info, remove_rare
from ovforge.errors import OutputExistsError
from ovforge.exemplars import collate_exemplars, crop_exemplars, sample_exemplars
from ovforge.imagenet import index as index_imagenet
from ovforge.imagenet import prepare as prepare_imagenet
from ovforge.options import layout
from ovforge.options.annotations import CategoryInfoOptions, RemoveRareOptions
from ovforge.options.exemplars import CollateOptions, CropForm, CropOptions, SampleOptions
from ovforge.options.imagenet import IndexOptions, PrepareOptions
from ovforge.options.workflow import WorkflowOptions
from ovforge.records.reporting import Progress, StepSummary
from ovforge.runs.executors.base import Executor
from ovforge.runs.executors.local import LocalExecutor, available_cores
from ovforge.sources.imagenet21k import find_tree
from ovforge.workflow.steps import DETECTION, Step

_CROP_SOURCES = ("imagenet", "visual-genome-images-1", "visual-genome-images-2")


def remove_rare_step() -> Step:
    """LVIS without the annotations of rare classes."""

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        step = RemoveRareOptions(annotations=options.root / layout.LVIS_TRAIN, overwrite=overwrite)
        return remove_rare(step, progress=progress)

    return Step("lvis remove-rare", DETECTION, (layout.LVIS_TRAIN_NORARE,), ("lvis-train",), run)


def category_info_step(source: Path = layout.LVIS_TRAIN, out: Path | None = None, *, need: str = "lvis-train") -> Step:
    """The classes of `source` with their counts, beside it or at `out`."""
    words = ["lvis category-info"]
    if source != layout.LVIS_TRAIN:
        words.append(f"--ann {source}")
    if out is not None:
        words.append(f"--out {out}")
    plain = CategoryInfoOptions(annotations=source, out=out)

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        step = CategoryInfoOptions(
            annotations=options.root / source, out=options.root / plain.output, overwrite=overwrite
        )
        return category_info(step, progress=progress)

    return Step(" ".join(words), DETECTION, (plain.output,), (need,), run)


def prepare_imagenet_step(root: Path) -> Step:
    """The images of ImageNet-21K by class, out of the archive."""
    archive = next((path for path in layout.IMAGENET_ARCHIVES if (root / path).exists()), layout.IMAGENET_ARCHIVES[0])

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        del overwrite  # it resumes
        step = PrepareOptions(source=options.root / archive, out=options.root / layout.IMAGENET_21K)
        return prepare_imagenet(step, _executor(options), progress=progress)

    return Step(
        "imagenet prepare",
        DETECTION,
        (layout.IMAGENET_21K,),
        ("imagenet-archive",),
        run,
        makes="imagenet",
        typed=f"ovforge imagenet prepare {archive}",
    )


def link_imagenet_step(root: Path, place: Path) -> Step:
    """The tree of classes under the name that a reader's configuration has: a relative link, nothing is copied."""
    target = os.path.relpath(_imagenet(root), place.parent)

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        del progress
        path = options.root / place
        if path.is_symlink() and overwrite:
            path.unlink()
        if path.exists():
            raise OutputExistsError(path)
        path.symlink_to(os.path.relpath(options.root / _imagenet(options.root), path.parent))
        return StepSummary(step=f"link {place.name}", outputs={"link": str(path)})

    return Step(f"link {place.name}", DETECTION, (place,), ("imagenet",), run, typed=f"ln -s {target} {place}")


def index_imagenet_step() -> Step:
    """The list of ImageNet's images of LVIS classes."""

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        step = IndexOptions(
            imagenet=options.root / _imagenet(options.root),
            lvis=options.root / layout.LVIS_TRAIN,
            out=options.root / layout.IMAGENET_LVIS_INFO,
            overwrite=overwrite,
        )
        return index_imagenet(step, _executor(options), progress=progress)

    return Step("imagenet index", DETECTION, (layout.IMAGENET_LVIS_INFO,), ("imagenet", "lvis-train"), run)


def collate_step() -> Step:
    """All exemplars of every class."""

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        def if_present(path: Path) -> Path | None:
            return options.root / path if (options.root / path).exists() else None

        step = CollateOptions(
            out=options.root / layout.EXEMPLAR_DICT,
            lvis_dir=options.root / layout.LVIS_DIR,
            imagenet_dir=if_present(_imagenet(options.root)),
            visual_genome_dir=if_present(layout.VISUAL_GENOME_DIR),
            overwrite=overwrite,
        )
        return collate_exemplars(step, progress=progress)

    uses = ("imagenet", "visual-genome-objects", "visual-genome-images")
    return Step("exemplars collate", DETECTION, (layout.EXEMPLAR_DICT,), ("lvis-train",), run, uses=uses)


def sample_step(k: int) -> Step:
    """K exemplars a class."""
    out = layout.exemplars_of(k)

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        step = SampleOptions(
            exemplars=options.root / layout.EXEMPLAR_DICT,
            categories=options.root / layout.LVIS_TRAIN,
            out=options.root / out,
            k=k,
            seed=options.seed,
            overwrite=overwrite,
        )
        return sample_exemplars(step, progress=progress)

    needs = ("exemplars collate", "lvis-train")
    return Step(f"exemplars sample -k {k}", DETECTION, (out,), needs, run, given=(_published_exemplars(k),))


def crop_step(k: int) -> Step:
    """The crops of K exemplars a class, in folders named by category ids."""
    sampled, out = layout.exemplars_of(k), layout.crops_of(k)

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        step = replace(_crop_options(options, k, out), overwrite=overwrite)
        return crop_exemplars(step, _executor(options), progress=progress)

    return Step(
        "exemplars crop",
        DETECTION,
        (out / "classes.json",),
        (f"exemplars sample -k {k}", "coco-train-images"),
        run,
        uses=_CROP_SOURCES,
        typed=f"ovforge exemplars crop --exemplars {sampled}" + ("" if k == layout.DEFAULT_K else f" --out {out}"),
    )


def crop_lists_step(k_val: int, k_train: int, out: Path) -> Step:
    """The crops of two lists, in folders numbered by the classes' places from 0: `val` of one, `train` of the other."""
    val, train = layout.exemplars_of(k_val), layout.exemplars_of(k_train)

    def run(options: WorkflowOptions, overwrite: bool, progress: Progress) -> StepSummary:
        step = replace(
            _crop_options(options, k_val, out),
            train_exemplars=options.root / _sampled(options.root, k_train),
            form=CropForm.LISTS,
            overwrite=overwrite,
        )
        return crop_exemplars(step, _executor(options), progress=progress)

    return Step(
        "exemplars crop --form lists",
        DETECTION,
        (out / "classes.json",),
        (f"exemplars sample -k {k_val}", f"exemplars sample -k {k_train}", "coco-train-images"),
        run,
        uses=_CROP_SOURCES,
        typed=f"ovforge exemplars crop --form lists --exemplars {val} --train-exemplars {train} --out {out}",
    )


def _crop_options(options: WorkflowOptions, k: int, out: Path) -> CropOptions:
    return CropOptions(
        exemplars=options.root / _sampled(options.root, k),
        out=options.root / out,
        lvis_images=options.root / layout.COCO_DIR,
        imagenet_images=options.root / _imagenet(options.root),
        visual_genome_images=options.root / layout.VISUAL_GENOME_DIR,
    )


def _executor(options: WorkflowOptions) -> Executor:
    return LocalExecutor(options.workers or available_cores())


def _imagenet(root: Path) -> Path:
    """The tree of ImageNet, relative to `root`."""
    found = find_tree(root / layout.IMAGENET_DIR)
    return found.relative_to(root) if found is not None else layout.IMAGENET_21K


def _sampled(root: Path, k: int) -> Path:
    own = layout.exemplars_of(k)
    return own if (root / own).exists() else _published_exemplars(k)


def _published_exemplars(k: int) -> Path:
    """MM-OVOD and OVMR publish the exemplars of their papers under this name."""
    return layout.METADATA_DIR / f"lvis_image_exemplar_dict_K-{k:03d}_author.json"
