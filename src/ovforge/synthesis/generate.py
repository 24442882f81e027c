"""`pairs generate`: the images of an annotation file, each with its second views, in HDF5 partitions.

The run is a plan of shards over the images in file order, done by whatever executor the caller brings. Partition i
of P holds images [i * n // P, ...): floor division, the last takes the rest, as in OVTrack.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ovforge import __version__
from ovforge.errors import InputError, LostPlanError, OutputExistsError, Place, WorkError
from ovforge.image_io.listed_images import require_listed_images
from ovforge.image_io.store import open_image_store
from ovforge.options.labels import Labels, Outside, Repaint
from ovforge.options.pairs import (
    DEFAULT_ANNOTATIONS,
    DEFAULT_CAPTIONS,
    DEFAULT_GAP,
    DEFAULT_MIN_AREA,
    PAIR_FRAMES,
    ClipMotion,
    GenerateOptions,
)
from ovforge.records.pairs import visibility_text
from ovforge.records.reporting import Drop, Progress, StepSummary, no_progress, require_some
from ovforge.records.run_layout import (
    CORRECTIONS,
    MANIFEST,
    find_partitions,
    has_lost_plan,
    list_partition_files,
    run_command,
)
from ovforge.runs.executors.base import Executor
from ovforge.runs.heartbeat import worker_statuses
from ovforge.runs.ledger import Ledger
from ovforge.runs.plan import Plan, freeze, id_of, input_file
from ovforge.runs.presence import other_calls
from ovforge.runs.run import RunResult, ShardSelection, check_overwrite, run_plan
from ovforge.synthesis.box_masks import NOTE as BOX_MASKS_NOTE
from ovforge.synthesis.clips.make import NO_OBJECT as NO_CLIP
from ovforge.synthesis.corrections import make_again, relabel, skipped_images, take_corrections
from ovforge.synthesis.engines import pinned
from ovforge.synthesis.fingerprints import reads_prompts
from ovforge.synthesis.image_table import read_images
from ovforge.synthesis.masks import TOO_SMALL
from ovforge.synthesis.pair_task import PairTask
from ovforge.synthesis.pairs import PairSettings
from ovforge.synthesis.partitions import adopt_partitions, check_published, partition_sizes, publish_partitions
from ovforge.synthesis.repaint import Engine
from ovforge.synthesis.run_inputs import (
    PLAN_NAMES,
    binding_plan,
    default_annotations,
    default_images,
    describe_images,
    require_most_images,
    with_run_values,
)
from ovforge.synthesis.verify import Damage, discard, find_damage, repair

_OF_CLIPS = ("frames", "motion", "gap")
SMALLEST_SHARD, LARGEST_SHARD, SHARDS_AIMED_AT = 8, 128, 64
MOST_FRAMES = 512
"""In a shard of clips, where that leaves `SMALLEST_SHARD` clips."""


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
    given: Collection[str] | None = None,
    progress: Progress = no_progress,
) -> StepSummary:
    """Make the second views of every image, or resume where an earlier call was stopped, and publish the partitions.

    Args:
        options: what to make; the engine's own options are in `engine`. On resuming, what was not given is taken from
            the run.
        executor: who does the work; it has no influence on the result.
        threads: per worker, how many images are prepared and finished beside the engine's work.
        shards: only one part of the shards (several processes share a run); partitions are published by whoever
            finds them complete.
        given: names of the options that were given, the others have their defaults; None: all but those that are None.

    Raises:
        InputError: an input is missing or malformed, or the run's folder holds another run.
        WorkError: shards failed, or most images could not be used; everything else is done and stays.
    """
    _check_folder(options)
    if options.overwrite:
        check_overwrite(options.folder, shards)
    notes: list[str] = []
    if not options.overwrite and has_lost_plan(options.folder):
        notes += _restore_plan(options, engine)
    started = None if options.overwrite else binding_plan(options.folder)
    damage = None
    if started is not None:
        notes += adopt_partitions(options.folder)
        options, taken = with_run_values(options, started, engine, given)
        notes += taken
        if options.verify:
            damage = find_damage(options.folder, progress=progress)
            discard(options.folder, damage)
    prepared = plan_pairs(options, engine, threads=threads)
    if options.overwrite:
        _remove_partitions(options)
    table = prepared.task.table
    try:
        if started is not None:
            notes += _take_over(options, engine, prepared, damage)
        result = run_plan(
            options.folder,
            prepared.plan,
            prepared.task,
            executor,
            overwrite=options.overwrite,
            shards=shards,
            raise_failed=False,
            accept_versions=options.accept_versions,
            names=PLAN_NAMES,
            progress=progress,
        )
        corrected = (options.folder / CORRECTIONS).is_file()
        publish_partitions(
            options.folder, (lambda index, record: relabel(record, table.image(index))) if corrected else None
        )
    finally:
        table.close()
    result.check()
    if result.complete:
        check_published(options.folder)
        require_some(
            result.counts.get("images", 0), "image", prepared.task.images, "that can be used", hint=_lost(result)
        )
        require_some(
            result.counts.get("objects", 0),
            "object",
            options.annotations or DEFAULT_ANNOTATIONS,
            f"larger than {prepared.task.settings.min_area:g} pixels",
        )
    summary = _summary(options, prepared, result, notes)
    _check_enough_images(options, result)
    return summary


def _take_over(options: GenerateOptions, engine: Engine, prepared: PairRun, damage: Damage | None) -> list[str]:
    """What a run that was started before needs first: corrected files, and images to be made again."""
    table = prepared.task.table
    notes = take_corrections(
        options.folder, prepared.plan, table, reads_prompts=reads_prompts(engine), remake=options.remake_changed
    )
    if damage is not None:
        notes += repair(options.folder, damage, table)
    if options.retry_skipped and (skipped := skipped_images(options.folder)):
        shards = make_again(options.folder, skipped, table)
        which = "1 skipped image is" if len(skipped) == 1 else f"{len(skipped):,} skipped images are"
        notes.append(f"{which} tried again, in {len(shards):,} of {len(prepared.plan.shards()):,} shards")
    return notes


def _restore_plan(options: GenerateOptions, engine: Engine) -> list[str]:
    """Write a manifest that was lost again, if these options and inputs give the one that the run was started with.

    Raises:
        LostPlanError: they do not.
    """
    try:
        prepared = plan_pairs(options, engine)
    except InputError as error:
        raise LostPlanError(options.folder, detail=f"to write it again: {error.message}") from error
    prepared.task.table.close()
    if id_of(prepared.plan, options.folder) not in Ledger.plans(options.folder):
        raise LostPlanError(options.folder, detail="these options and inputs are not those of the run's start")
    freeze(prepared.plan, options.folder)
    return [f"{MANIFEST} was missing and is written again: these options and inputs are those of the run's start"]


def plan_pairs(options: GenerateOptions, engine: Engine, *, threads: int = 1) -> PairRun:
    """Read and check the inputs, and lay out the work.

    Raises:
        InputError: an input is missing or malformed.
    """
    images = options.images or default_images()
    annotations = options.annotations or default_annotations()
    captions, notes = _captions(options, engine)
    notes = [*engine.traits.notes, *notes]
    settings = pair_settings(options, engine)
    table = read_images(
        annotations,
        captions,
        variants=settings.views,
        limit=options.limit,
        frames=settings.frames,
        box_masks=options.boxes_as_masks,
    )
    require_some(table.objects, "object", annotations, "in any image: crowd regions are not followed")
    if options.boxes_as_masks:
        notes.append(BOX_MASKS_NOTE)
    elif not table.has_masks:
        raise InputError(
            "has boxes only: none of its annotations has a segmentation, and objects are moved by their masks",
            place=Place(str(annotations)),
            hint=(
                "make masks from the boxes with a segmentation model, such as SAM, and write them as `segmentation`",
                "move rounded boxes instead, which is coarse, with --boxes-as-masks",
            ),
        )
    if engine.traits.uses_captions and table.captions is not None and (lacking := table.captions.empty):
        notes.append(f"{lacking:,} of {len(table):,} images have no caption: their prompts are made from class names")
    with open_image_store(images) as store:
        require_listed_images(store, table.names, annotations)
        require_most_images(store, table.names)
        inputs = {"annotations": input_file(annotations), "images": describe_images(store, table.names)}
    if captions is not None:
        inputs["captions"] = input_file(captions)
    described = engine.describe()
    plan = Plan(
        task="pairs",
        items=len(table),
        groups=_partition_sizes(len(table), options.partitions),
        shard_size=options.shard_size or shard_size(len(table), settings.frames),
        seed=options.seed,
        options={
            **described_settings(settings),
            "limit": options.limit,
            **({"boxes_as_masks": True} if options.boxes_as_masks else {}),
            "engine": described,
            "image_list": table.digest(),
        },
        inputs=inputs,
        versions=library_versions(),
        not_compared=("engine.model", "engine.lora_files"),
    )
    # Workers on other machines have another current folder.
    task = PairTask(table, images.absolute(), pinned(engine, described), settings, threads)
    return PairRun(plan, task, tuple(notes))


def pair_settings(options: GenerateOptions, engine: Engine) -> PairSettings:
    """What decides the pairs, by the options and the engine's nature.

    Raises:
        InputError: an option has no meaning for the engine.
    """
    traits = engine.traits
    who = f"the engine {engine.name} with --repaint=holes" if traits.only_holes else f"the engine {engine.name}"
    outside = Outside(options.outside or traits.outside[0])
    if outside not in traits.outside:
        raise InputError(
            f"--outside {outside.value}: {who} takes {traits.outside[0].value} only",
            hint="--repaint=background takes it"
            if traits.only_holes
            else f"`--engine {'warp' if outside is Outside.ORIGINAL else 'fill'}` has it so",
        )
    if options.frames > PAIR_FRAMES:
        return _clip_settings(options, engine, outside)
    labels = traits.labels(outside)
    if labels is Labels.ALL and options.min_area is not None:
        raise InputError(
            f"--min-area {options.min_area:g}: {who} keeps and labels every object",
            hint="leave small ones out afterwards: `ovforge pairs annotate --min-area`",
        )
    min_area = 0.0 if labels is Labels.ALL else DEFAULT_MIN_AREA if options.min_area is None else options.min_area
    return PairSettings(
        options.seed,
        options.variants,
        min_area,
        options.masks,
        options.quality,
        outside=outside,
        labels=labels,
        repaint=_repaint(engine),
    )


def _clip_settings(options: GenerateOptions, engine: Engine, outside: Outside) -> PairSettings:
    """What decides the clips: their background is completed, and every object is labelled."""
    if outside is not Outside.COMPLETED:
        raise InputError(
            f"--frames {options.frames}: clips have a completed background, the engine {engine.name} shows the original"
            if Outside.COMPLETED not in engine.traits.outside
            else f"--outside {outside.value}: clips have a completed background",
            hint="`--engine fill` needs no model",
        )
    return PairSettings(
        options.seed,
        1,
        0.0,
        options.masks,
        options.quality,
        outside=outside,
        labels=Labels.ALL,
        repaint=_repaint(engine),
        frames=options.frames,
        motion=ClipMotion(options.motion or ClipMotion.VIDEO),
        gap=DEFAULT_GAP if options.gap is None else options.gap,
    )


def _repaint(engine: Engine) -> Repaint:
    return Repaint.HOLES if engine.traits.only_holes else Repaint.BACKGROUND


def described_settings(settings: PairSettings) -> dict[str, Any]:
    """What the manifest says of the settings; the seed has a place of its own there."""
    fields = {key: value for key, value in asdict(settings).items() if key != "seed"}
    # Where every object is kept, there is no smallest area.
    min_area = None if settings.labels is Labels.ALL else settings.min_area
    fields |= {"min_area": min_area, "outside": settings.outside.value, "labels": settings.labels.value}
    fields["motion"] = settings.motion.value
    if settings.repaint is Repaint.BACKGROUND:
        del fields["repaint"]  # as in runs of before there was a choice
    else:
        fields["repaint"] = settings.repaint.value
    if settings.motion is ClipMotion.OVTRACK:
        del fields["gap"]
    if settings.frames == PAIR_FRAMES:
        fields = {key: value for key, value in fields.items() if key not in _OF_CLIPS}
    return fields


def settings_from_description(described: Mapping[str, Any], seed: int) -> PairSettings:
    """The settings that a manifest describes; one of before there was a choice means OVTrack's way."""
    names = set(asdict(PairSettings())) - {"seed", "min_area", "outside", "labels", "repaint", *_OF_CLIPS}
    return PairSettings(
        seed=seed,
        min_area=described["min_area"] or 0.0,
        **{name: described[name] for name in names},
        outside=Outside(described.get("outside", Outside.ORIGINAL)),
        labels=Labels(described.get("labels", Labels.OVTRACK)),
        repaint=Repaint(described.get("repaint", Repaint.BACKGROUND)),
        frames=described.get("frames", PAIR_FRAMES),
        motion=ClipMotion(described.get("motion", ClipMotion.VIDEO)),
        gap=described.get("gap", DEFAULT_GAP),
    )


def _partition_sizes(table: int, partitions: int) -> tuple[int, ...]:
    if partitions > table:
        raise InputError(f"--partitions {partitions}: there are only {table} images")
    return partition_sizes(table, partitions)


def shard_size(table: int, frames: int = PAIR_FRAMES) -> int:
    """Images per shard: it follows from the run alone, so that it can go on with any number of workers.

    A shard's records are held until it is written: the longer the clips, the fewer of them are in one.
    """
    size = min(max(table // SHARDS_AIMED_AT, SMALLEST_SHARD), LARGEST_SHARD)
    return size if frames == PAIR_FRAMES else min(size, max(MOST_FRAMES // (frames - 1), SMALLEST_SHARD))


def _check_folder(options: GenerateOptions) -> None:
    """Refuse partitions that are there, but not from a run of ovforge."""
    if options.overwrite or (options.folder / MANIFEST).exists() or has_lost_plan(options.folder):
        return
    for path in list_partition_files(options.folder):
        raise OutputExistsError(path, hint=("--overwrite replaces it", "--out=DIR writes elsewhere"))


def _remove_partitions(options: GenerateOptions) -> None:
    """Partitions of the run that is thrown away; before its manifest goes, so that none outlives the run it is of."""
    at_work = [(seen.worker.pid, seen.worker.host) for seen in worker_statuses(options.folder) if seen.alive]
    at_work += [(call.pid, call.host) for call in other_calls(options.folder)]
    if at_work:
        raise InputError(
            f"{options.folder}: process {at_work[0][0]} on {at_work[0][1]} is at work there", hint="stop it first"
        )
    for path in list_partition_files(options.folder):
        path.unlink()


def _captions(options: GenerateOptions, engine: Engine) -> tuple[Path | None, list[str]]:
    if options.no_captions or options.captions is not None:
        return options.captions, []
    if DEFAULT_CAPTIONS.exists():
        return DEFAULT_CAPTIONS, []
    if not engine.traits.uses_captions:
        return None, []
    return None, [f"{DEFAULT_CAPTIONS} is not there: prompts are made from class names (--captions gives another file)"]


def _lost(result: RunResult) -> str:
    """Why images could not be used, the most frequent reasons with some names."""
    lost = sorted(
        (drop for drop in result.drops if drop.kind == "image" and not drop.kept),
        key=lambda drop: -drop.count,
    )
    shown = [", ".join([*drop.examples[:3], *["..."] * (drop.count > len(drop.examples[:3]))]) for drop in lost[:3]]
    return "; ".join(f"{drop} ({names})" for drop, names in zip(lost, shown, strict=False))


def _check_enough_images(options: GenerateOptions, result: RunResult) -> None:
    """A run that could not use most of its images has not done its work, although it has come to its end.

    Raises:
        WorkError: no image, or less than half of them, could be used; names the reasons and some images.
    """
    used = int(result.counts.get("images", 0))
    used += sum(drop.count for drop in result.drops if drop.reason == NO_CLIP)  # which says nothing against them
    if not result.items or used * 2 >= result.items:
        return
    raise WorkError(
        f"{options.folder}: {f'only {used:,}' if used else 'none'} of {result.items:,} images could be used: "
        f"{_lost(result)}",
        hint="are these the images of the annotation file? when they are in place, run the same command again with "
        "--retry-skipped: it makes only those that are lacking",
    )


def library_versions() -> dict[str, str]:
    """Those whose release may change a pixel."""
    return {
        "ovforge": __version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pycocotools": version("pycocotools"),
    }


def _small_text(settings: PairSettings, drops: Sequence[Drop], objects: int) -> str:
    """How many objects are too small to be kept, and what share that is; empty where there is none."""
    small = sum(drop.count for drop in drops if drop.reason.startswith(TOO_SMALL))
    if not small:
        return ""
    total = small + round(objects / settings.variants)
    return (
        f"{small:,} of {total:,} objects ({small / total:.0%}) have an area of {settings.min_area:,.0f} square pixels "
        "or less: they are not kept and not labelled; --min-area=0 keeps all"
    )


def _summary(
    options: GenerateOptions, prepared: PairRun, result: RunResult, resume_notes: Sequence[str]
) -> StepSummary:
    counts: dict[str, Any] = {"images planned": prepared.plan.items, **result.counts}
    notes = [*resume_notes, *prepared.notes]
    if small := _small_text(prepared.task.settings, result.drops, result.counts.get("objects", 0)):
        notes.append(small)
    if seen := visibility_text(result.counts):
        notes.append(seen)
    total = len(prepared.plan.shards())
    if not result.complete:
        notes.append(f"{total - len(result.entries):,} of {total:,} shards are still to be done, by other parts")
    if result.done_before:
        shards_done = "1 shard was" if result.done_before == 1 else f"{result.done_before:,} shards were"
        notes.append(f"{shards_done} done by an earlier call")
    if devices := counts.pop("on", {}):
        notes.append("made on " + ", ".join(f"{name}: {count:,} images" for name, count in devices.items()))
    total_partitions = len(prepared.plan.groups) or 1
    stem = find_partitions(options.folder, total_partitions)[0].h5.name.removesuffix("0.h5")
    return StepSummary(
        step="pairs generate",
        outputs={"partitions": str(options.folder / f"{stem}*.h5")},
        counts=counts,
        drops=result.drops,
        notes=tuple(notes),
        next_command=(
            run_command("merge", options.out, options.name)
            if result.complete
            else "the same command again, when the other parts are done"
        ),
    )
