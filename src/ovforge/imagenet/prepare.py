"""From the official archives of ImageNet-21K to train, val and small classes, as ImageNet-21K-P is laid out.

Classes of at most 500 pictures go to imagenet21k_small_classes; of every other class the first 50 pictures in name
order (plain strings) go to val, the rest to train (Ridnik et al. 2021). An archive is never unpacked as a whole
beside itself: classes are read where they lie in the uncompressed tar, and a compressed one is streamed, with a few
class tars in flight.

This is no `runs` job: the classes of a stream are not known before it has been read. It keeps the same rules: a
class is done when its report is there, and a resume with other options is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ovforge.errors import InputError, PlanMismatchError, WorkError
from ovforge.imagenet.archives import Archive, ClassSource, open_archive, stream_classes
from ovforge.imagenet.one_class import STATE, ClassFailure, ClassReport, prepare_class
from ovforge.imagenet.workers import run_ordered, worker_count
from ovforge.options.imagenet import ClassChoice, PrepareOptions, Resize
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress
from ovforge.sources.imagenet21k import PARTS
from ovforge.storage.atomic import write_bytes
from ovforge.taxonomy import class_by_wnid, wnid_to_synset

_RESIZED_SHARE = 0.25  # ImageNet-21K-P, resized, takes about a fifth of the original's 1.3 TB
_LVIS_SHARE = 0.15  # an upper guess of the share of the LVIS classes and substitutes in all of ImageNet-21K

_FOLDERS_LOOKED_AT = 200


def prepare(options: PrepareOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Bring ImageNet-21K into its layout; run again, it goes on where it was stopped.

    Raises:
        MissingInputError, InputError, ArchiveError: the source is not there or cannot be used.
        PlanMismatchError: the output was begun with other options or from another source.
        WorkError: no room on the disk, a worker died, or some classes could not be prepared (the others are done).
    """
    workers = worker_count(options.workers)
    if options.small_limit < options.val_pictures:
        raise InputError(f"--small-limit {options.small_limit} is below --val-pictures {options.val_pictures}")
    archive = open_archive(options.source)
    state = options.out / STATE
    _check_empty(options.out, state)
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{options.out}: cannot be made ({error.strerror or error})", hint="give --out") from error
    with _only_one(state):
        _freeze(options, archive, state)
        done = _reports(options.out)
        if options.check_space:
            _check_space(options, archive, done)
        wanted = _wanted(options, done)
        jobs = _jobs(archive, state, wanted)
        total = 0 if archive.classes is None else sum(wanted(c.wnid) for c in archive.classes)
        failures: list[ClassFailure] = []
        results = run_ordered(functools.partial(_itself, options), prepare_class, jobs, workers=workers)
        try:
            for count, result in enumerate(results, start=1):
                if isinstance(result, ClassFailure):
                    failures.append(result)
                else:
                    done[result.wnid] = result
                progress("classes", count, total)
        finally:
            results.close()  # before its workers' files are removed
            for leftover in ("work", "spool"):
                shutil.rmtree(state / leftover, ignore_errors=True)
        return _finish(options, archive, done, failures)


def _itself(options: PrepareOptions) -> PrepareOptions:
    return options


def _wanted(options: PrepareOptions, done: dict[str, ClassReport]) -> Callable[[str], bool]:
    chosen = None if options.classes is ClassChoice.ALL else set(class_by_wnid()) | set(wnid_to_synset())
    finished = set(done)
    return lambda wnid: wnid not in finished and (chosen is None or wnid in chosen)


def _jobs(archive: Archive, state: Path, wanted: Callable[[str], bool]) -> Iterable[ClassSource]:
    if archive.classes is None:
        return stream_classes(archive.path, state / "spool", wanted)
    return [source for source in archive.classes if wanted(source.wnid)]


def _check_empty(out: Path, state: Path) -> None:
    # Folders that another program made are never touched.
    if not state.exists() and any((out / part).exists() for part in PARTS):
        raise InputError(
            f"{out}: holds {' or '.join(PARTS)} that `ovforge imagenet prepare` did not make",
            hint="it may be prepared already: try `ovforge imagenet index`; or give another --out",
        )


@contextlib.contextmanager
def _only_one(state: Path) -> Iterator[None]:
    with open(state / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{state.parent}: another `ovforge imagenet prepare` is at work there", hint="wait for it to end"
            ) from None
        yield


def _freeze(options: PrepareOptions, archive: Archive, state: Path) -> None:
    """Write what changes the result when a run starts; refuse to go on with anything else."""
    plan: dict[str, Any] = {
        "source": archive.path.name,
        "source_size": archive.size,
        "resize": options.resize.value,
        "classes": options.classes.value,
        "small_limit": options.small_limit,
        "val_pictures": options.val_pictures,
    }
    path = state / "manifest.json"
    if not path.exists():
        write_bytes(path, msgspec.json.format(msgspec.json.encode(plan)) + b"\n")
        return
    try:
        frozen = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise InputError(f"{path}: not the manifest of a run ({error})", hint=f"remove {state.parent}") from error
    differences = [f"{k}: {frozen.get(k)} in the run, {v} now" for k, v in plan.items() if frozen.get(k) != v]
    if differences:
        raise PlanMismatchError(
            f"{state.parent}: was begun differently: {'; '.join(differences)}",
            hint="go on with the run's own options, or give another --out, or remove the folder",
        )


def _reports(out: Path) -> dict[str, ClassReport]:
    """The classes that are done."""
    reports = {}
    for path in sorted((out / STATE / "classes").glob("n*.json")):
        with contextlib.suppress(msgspec.MsgspecError):  # not whole: the class is done again
            report = msgspec.json.decode(path.read_bytes(), type=ClassReport)
            if all((out / part / report.wnid).is_dir() for part in report.counts):
                reports[report.wnid] = report
    return reports


def _check_space(options: PrepareOptions, archive: Archive, done: dict[str, ClassReport]) -> None:
    if options.link and options.resize is Resize.OFF:
        return
    chosen = _wanted(options, {})
    if archive.classes is None:
        need = float(archive.size) * (_LVIS_SHARE if options.classes is ClassChoice.LVIS else 1)
    else:
        need = float(_size_of([source for source in archive.classes if chosen(source.wnid)]))
    need *= 1 if options.resize is Resize.OFF else _RESIZED_SHARE
    need -= sum(report.bytes for report in done.values())
    free = shutil.disk_usage(options.out).free
    if need > free:
        raise WorkError(
            f"{options.out}: about {need / 1e9:,.1f} GB are needed, {free / 1e9:,.1f} GB are free",
            hint="use another disk with --out, --classes lvis, --resize 256, or --no-space-check to try all the same",
        )


def _size_of(classes: list[ClassSource]) -> float:
    """Bytes of `classes`: of tars from their headers; of folders from every n-th, there may be 14 million files."""
    folders = [source for source in classes if source.size is None]
    looked_at = folders[:: max(1, len(folders) // _FOLDERS_LOOKED_AT)]
    found = 0
    for source in looked_at:
        with contextlib.suppress(OSError):  # it is an estimate; a class that cannot be read is reported later
            found += sum(entry.stat().st_size for entry in os.scandir(source.path) if entry.is_file())
    return sum(source.size or 0 for source in classes) + found * len(folders) / max(1, len(looked_at))


def _finish(
    options: PrepareOptions, archive: Archive, done: dict[str, ClassReport], failures: list[ClassFailure]
) -> StepSummary:
    drops = Drops()
    for stray in archive.strays:
        drops.add("entry", "no class folder or class tar", stray)
    counts = dict.fromkeys(PARTS, 0)
    for _, report in sorted(done.items()):
        for part, count in report.counts.items():
            counts[part] += count
        for name, reason in report.left_out:
            drops.add("file", reason, f"{report.wnid}/{name}")
        if not any(report.counts.values()):
            drops.add("class", "has no readable pictures", report.wnid)
    report_file = options.out / "prepare_report.json"
    content = {
        "pictures": counts,
        "classes": len(done),
        "failed": sorted((failure.wnid, failure.problem) for failure in failures),
        "left_out": [
            (f"{wnid}/{name}", reason) for wnid, report in sorted(done.items()) for name, reason in report.left_out
        ],
    }
    write_bytes(report_file, msgspec.json.format(msgspec.json.encode(content)) + b"\n", overwrite=True)
    if failures:
        named = "; ".join(f"{failure.wnid}: {failure.problem}" for failure in failures[:3])
        raise WorkError(
            f"{len(failures)} classes could not be prepared: {named}",
            hint=f"{len(done)} classes are done and stay; {report_file} names all; run the same command to try again",
        )
    return StepSummary(
        step="imagenet prepare",
        outputs={"tree": str(options.out), "report": str(report_file)},
        counts={"classes": len(done), **counts},
        drops=drops.freeze(),
        next_command=f"ovforge imagenet index --imagenet-path {options.out}",
    )
