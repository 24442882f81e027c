"""`pairs check`: everything that generating, merging and annotating will need, asked before the work starts.

`check_inputs` is what `pairs generate` itself calls first, so whatever is accepted here is accepted there, and by the
steps after it. `check_pairs` also says what will be skipped and why, and makes a few images to estimate time and disk.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ovforge.annotation_io.door import open_annotations
from ovforge.errors import InputError, Place
from ovforge.image_io.store import FolderStore, ImageStore, open_image_store
from ovforge.options.labels import Labels
from ovforge.options.pairs import DEFAULT_ANNOTATIONS, PAIR_FRAMES, GenerateOptions
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress
from ovforge.runs.plan import Plan, differences
from ovforge.runs.task import Shard, Slot
from ovforge.synthesis.clips.make import NO_OBJECT as NO_CLIP
from ovforge.synthesis.corrections import changed_images
from ovforge.synthesis.fingerprints import reads_prompts
from ovforge.synthesis.generate import PairRun, plan_pairs
from ovforge.synthesis.repaint import Engine
from ovforge.synthesis.run_inputs import PLAN_NAMES, binding_plan, missing_images, with_run_values
from ovforge.synthesis.verify import find_damage

_SHOWN = 3
SAMPLED = 6
"""So many images are made to estimate time and disk; the first one, which warms up, does not count for the time."""


def check_pairs(
    options: GenerateOptions,
    engine: Engine,
    *,
    workers: int = 1,
    device: str | None = None,
    given: Collection[str] | None = None,
    progress: Progress = no_progress,
) -> StepSummary:
    """Check what a run will need, and say what it will skip, write and take; nothing is written.

    Args:
        workers: for the estimate of time.
        device: where the engine is tried.

    Raises:
        InputError: generating, merging or annotating would refuse something; says what.
    """
    started = None if options.overwrite else binding_plan(options.folder)
    notes: list[str] = []
    if started is not None:
        options, taken = with_run_values(options, started, engine, given)
        notes += taken
    prepared = plan_pairs(options, engine)
    table = prepared.task.table
    try:
        if started is not None:
            notes += _compare(options, started, prepared, engine)
            if options.verify:
                damage = find_damage(options.folder, progress=progress)
                notes += damage.describe()
                if damage:
                    notes.append("`pairs generate --verify` makes again what is damaged")
        drops, usable = _skipped(options, prepared)
        counts: dict[str, Any] = {"images planned": prepared.plan.items, **usable}
        counts |= _sample(
            options, prepared, workers=workers, device=device, drops=drops, progress=progress, notes=notes
        )
    finally:
        table.close()
    return StepSummary(
        "pairs check",
        counts=counts,
        drops=drops.freeze(),
        notes=(*notes, *prepared.notes),
    )


def _compare(options: GenerateOptions, started: Plan, prepared: PairRun, engine: Engine) -> list[str]:
    """How the run that is there takes these options and inputs."""
    text_roles = {"annotations", "captions"}
    corrected = [
        role
        for role in text_roles & started.inputs.keys() & prepared.plan.inputs.keys()
        if started.inputs[role].sha256 != prepared.plan.inputs[role].sha256
    ]
    same_inputs = {**prepared.plan.inputs, **{role: started.inputs[role] for role in corrected}}
    found = differences(
        started, _with_inputs(prepared.plan, same_inputs), accept_versions=options.accept_versions, names=PLAN_NAMES
    )
    if found:
        raise InputError(
            f"{options.folder}: the run there was started differently: {'; '.join(found)}",
            hint="leave out an option to take the run's own, or give --overwrite to throw the run away",
        )
    if not corrected:
        return ["the run that is there would be resumed"]
    changed = changed_images(options.folder, prepared.task.table, reads_prompts=reads_prompts(engine))
    names = ", ".join(prepared.task.table.names[index] for index in changed[:3])
    return [
        f"{' and '.join(sorted(corrected))}: another file than at the run's start; "
        + (
            f"{len(changed):,} images would be made again, with --remake-changed ({names}, ...)"
            if changed
            else "no image has to be made again"
        )
    ]


def _with_inputs(plan: Plan, inputs: dict[str, Any]) -> Plan:
    import msgspec

    return msgspec.structs.replace(plan, inputs=inputs)


def _skipped(options: GenerateOptions, prepared: PairRun) -> tuple[Drops, dict[str, int]]:
    """What the annotation file and the store of images tell of what will be skipped."""
    drops = Drops()
    table = prepared.task.table
    with open_image_store(prepared.task.images) as store:
        missing = missing_images(store, table.names)
        absent = set(missing)
        _require_permission(store, [name for name in table.names if name not in absent])
    drops.add_all("image", "is missing", missing, place=prepared.task.images)
    annotations = options.annotations or DEFAULT_ANNOTATIONS
    min_area = prepared.task.settings.min_area
    with open_annotations(annotations, images=("name",), annotations=("area", "iscrowd"), categories=()) as file:
        columns = file.annotations
        mine = np.isin(columns["image_id"], table.ids)
        crowd = mine & (columns["iscrowd"] != 0)
        small = mine & ~crowd & ~(columns["area"] > min_area)
        followed = mine & ~crowd & ~small
        if prepared.task.settings.labels is not Labels.ALL:
            drops.add_all("annotation", "is a crowd region", columns["id"][crowd])
        elif crowd.any():
            drops.warn("annotation", "is a crowd region: it becomes an ignore region", count=int(crowd.sum()))
        drops.add_all("annotation", f"is not larger than {min_area:g} square pixels", columns["id"][small])
        with_objects = set(columns["image_id"][followed].tolist())
    for image_id, name in zip(table.ids.tolist(), table.names, strict=True):
        if image_id not in with_objects:
            if prepared.task.settings.frames == PAIR_FRAMES:
                drops.warn("image", "has no object to follow: its second view will be the image itself", name)
            else:
                drops.add("image", NO_CLIP, name)
    return drops, {"images that are there": len(table) - len(missing), "objects to follow": int(followed.sum())}


def _require_permission(store: ImageStore, names: Sequence[str]) -> None:
    """Refuse images that may not be read: a run would fail at their shards, and trying again would not help.

    Raises:
        InputError: names some, and the command that allows it.
    """
    forbidden = store.forbidden(names) if isinstance(store, FolderStore) else []
    if forbidden:
        more = ", ..." if len(forbidden) > _SHOWN else ""
        raise InputError(
            f"{len(forbidden):,} of {len(names):,} images may not be read: permission denied "
            f"({', '.join(forbidden[:_SHOWN])}{more})",
            place=Place(str(store.path)),
            hint=f"allow it, as with `{shlex.join(['chmod', '-R', 'u+rX', str(store.path)])}`, or ask their owner",
        )


def _sample(
    options: GenerateOptions,
    prepared: PairRun,
    *,
    workers: int,
    device: str | None,
    drops: Drops,
    progress: Progress,
    notes: list[str],
) -> dict[str, Any]:
    """Make a few images, spread over the run, and estimate from them."""
    items = prepared.plan.items
    positions = sorted({items * number // SAMPLED for number in range(min(SAMPLED, items))})
    times: list[float] = []
    sizes: list[int] = []
    with tempfile.TemporaryDirectory(prefix="ovforge-check-") as scratch:
        worker = replace(prepared.task, threads=1).open(Slot(0, device))
        try:
            for number, position in enumerate(positions):
                progress("trying some images", number, len(positions))
                out = Path(scratch) / f"{number}.h5"
                since = time.monotonic()
                report = worker.run(Shard(number, position, position + 1), out)
                times.append(time.monotonic() - since)
                sizes.append(out.stat().st_size)
                drops.merge([drop for drop in report.drops if drop.kind not in ("annotation", "image")])
                named = ("is missing", NO_CLIP)  # these are counted for all images already
                drops.merge([d for d in report.drops if d.kind == "image" and not d.kept and d.reason not in named])
        finally:
            worker.close()
    progress("trying some images", len(positions), len(positions))
    seconds = float(np.mean(times[1:] or times))
    # While a partition is published its shards are still there; the merged file comes on top.
    partitions = int(np.mean(sizes) * items)
    free = shutil.disk_usage(_existing_parent(options.out)).free
    needed = partitions + partitions // max(1, options.partitions) + partitions
    if needed > free:
        notes.append(f"{options.out}: {_bytes(free)} are free, {_bytes(needed)} may be needed")
    return {
        "seconds an image, one worker": round(seconds, 3),
        f"estimated time, {workers} {'worker' if workers == 1 else 'workers'}": str(
            timedelta(seconds=round(seconds * items / workers))
        ),
        "disk for the partitions": _bytes(partitions),
        "disk with the merged file": _bytes(needed),
        "disk free": _bytes(free),
    }


def _existing_parent(path: Path) -> Path:
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def _bytes(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
