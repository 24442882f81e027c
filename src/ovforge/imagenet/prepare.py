"""From the official archives of ImageNet-21K to train, val and small classes, as ImageNet-21K-P is laid out.

Classes of at most 500 images go to imagenet21k_small_classes; of every other class the first 50 images in name
order (plain strings) go to val, the rest to train (Ridnik et al. 2021). An archive is never unpacked as a whole
beside itself: classes are read where they lie in the uncompressed tar, and a compressed one is streamed, with a few
class tars in flight.

The work is a run over the classes, in the folder `.prepare` of the output; a shard's file holds the reports of its
classes, whose images are in the tree by then. Only the classes of a compressed archive cannot be planned: these go
their own way (`stream`), under the same manifest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec

from ovforge import __version__
from ovforge.errors import InputError, NothingDoneError, WorkError
from ovforge.files.atomic import temporary_owner, write_bytes
from ovforge.files.machine import machine_name, process_is_alive
from ovforge.imagenet.archives import Archive, ClassSource, open_archive
from ovforge.imagenet.one_class import WORK, ClassFailure, ClassReport
from ovforge.imagenet.prepare_task import PrepareTask, read_classes
from ovforge.imagenet.stream import prepare_stream
from ovforge.options.base import by_keywords
from ovforge.options.imagenet import ClassChoice, PrepareOptions, Resize
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress, shell_command
from ovforge.records.run_layout import SHARDS
from ovforge.runs.executors.base import Executor
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.runs.executors.local import LocalExecutor, available_cores
from ovforge.runs.plan import Plan, freeze, input_file, input_names
from ovforge.runs.run import ShardSelection, run_plan
from ovforge.sources.imagenet21k import PARTS, REPORT, STATE, PrepareReport
from ovforge.taxonomy import class_by_wnid, wnid_to_synset

LARGEST_SHARD, SHARDS_AIMED_AT = 8, 256
"""Classes: each has some hundred images, a few seconds of work."""

_RESIZED_SHARE = 0.25  # ImageNet-21K-P, resized, takes about a fifth of the original's 1.3 TB
_LVIS_SHARE = 0.15  # an upper guess of the share of the LVIS classes and substitutes in all of ImageNet-21K
_FOLDERS_LOOKED_AT = 200


@by_keywords(PrepareOptions)
def prepare(
    options: PrepareOptions,
    executor: Executor | None = None,
    *,
    shards: ShardSelection | None = None,
    progress: Progress = no_progress,
) -> StepSummary:
    """Bring ImageNet-21K into its layout; run again, it resumes where it was stopped.

    Args:
        options: what to make of which source, where.
        executor: who does the work; it has no influence on the result. None: a process per core.
        shards: only one part of the shards (several processes share the work); `prepare_report.json` is written by
            whoever finds all of them done. Not for a compressed archive.

    Raises:
        MissingInputError, InputError, ArchiveError: the source is not there or cannot be used, or not in that way.
        PlanMismatchError: the output was begun with other options or from another source.
        WorkError: no room on the disk, or some classes could not be prepared (the others are done).
    """
    if options.small_limit < options.val_images:
        raise InputError(f"--small-limit {options.small_limit} is below --val-images {options.val_images}")
    executor = executor or LocalExecutor(available_cores())
    archive = open_archive(options.source)
    chosen = _choice(options)
    if archive.classes is None:
        _check_stream(options, executor, shards)
        return _stream(options, archive, chosen, executor.workers or 1, progress)
    sources = tuple(source for source in archive.classes if chosen(source.wnid))
    plan = _plan(options, sources)
    if not sources:
        raise _none_chosen(options, len(archive.classes))
    state = _begin(options, plan)
    parts = shards or ShardSelection()
    done_bytes = _ask_again(options.out, plan, parts)
    _check_space(options, _size_of(sources), done_bytes)
    _remove_stale_files(state / WORK)
    task = PrepareTask(options, sources)
    result = run_plan(state, plan, task, executor, shards=shards, raise_failed=False, progress=progress)
    if result.complete:
        shutil.rmtree(state / WORK, ignore_errors=True)  # what processes of other machines left
    result.check()
    reports: list[ClassReport] = []
    failures: list[ClassFailure] = []
    for path in result.shard_files:
        if (classes := read_classes(path)) is not None:
            reports += classes.done
            failures += classes.failed
    if not result.complete:
        total = len(plan.shards())
        note = f"{total - len(result.entries):,} of {total:,} shards are still to be done, by other parts"
        return _summary(options, archive, reports, (note,), "the same command again, when the other parts are done")
    return _finish(options, archive, reports, failures)


def _stream(
    options: PrepareOptions, archive: Archive, chosen: Callable[[str], bool], workers: int, progress: Progress
) -> StepSummary:
    # Nothing is known of its classes, so the plan has no items: it only keeps the options and the source.
    _begin(
        options, Plan(items=0, shard_size=1, inputs={"source": input_file(options.source)}, **_describe_images(options))
    )
    need = archive.size * (_LVIS_SHARE if options.classes is ClassChoice.LVIS else 1)

    def check_space(done_bytes: int) -> None:
        _check_space(options, need, done_bytes)

    try:
        result = prepare_stream(options, chosen, check_space, workers=workers, progress=progress)
        if not result.reports and not result.failures:
            raise _none_chosen(options, len(result.stream.seen))
    except InputError:
        _forget_if_nothing_is_done(options.out)
        raise
    archive = dataclasses.replace(archive, unrecognised=tuple(result.stream.unrecognised))
    others = result.stream.unrecognised_count - len(archive.unrecognised)
    notes = [*result.stream.notes]
    if others:
        notes.append(f"{others:,} more files in the archive belong to no class")
    return _finish(options, archive, result.reports, result.failures, tuple(notes))


def _forget_if_nothing_is_done(out: Path) -> None:
    """Of a start that came to nothing no plan stays, which would refuse the archive when it is mended."""
    if not any((out / STATE / "classes").glob("*")) and not any((out / part).exists() for part in PARTS):
        shutil.rmtree(out / STATE, ignore_errors=True)
        with contextlib.suppress(OSError):
            out.rmdir()


def _none_chosen(options: PrepareOptions, count: int) -> InputError:
    return InputError(
        f"{options.source}: none of its {count:,} classes is an LVIS class or a substitute of one",
        hint="--classes=all takes every class",
    )


def _check_stream(options: PrepareOptions, executor: Executor, shards: ShardSelection | None) -> None:
    asked_for = [] if shards is None else [f"--shards={shards}"]
    if not isinstance(executor, (LocalExecutor, InProcessExecutor)):
        asked_for.append("--executor=ray")
    if asked_for:
        raise InputError(
            f"{options.source}: this archive can be read from its beginning only, by one process, so it cannot "
            f"be shared out with {' and '.join(asked_for)}",
            hint="uncompress it to a .tar, or unpack its class tars into a folder, and give that; or go without",
        )


def _choice(options: PrepareOptions) -> Callable[[str], bool]:
    if options.classes is ClassChoice.ALL:
        return lambda _: True
    wanted = set(class_by_wnid()) | set(wnid_to_synset())
    return wanted.__contains__


def _plan(options: PrepareOptions, sources: tuple[ClassSource, ...]) -> Plan:
    listed = (f"{source.wnid} {source.offset} {source.size}" for source in sources)
    return Plan(
        items=len(sources),
        shard_size=min(max(len(sources) // SHARDS_AIMED_AT, 1), LARGEST_SHARD),
        inputs={"source": input_names(options.source, listed)},
        **_describe_images(options),
    )


def _describe_images(options: PrepareOptions) -> dict[str, Any]:
    """What plans of both ways have in common."""
    versions = {"ovforge": __version__}
    if options.resize is not Resize.OFF:
        versions["opencv"] = str(cv2.__version__)
    return {
        "task": "imagenet prepare",
        "options": {
            "resize": options.resize.value,
            "classes": options.classes.value,
            "small_limit": options.small_limit,
            "val_images": options.val_images,
        },
        "versions": versions,
    }


def _begin(options: PrepareOptions, plan: Plan) -> Path:
    """The run's folder, with the plan frozen in it; refuses to go on with anything else."""
    state = options.out / STATE
    _check_empty(options.out, state)
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{options.out}: cannot be made ({error.strerror or error})", hint="give --out=PATH"
        ) from error
    try:
        freeze(plan, state)
    except InputError as error:
        hint = f"resume with the run's own options and source, or give another --out=PATH, or remove {options.out}"
        raise error.with_hint(hint) from error
    (options.out / REPORT).unlink(missing_ok=True)  # from here on the tree is unfinished
    return state


def _check_empty(out: Path, state: Path) -> None:
    # Folders that another program made are never touched.
    if not state.exists() and any((out / part).exists() for part in PARTS):
        raise InputError(
            f"{out}: holds {' or '.join(PARTS)} that `ovforge imagenet prepare` did not make",
            hint="it may be prepared already: try `ovforge imagenet index`; or give another --out=PATH",
        )


def _ask_again(out: Path, plan: Plan, parts: ShardSelection) -> int:
    """Strike the shards of this part with classes that failed or were removed since; the bytes of all that is done."""
    mine = {shard.index for shard in parts.of(plan.shards())}
    done_bytes = 0
    for shard in plan.shards():
        path = out / STATE / SHARDS / f"{shard.name}.json"
        classes = read_classes(path)
        whole = classes is not None and not classes.failed and all(one.is_there(out) for one in classes.done)
        if not whole and shard.index in mine:
            path.unlink(missing_ok=True)
        elif classes is not None:
            done_bytes += sum(report.bytes for report in classes.done)
    return done_bytes


def _remove_stale_files(work: Path) -> None:
    """What killed processes of this machine were making."""
    for folder in sorted(work.iterdir()) if work.is_dir() else ():
        owner = temporary_owner(folder)
        if owner is not None and owner[0] == machine_name() and not process_is_alive(owner[1]):
            shutil.rmtree(folder, ignore_errors=True)


def _check_space(options: PrepareOptions, source_bytes: float, done_bytes: int) -> None:
    if not options.check_space or (options.link and options.resize is Resize.OFF):
        return
    need = source_bytes * (1 if options.resize is Resize.OFF else _RESIZED_SHARE) - done_bytes
    free = shutil.disk_usage(options.out).free
    if need > free:
        raise WorkError(
            f"{options.out}: about {need / 1e9:,.1f} GB are needed, {free / 1e9:,.1f} GB are free",
            hint="use another disk with --out=PATH, --classes=lvis, --resize=256, or --no-space-check to try anyway",
        )


def _size_of(classes: tuple[ClassSource, ...]) -> float:
    """Bytes of `classes`: of tars from their headers; of folders from every n-th, there may be 14 million files."""
    folders = [source for source in classes if source.size is None]
    looked_at = folders[:: max(1, len(folders) // _FOLDERS_LOOKED_AT)]
    found = 0
    for source in looked_at:
        # It is an estimate: what cannot be read is reported later.
        with contextlib.suppress(OSError), os.scandir(source.path) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found += entry.stat().st_size
    return sum(source.size or 0 for source in classes) + found * len(folders) / max(1, len(looked_at))


def _finish(
    options: PrepareOptions,
    archive: Archive,
    reports: list[ClassReport],
    failures: list[ClassFailure],
    notes: tuple[str, ...] = (),
) -> StepSummary:
    reports = sorted(reports, key=lambda report: (report.wnid, report.key))
    index = shell_command("ovforge", "imagenet", "index", imagenet_path=options.out)
    summary = _summary(options, archive, reports, notes, index)
    report_file = options.out / REPORT
    images = {part: summary.counts[part] for part in PARTS}
    report = PrepareReport(
        images=images,
        classes=summary.counts["classes"],
        failed=sorted((failure.wnid, failure.problem) for failure in failures),
        left_out=[(f"{report.wnid}/{name}", reason) for report in reports for name, reason in report.left_out],
        complete=not failures and any(images.values()),
    )
    write_bytes(report_file, msgspec.json.format(msgspec.json.encode(report)) + b"\n", overwrite=True)
    if failures:
        named = "; ".join(f"{failure.wnid}: {failure.problem}" for failure in failures[:3])
        raise WorkError(
            f"{len(failures):,} {'class' if len(failures) == 1 else 'classes'} could not be prepared: {named}",
            hint=f"{len(reports)} are done and stay; {report_file} names all; run the same command to try again, "
            "after a damaged archive was fetched again",
        )
    if not any(images.values()):
        reasons = "; ".join(str(drop) for drop in summary.skipped[:3]) or "they are empty"
        raise NothingDoneError(
            f"{options.source}: not one readable image in {len(reports):,} classes ({reasons})",
            hint=f"{report_file} names all files",
        )
    return msgspec.structs.replace(summary, outputs={**summary.outputs, "report": str(report_file)})


def _summary(
    options: PrepareOptions, archive: Archive, reports: list[ClassReport], notes: tuple[str, ...], next_command: str
) -> StepSummary:
    drops = Drops()
    for entry in archive.unrecognised:
        drops.add("entry", "is not a class folder or class tar", entry)
    counts = dict.fromkeys(PARTS, 0)
    for report in reports:
        for part, count in report.counts.items():
            counts[part] += count
        for name, reason in report.left_out:
            drops.add("file", reason, f"{report.wnid}/{name}")
        if not any(report.counts.values()):
            drops.add("class", "has no readable images", report.wnid)
    return StepSummary(
        step="imagenet prepare",
        outputs={"tree": str(options.out)},
        counts={"classes": len({report.wnid for report in reports}), **counts},
        drops=drops.freeze(),
        notes=notes,
        next_command=next_command,
    )
