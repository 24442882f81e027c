"""The inputs of a pairs run, found and compared by content: for resuming, merging, annotating and replaying alike."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from ovforge.errors import ImageError, InputError, MissingInputError
from ovforge.image_io.store import ImageStore
from ovforge.options.base import option_names
from ovforge.options.diffusion import DiffusionOptions
from ovforge.options.pairs import (
    DEFAULT_ANNOTATIONS,
    DEFAULT_CAPTIONS,
    DEFAULT_GAP,
    DEFAULT_IMAGES,
    DEFAULT_MIN_AREA,
    ClipMotion,
    GenerateOptions,
)
from ovforge.options.tracks import PAIRS_ANNOTATIONS
from ovforge.records.run_layout import PartitionFiles, find_partitions, run_command
from ovforge.runs.plan import InputFile, Plan, file_sha256, find_input, input_names, plan_if_any
from ovforge.runs.run import is_started
from ovforge.synthesis.pair_file import read_about
from ovforge.synthesis.repaint import Engine

SAMPLED_IMAGES = 256
"""So many images, spread evenly over a run, stand for the content of its store of images."""


PLAN_NAMES = {
    "items": "images",
    "groups": "--partitions",
    "engine.engine": "--engine",
    "engine.working_size": "--working-size",
    **{field.name: option_names(field)[0] for field in fields(GenerateOptions)},
    **{f"engine.{field.name}": option_names(field)[0] for field in fields(DiffusionOptions)},
}
"""What the user calls the entries of a run's plan."""


def binding_plan(run_folder: Path) -> Plan | None:
    """The plan of the run in `run_folder` if anything was done under it or another call is at work; else None.

    Raises:
        LostPlanError: there is work of a run, but no manifest.
        InputError: there is a manifest, but none that can be read.
    """
    plan = plan_if_any(run_folder)
    if plan is None:
        return None
    partitions = find_partitions(run_folder, max(1, len(plan.groups)))
    if is_started(run_folder) or any(files.are_there for files in partitions):
        return plan
    return None


def with_run_values(
    options: GenerateOptions, plan: Plan, engine: Engine, given: Collection[str] | None = None
) -> tuple[GenerateOptions, list[str]]:
    """The options for resuming a run: whatever was not given takes the run's own value; and notes of those values that
    a new run would not have.

    Args:
        given: names of the options that were given; None: all but those that are None.

    Raises:
        MissingInputError: an input is not where it was, and was not given.
    """
    values: dict[str, Any] = {
        "partitions": len(plan.groups) or 1,
        "seed": plan.seed,
        "shard_size": plan.shard_size,
        **{field.name: plan.options[field.name] for field in fields(options) if field.name in plan.options},
    }
    if given is None:
        values = {name: value for name, value in values.items() if getattr(options, name) is None}
    else:
        values = {name: value for name, value in values.items() if name not in given}
    if engine.name != plan.options.get("engine", {}).get("engine"):  # which is refused, and these are its own
        values = {name: value for name, value in values.items() if name not in ("outside", "min_area")}
    usual = {
        **asdict(GenerateOptions(options.name)),
        "min_area": DEFAULT_MIN_AREA,
        "motion": ClipMotion.VIDEO,
        "gap": DEFAULT_GAP,
        "outside": engine.traits.outside[0],
        "shard_size": plan.shard_size,  # it follows from the number of images
    }
    notes = [
        f"{_as_option(name, value)}: as the run was started"
        for name, value in values.items()
        if value is not None and value != usual[name]
    ]
    folder = options.folder
    if options.annotations is None:
        values["annotations"] = find_input(plan, "annotations", folder, default=DEFAULT_ANNOTATIONS)
    if options.images is None:
        values["images"] = find_input(plan, "images", folder, default=_first_existing(DEFAULT_IMAGES))
    if options.captions is None and not options.no_captions:
        if "captions" in plan.inputs:
            values["captions"] = find_input(plan, "captions", folder, default=DEFAULT_CAPTIONS)
        else:
            values["no_captions"] = True
    return replace(options, **values), notes


def _as_option(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return PLAN_NAMES[name] if value else f"--no-{name.replace('_', '-')}"
    return f"{PLAN_NAMES[name]} {value:g}" if isinstance(value, float) else f"{PLAN_NAMES[name]} {value}"


def default_images() -> Path:
    """The first of the default places of images that is there.

    Raises:
        MissingInputError: none is.
    """
    path = _first_existing(DEFAULT_IMAGES)
    if path is None:
        raise MissingInputError(
            " or ".join(map(str, DEFAULT_IMAGES)),
            what="images",
            hint="give a folder or HDF5 file with --images=PATH",
        )
    return path


def default_annotations() -> Path:
    """The default annotation file.

    Raises:
        MissingInputError: it is not there; says what makes it.
    """
    if not DEFAULT_ANNOTATIONS.exists():
        raise MissingInputError(
            DEFAULT_ANNOTATIONS,
            what="annotation file",
            hint=("give your own with --annotations=FILE", "`ovforge prepare` makes this one from LVIS and COCO"),
        )
    return DEFAULT_ANNOTATIONS


def missing_images(store: ImageStore, names: Sequence[str]) -> list[str]:
    """Those of `names` that the store does not have; it is listed once, and asked only for what is not listed."""
    there = set(store.names())
    return [name for name in names if name not in there and name not in store]


def require_most_images(store: ImageStore, names: Sequence[str]) -> list[str]:
    """Refuse a store that lacks more than half of a run's images: it is probably another one; those that are missing.

    Raises:
        InputError: names the store and some images.
    """
    missing = missing_images(store, names)
    if len(missing) * 2 > len(names):
        raise InputError(
            f"{store.path}: {len(missing):,} of {len(names):,} images are not there: {', '.join(missing[:3])}, ...",
            hint="are these the images of the annotation file? give their folder or HDF5 file with --images=PATH, "
            "or --limit=N for a trial of the first images",
        )
    return missing


def describe_images(store: ImageStore, names: Sequence[str]) -> InputFile:
    """Describe the images of a run by their names and by the content of some, whatever they are stored in.

    So a run may be started from a folder and resumed from an HDF5 file of the same images. Images that cannot be read
    now are not in the sample.
    """
    step = max(1, -(-len(names) // SAMPLED_IMAGES))
    sample = {}
    for name in names[::step]:
        try:
            data = store.read(name)
        except (ImageError, OSError):
            continue
        sample[name] = f"{len(data)}:{zlib.crc32(data):08x}"
    return input_names(store.path, names, sample)


def _first_existing(paths: Sequence[Path]) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def planned_annotations(annotations: Path | None, plan: Plan | None, run_folder: Path | None = None) -> Path:
    """The annotation file that a run was made from: as given, or where the run last saw it, or the default place.

    Raises:
        MissingInputError: it is not there; names every place that was looked at.
    """
    if plan is not None and "annotations" in plan.inputs and (annotations is None or annotations.exists()):
        folder = run_folder if run_folder is not None else Path(plan.folder or ".")
        return find_input(plan, "annotations", folder, given=annotations, default=PAIRS_ANNOTATIONS)
    path = annotations or PAIRS_ANNOTATIONS
    if not path.is_file():
        raise MissingInputError(
            path,
            what="the annotation file that the pairs were made from",
            hint="say where it is with --annotations=FILE",
        )
    return path


def check_labels(merged: PartitionFiles, plan: Plan | None) -> None:
    """Refuse merged files whose labels are of an annotation file that was corrected since.

    Raises:
        InputError: the run has another annotation file now.
    """
    if plan is None or "annotations" not in plan.inputs or not merged.pairs.is_file():
        return
    labels = read_about(merged.pairs).labels
    if labels and labels != plan.inputs["annotations"].sha256:
        raise InputError(
            f"{merged.pairs}: was merged before the run's annotation file was corrected",
            hint=f"`{run_command('merge', merged.h5.parent, merged.h5.stem, '--overwrite')}` takes the new labels over",
        )


def check_annotations(path: Path, plan: Plan | None) -> None:
    """Refuse another annotation file than the plan's, by its size and hash.

    Raises:
        InputError: the plan speaks of a file with other bytes.
    """
    noted = plan.inputs.get("annotations") if plan is not None else None
    if noted is not None and (path.stat().st_size != noted.size or file_sha256(path) != noted.sha256):
        raise InputError(
            f"{path}: is not the file that the run was started with (sha256 {noted.sha256[:12]}, {noted.size:,} bytes)",
            hint="give that file with --annotations; a corrected one is taken over by `ovforge pairs generate NAME "
            "--ann FILE`, which makes only those images again whose objects or size have changed",
        )
