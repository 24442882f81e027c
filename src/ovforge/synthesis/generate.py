"""`pairs generate`: the images of an annotation file, each with its second views, in HDF5 partitions.

The run is a plan of shards over the images in file order, done by whatever executor the caller brings. Partition i
of P holds images [i * n // P, ...): floor division, the last takes the rest, as in OVTrack.
"""

from __future__ import annotations

import glob
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ovforge import __version__
from ovforge.errors import InputError, MissingInputError, OutputExistsError
from ovforge.image_io.listed_images import require_listed_images
from ovforge.image_io.store import open_image_store
from ovforge.options.pairs import DEFAULT_CAPTIONS, DEFAULT_IMAGES, DEFAULT_SAVE_DIR, GenerateOptions
from ovforge.records.reporting import Progress, StepSummary, no_progress, require_some
from ovforge.runs.executors.base import Executor
from ovforge.runs.heartbeat import worker_statuses
from ovforge.runs.plan import MANIFEST, InputFile, Plan, input_file, input_names
from ovforge.runs.run import RunResult, ShardSelection, run
from ovforge.synthesis.image_table import ImageTable, read_images
from ovforge.synthesis.pair_task import PairTask
from ovforge.synthesis.pairs import PairSettings
from ovforge.synthesis.partitions import partition_sizes, publish_partitions
from ovforge.synthesis.repaint import Engine

SMALLEST_SHARD, LARGEST_SHARD, SHARDS_AIMED_AT = 8, 128, 64


@dataclass(frozen=True)
class PairRun:
    """A run that is ready to be done."""

    plan: Plan
    task: PairTask
    notes: tuple[str, ...]


def generate_pairs(
    options: GenerateOptions,
    engine: Engine,
    executor: Executor,
    *,
    threads: int = 1,
    shards: ShardSelection | None = None,
    progress: Progress = no_progress,
) -> StepSummary:
    """Make the second views of every image, or go on where an earlier call was stopped, and publish the partitions.

    Args:
        options: what to make; the engine's own options are in `engine`.
        executor: who does the work; it has no influence on the result.
        threads: per worker, how many images are prepared and finished beside the engine's work.
        shards: only one part of the shards (several processes share a run); partitions are published by whoever
            finds them complete.

    Raises:
        InputError: an input is missing or malformed, or the run's folder holds another run.
        WorkError: shards failed; everything else is done and stays.
    """
    _check_folder(options)
    if options.overwrite and shards is not None and shards.parts > 1:
        raise InputError(
            "--overwrite and --shards=PART/PARTS exclude each other: "
            "each part would throw away what the others have done",
            hint=f"remove {options.folder} first, then start the parts",
        )
    prepared = plan_pairs(options, engine, threads=threads)
    if options.overwrite:
        _remove_partitions(options)
    try:
        result = run(
            options.folder,
            prepared.plan,
            prepared.task,
            executor,
            overwrite=options.overwrite,
            shards=shards,
            raise_failed=False,
            progress=progress,
        )
    finally:
        prepared.task.table.close()
    publish_partitions(options.folder)
    result.check()
    if result.complete:
        require_some(result.counts.get("images", 0), "image", prepared.task.images, "that can be used")
        require_some(
            result.counts.get("objects", 0), "object", options.annotations, f"larger than {options.min_area:g} pixels"
        )
    return _summary(options, prepared, result)


def plan_pairs(options: GenerateOptions, engine: Engine, *, threads: int = 1) -> PairRun:
    """Read and check the inputs, and lay out the work.

    Raises:
        InputError: an input is missing or malformed.
    """
    images = options.images or _default_images()
    captions, notes = _captions(options)
    table = read_images(options.annotations, captions, variants=options.variants, limit=options.limit)
    require_some(table.objects, "object", options.annotations, "in any image: crowd regions are not followed")
    if table.captions is not None and (lacking := table.captions.empty):
        notes.append(f"{lacking:,} of {len(table):,} images have no caption: their prompts are made from class names")
    settings = PairSettings(options.seed, options.variants, options.min_area, options.masks, options.quality)
    inputs = {
        "annotations": input_file(options.annotations),
        "images": _describe_images(images, table, options.annotations),
    }
    if captions is not None:
        inputs["captions"] = input_file(captions)
    plan = Plan(
        task="pairs",
        items=len(table),
        groups=_partition_sizes(len(table), options.partitions),
        shard_size=options.shard_size or shard_size(len(table)),
        seed=options.seed,
        options={
            **{key: value for key, value in asdict(settings).items() if key != "seed"},
            "limit": options.limit,
            "engine": engine.describe(),
            "image_list": table.digest(),
        },
        inputs=inputs,
        versions=library_versions(),
    )
    # Workers on other machines have another current folder.
    task = PairTask(table, images.absolute(), engine, settings, threads)
    return PairRun(plan, task, tuple(notes))


def _partition_sizes(table: int, partitions: int) -> tuple[int, ...]:
    if partitions > table:
        raise InputError(f"--partitions {partitions}: there are only {table} images")
    return partition_sizes(table, partitions)


def shard_size(table: int) -> int:
    """Images per shard: it follows from their number alone, so that a run can go on with any number of workers."""
    return min(max(table // SHARDS_AIMED_AT, SMALLEST_SHARD), LARGEST_SHARD)


def _check_folder(options: GenerateOptions) -> None:
    """Refuse partitions that are there, but not from a run of ours."""
    if options.overwrite or (options.folder / MANIFEST).exists():
        return
    for path in sorted(options.folder.glob(f"{glob.escape(options.name)}_total_p_*_split_*")):
        raise OutputExistsError(path, hint=("--overwrite replaces it", "--folder=DIR writes elsewhere"))


def _remove_partitions(options: GenerateOptions) -> None:
    """Partitions of the run that is thrown away; before its manifest goes, so that none outlives the run it is of."""
    at_work = [seen.worker for seen in worker_statuses(options.folder) if seen.alive]
    if at_work:
        raise InputError(
            f"{options.folder}: process {at_work[0].pid} on {at_work[0].host} is at work there", hint="stop it first"
        )
    for path in sorted(options.folder.glob(f"{glob.escape(options.name)}_total_p_*_split_*")):
        path.unlink()


def _default_images() -> Path:
    for path in DEFAULT_IMAGES:
        if path.exists():
            return path
    raise MissingInputError(
        " or ".join(map(str, DEFAULT_IMAGES)), what="images", hint="give their folder or HDF5 file with --images=PATH"
    )


def _captions(options: GenerateOptions) -> tuple[Path | None, list[str]]:
    if options.captions is not None:
        return options.captions, []
    if DEFAULT_CAPTIONS.exists():
        return DEFAULT_CAPTIONS, []
    return None, [f"{DEFAULT_CAPTIONS} is not there: prompts are made from class names (--captions gives another file)"]


def _describe_images(images: Path, table: ImageTable, annotations: Path) -> InputFile:
    with open_image_store(images) as store:
        require_listed_images(store, table.names, annotations)
        return input_names(images, table.names) if images.is_dir() else input_file(images)


def library_versions() -> dict[str, str]:
    """Those whose release may change a pixel."""
    return {
        "ovforge": __version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pycocotools": version("pycocotools"),
    }


def _summary(options: GenerateOptions, prepared: PairRun, result: RunResult) -> StepSummary:
    counts: dict[str, Any] = {"images planned": prepared.plan.items, **result.counts}
    notes = list(prepared.notes)
    total = len(prepared.plan.shards())
    if not result.complete:
        notes.append(f"{total - len(result.entries):,} of {total:,} shards are still to be done, by other parts")
    if result.done_before:
        notes.append(f"{result.done_before:,} shards were done by an earlier call")
    elsewhere = "" if options.save_dir == DEFAULT_SAVE_DIR else f" --folder {options.save_dir}"
    return StepSummary(
        step="pairs generate",
        outputs={"partitions": str(options.folder / f"{options.name}_total_p_{options.partitions}_split_*.h5")},
        counts=counts,
        drops=result.drops,
        notes=tuple(notes),
        next_command=(
            f"ovforge pairs merge {options.name}{elsewhere}"
            if result.complete
            else "the same command again, when the other parts are done"
        ),
    )
