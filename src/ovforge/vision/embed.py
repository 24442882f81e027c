"""`exemplars embed`: one feature per exemplar, stored once, so that ten further exemplars cost ten.

The features lie in a folder: `features.json` says what they were made with, `parts/` holds those of every finished run.
What is not there yet is a run of its own, in `run/`, over the missing exemplars; whoever finds it complete makes it a
part. A run that was stopped goes on with the same command; if other exemplars are asked for meanwhile, what it has
finished becomes a part all the same.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ovforge.errors import InputError, MissingInputError, PlanMismatchError, WorkError
from ovforge.files.atomic import temporary_path, write_bytes
from ovforge.options.base import by_keywords
from ovforge.options.vision import EmbedOptions
from ovforge.records.exemplar import IMAGENET, LVIS, VISUAL_GENOME, Exemplar
from ovforge.records.features import PARTS_FOLDER, RUN_FOLDER, SETTINGS_FILE, FeatureSettings, feature_key
from ovforge.records.reporting import Progress, StepSummary, no_progress, shell_command
from ovforge.records.run_layout import MANIFEST
from ovforge.runs.executors.base import Executor
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.runs.heartbeat import worker_statuses
from ovforge.runs.ledger import Ledger
from ovforge.runs.plan import Plan, differences, input_names, load_plan
from ovforge.runs.run import RunResult, ShardSelection, run_plan
from ovforge.sources.exemplar_images import ExemplarImages, missing_hint
from ovforge.sources.exemplars import read_drawn
from ovforge.sources.features import FeatureFolder, add_part, part_files, read_part, read_settings
from ovforge.vision.devices import check_libraries
from ovforge.vision.embed_task import CropSettings, EmbedTask
from ovforge.vision.loading import describe_model
from ovforge.vision.model_folder import IMAGE, TEXT, VisionFolder, check_vision_folder

EXEMPLARS_A_SHARD = 256
IMAGES_TRIED = 20
"""Images of a data set that are looked for before the work; if none is there, the folder is the wrong one."""


@by_keywords(EmbedOptions)
def embed_exemplars(
    options: EmbedOptions,
    executor: Executor | None = None,
    *,
    shards: ShardSelection | None = None,
    progress: Progress = no_progress,
) -> StepSummary:
    """Give every exemplar of a file its feature; those that have one already are not looked at again.

    Args:
        options: which exemplars, which model, where to.
        executor: who does the work. None: this process.
        shards: only one part of the shards (several processes share the work).

    Raises:
        InputError: a file or folder that cannot be used; says which.
        MissingExtraError: torch or transformers is not installed.
        PlanMismatchError: the folder's features were made with another model or other settings.
        WorkError: shards failed; the others are done and stay.
    """
    check_libraries()
    found = check_vision_folder(options.vision, IMAGE)
    crop = CropSettings(options.context, options.square, options.augment, options.seed)
    settings = FeatureSettings(describe_model(found, options.model), _described(crop))
    wanted = _wanted(options.exemplars)
    folder = options.folder
    _freeze(folder, settings, overwrite=options.overwrite)
    there = FeatureFolder(folder)
    missing = tuple(exemplar for key, exemplar in wanted.items() if key not in there)
    roots = _roots(missing, options)
    plan = _plan(missing, options, settings)
    if (folder / RUN_FOLDER / MANIFEST).exists() and not _is_the_run_of(plan, folder / RUN_FOLDER):
        _keep_what_is_done(folder)
        there = FeatureFolder(folder)
        missing = tuple(exemplar for exemplar in missing if feature_key(exemplar) not in there)
        plan = _plan(missing, options, settings)
    before = len(wanted) - len(missing)
    if not missing:
        return _summary(options, found, len(wanted), before, None)
    _check_images(missing, roots)
    task = EmbedTask(missing, roots, options.model, crop, options.threads)
    parts = part_files(folder)
    try:
        result = run_plan(
            folder / RUN_FOLDER,
            plan,
            task,
            executor or InProcessExecutor(),
            shards=shards,
            raise_failed=False,
            progress=progress,
        )
        result.check()
        if result.complete:
            _make_part(folder, result.shard_files)
    except (WorkError, InputError):
        if part_files(folder) == parts:
            raise
        # Another process found the run complete, and has made the part and taken the run's folder away.
        note = "another process has put the features together"
        return StepSummary("exemplars embed", outputs={"features": str(folder)}, notes=(note,))
    return _summary(options, found, len(wanted), before, result)


def _summary(
    options: EmbedOptions, found: VisionFolder, wanted: int, before: int, result: RunResult | None
) -> StepSummary:
    complete = result is None or result.complete
    embedded = 0 if result is None else result.counts.get("exemplars embedded", 0)
    notes = []
    if result is not None and not result.complete:
        total = len(result.plan.shards())
        notes.append(f"{total - len(result.entries):,} of {total:,} shards are still to be done, by other parts")
    return StepSummary(
        step="exemplars embed",
        outputs={"features": str(options.folder)},
        counts={"exemplars": wanted, "had a feature": before, "embedded": embedded},
        drops=() if result is None else result.drops,
        notes=tuple(notes),
        next_command=(
            shell_command(
                "ovforge",
                "exemplars",
                "classifier",
                options.exemplars,
                features=options.folder,
                # A model that reads no texts makes a classifier from images alone.
                **({"vision": options.vision} if TEXT in found.uses else {"kind": "image"}),
                out="X.npy",
            )
            if complete
            else "the same command again, when the other parts are done"
        ),
    )


def _described(crop: CropSettings) -> dict[str, Any]:
    described = asdict(crop)
    if not crop.augment:
        del described["seed"]  # it decides nothing
    return described


def _wanted(path: Path) -> dict[str, Exemplar]:
    """Key -> exemplar, each once, sorted by data set and image."""
    exemplars = {feature_key(record.key): record.key for drawn in read_drawn(path) for record in drawn.records}
    if not exemplars:
        raise InputError(f"{path}: names no exemplars", hint="`ovforge exemplars sample` draws some")
    return dict(sorted(exemplars.items(), key=lambda item: (item[1].dataset, item[1].file_name, item[0])))


def _freeze(folder: Path, settings: FeatureSettings, *, overwrite: bool) -> None:
    """Write the folder's settings, or check that they are these."""
    settings = msgspec.json.decode(msgspec.json.encode(settings), type=FeatureSettings)
    before = read_settings(folder)
    found = [] if before is None else list(_settings_differences(before, settings))
    if before is not None and not found:
        return
    if before is not None and not overwrite:
        raise PlanMismatchError(
            f"{folder}: its features were made differently: {'; '.join(found)}",
            hint="features of different models cannot be mixed: choose another folder with --out=FOLDER, "
            "or give --overwrite to throw these away",
        )
    for name in (PARTS_FOLDER, RUN_FOLDER):
        _refuse_if_at_work(folder / RUN_FOLDER)
        shutil.rmtree(folder / name, ignore_errors=True)
    write_bytes(folder / SETTINGS_FILE, msgspec.json.format(msgspec.json.encode(settings)) + b"\n", overwrite=True)


def _settings_differences(before: FeatureSettings, now: FeatureSettings) -> Iterator[str]:
    for name, old, new in (("model", before.model, now.model), ("crop", before.crop, now.crop)):
        for key in dict.fromkeys([*old, *new]):
            if key == "name" or old.get(key) == new.get(key):
                continue  # a model's folder may be moved
            if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
                files = sorted(file for file in {**old[key], **new[key]} if old[key].get(file) != new[key].get(file))
                yield f"{name}: other {', '.join(files)}"
            else:
                yield f"{name} {key}: {old.get(key, 'not set')} there, {new.get(key, 'not set')} now"


def _plan(missing: tuple[Exemplar, ...], options: EmbedOptions, settings: FeatureSettings) -> Plan:
    return Plan(
        task="exemplar features",
        items=len(missing),
        shard_size=EXEMPLARS_A_SHARD,
        seed=options.seed,
        options={"model": settings.model, "crop": settings.crop, "batch": options.batch},
        inputs={"exemplars without a feature": input_names(options.exemplars, map(feature_key, missing))},
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    versions = {}
    for library in ("torch", "transformers"):
        with contextlib.suppress(PackageNotFoundError):
            versions[library] = version(library)
    return versions


def _is_the_run_of(plan: Plan, folder: Path) -> bool:
    try:
        frozen, _ = load_plan(folder)
    except InputError:
        return False
    return not differences(frozen, plan)


def _keep_what_is_done(folder: Path) -> None:
    """Make a part of what an unfinished run of other exemplars has done."""
    run_folder = folder / RUN_FOLDER
    _refuse_if_at_work(run_folder)
    done: list[Path] = []
    with contextlib.suppress(InputError, MissingInputError):
        plan, plan_id = load_plan(run_folder)
        entries = Ledger(run_folder, plan_id).done(plan.shards())
        done = [run_folder / entry.file for _, entry in sorted(entries.items())]
    _make_part(folder, done)


def _make_part(folder: Path, shard_files: Sequence[Path]) -> None:
    """Put the shards' features together as a part and take the run's folder away."""
    pieces = [read_part(path) for path in shard_files]
    keys = [key for each, _ in pieces for key in each]
    already = {key for path in part_files(folder) for key in read_part(path)[0]}
    if keys and not already.issuperset(keys):
        add_part(folder, keys, np.concatenate([features for _, features in pieces if len(features)]))
    leaving = temporary_path(folder / RUN_FOLDER)
    with contextlib.suppress(OSError):
        (folder / RUN_FOLDER).rename(leaving)
        shutil.rmtree(leaving)


def _refuse_if_at_work(run_folder: Path) -> None:
    at_work = [seen.worker for seen in worker_statuses(run_folder) if seen.alive] if run_folder.exists() else []
    if at_work:
        raise InputError(
            f"{run_folder}: process {at_work[0].pid} on {at_work[0].host} is at work there on other exemplars",
            hint="wait until it is done, or stop it first",
        )


def _roots(exemplars: tuple[Exemplar, ...], options: EmbedOptions) -> dict[str, Path]:
    roots = {
        LVIS: options.lvis_images,
        IMAGENET: options.imagenet_images,
        VISUAL_GENOME: options.visual_genome_images,
    }
    used = {exemplar.dataset for exemplar in exemplars}
    # Workers on other machines have another current folder.
    return {dataset: root.absolute() for dataset, root in roots.items() if dataset in used}


def _check_images(exemplars: tuple[Exemplar, ...], roots: dict[str, Path]) -> None:
    """Look for some images of every data set, so that a wrong folder is an error and not 36,000 drops."""
    images = ExemplarImages(roots)
    try:
        for dataset, root in images.roots.items():
            names = sorted({each.file_name for each in exemplars if each.dataset == dataset})
            tried = names[:: max(1, len(names) // IMAGES_TRIED)][:IMAGES_TRIED]
            if not any(images.has(dataset, name) for name in tried):
                raise MissingInputError(
                    root, what=f"{names[0]} (nor any other image that was looked for)", hint=missing_hint(dataset)
                )
    finally:
        images.close()
