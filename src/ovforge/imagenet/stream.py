"""Prepare the classes of an archive that is read from its beginning, by one process: compressed, or of single images.

Its classes are not known before it has been read, and there is nothing that could be planned and shared out: one
process unpacks, a few classes ahead, and a pool of processes prepares them. A class is done when its report in
`classes/` is there, which is written last. The archive is done when it was read to its end without damage.

An archive whose class folders are interleaved is unpacked whole before its classes are prepared: that needs the disk
space of the archive's images for a while, and no more memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ovforge.errors import InputError, StorageError
from ovforge.files.atomic import write_bytes
from ovforge.imagenet.archives import ClassSource, ClassStream, no_classes
from ovforge.imagenet.one_class import ClassFailure, ClassReport, prepare_class
from ovforge.imagenet.workers import run_ordered
from ovforge.options.imagenet import PrepareOptions
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.reporting import Progress
from ovforge.sources.imagenet21k import PARTS, STATE

_INTERLEAVED = "interleaved"
"""An empty file below STATE: the archive's class folders are interleaved, as a first reading has shown."""


class StreamResult(NamedTuple):
    """What has become of an archive's classes."""

    reports: list[ClassReport]
    """Of all that are done, now or before."""
    failures: list[ClassFailure]
    stream: ClassStream
    """What was in the archive, read to its end."""


def prepare_stream(
    options: PrepareOptions,
    chosen: Callable[[str], bool],
    check_space: Callable[[int], None],
    *,
    workers: int,
    progress: Progress,
) -> StreamResult:
    """Prepare what is not done yet.

    Args:
        options: what to make of which archive.
        chosen: whether a class is wanted at all.
        check_space: called before the work with the bytes that are done.
        workers: processes that prepare classes.
        progress: told of every class; how many there are is not known.

    Raises:
        InputError: another process is at work on it, or it holds no class.
        ArchiveError: the archive is damaged; classes before that place are done.
        StorageError: it cannot be read.
        WorkError: the disk is full, or a worker died.
    """
    state = options.out / STATE
    with _only_one(state):
        done = _reports(options.out)
        check_space(sum(report.bytes for report in done.values()))
        gather = state / _INTERLEAVED
        stream, failures = _prepare_classes(
            options, chosen, done, gather=gather.exists(), workers=workers, progress=progress
        )
        if stream.is_interleaved:
            # Whether a class was whole is not known, and by fewer images it may have gone to another part.
            for report in _reports_in(options.out):
                report.unlink()
            for wnid in {key.partition(".")[0] for key in stream.seen}:
                for part in PARTS:
                    shutil.rmtree(options.out / part / wnid, ignore_errors=True)
            done.clear()
            gather.touch()  # last: with it, reports count
            stream, failures = _prepare_classes(options, chosen, done, gather=True, workers=workers, progress=progress)
        if gather.exists():
            stream.notes.append(
                "the images of a class do not lie together in the archive: it was unpacked whole for a while"
            )
            if stream.error is None:
                gather.unlink()
    if stream.error is not None:
        if failures or done:
            told = f"{len(done):,} {'class is done and stays' if len(done) == 1 else 'classes are done and stay'}"
            raise stream.error.with_hint("; ".join(filter(None, (*stream.error.remedy[:1], told))))
        raise stream.error
    if not stream.seen:
        raise no_classes(options.source)
    return StreamResult(list(done.values()), failures, stream)


def _prepare_classes(
    options: PrepareOptions,
    chosen: Callable[[str], bool],
    done: dict[str, ClassReport],
    *,
    gather: bool,
    workers: int,
    progress: Progress,
) -> tuple[ClassStream, list[ClassFailure]]:
    """Read the archive once and prepare its classes; adds to `done`."""
    state = options.out / STATE
    failures: list[ClassFailure] = []
    finished = frozenset(done)
    stream = ClassStream(
        options.source,
        state / "spool",
        lambda key: key not in finished and chosen(key.partition(".")[0]),
        gather=gather,
    )
    results = run_ordered(functools.partial(_itself, options), _prepare, stream, workers=workers)
    try:
        for count, result in enumerate(results, start=1):
            if isinstance(result, ClassFailure):
                failures.append(result)
            else:
                done[result.key or result.wnid] = result
            progress("classes", count, 0)
    finally:
        results.close()  # before its workers' files are removed
        for folder in ("work", "spool"):
            shutil.rmtree(state / folder, ignore_errors=True)
    return stream, failures


def _itself(options: PrepareOptions) -> PrepareOptions:
    return options


def _prepare(options: PrepareOptions, source: ClassSource) -> ClassReport | ClassFailure:
    """Prepare one class from its unpacked tar or folder, which is removed; runs in a worker."""
    try:
        result = prepare_class(options, source)
    except OSError as error:
        return ClassFailure(source.wnid, f"{error.filename or source.path}: {error.strerror or error}")
    except StorageError as error:
        return ClassFailure(source.wnid, error.message)
    finally:
        if source.size is None:
            shutil.rmtree(source.path, ignore_errors=True)
        else:
            source.path.unlink(missing_ok=True)
    if isinstance(result, ClassReport):
        report = options.out / STATE / "classes" / f"{source.key}.json"
        write_bytes(report, msgspec.json.encode(result), overwrite=True)
    return result


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


def _reports(out: Path) -> dict[str, ClassReport]:
    """The classes that are done."""
    reports = {}
    for path in _reports_in(out):
        with contextlib.suppress(*JSON_ERRORS):  # not whole: the class is done again
            report = msgspec.json.decode(path.read_bytes(), type=ClassReport)
            if report.is_there(out):
                reports[report.key or report.wnid] = report
    return reports


def _reports_in(out: Path) -> list[Path]:
    return sorted((out / STATE / "classes").glob("n*.json"))
