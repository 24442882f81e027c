"""The making of pairs as a task for `runs`: one shard of images to one HDF5 file.

In a worker, a pool of threads loads, warps and composes the images ahead, the engine repaints them batch by batch,
and the same pool brings the results back to size and encodes them: an accelerator never waits for a JPEG. An engine
that can is given the next batch while its device is at work on this one; a thread of its own waits for the results.
Batches hold jobs of one padded size; all are done before the shard ends: a shard's bytes depend on nothing outside it.
Finished images wait in a spool for those before them, so memory does not depend on how many frames a clip has.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import msgspec

from ovforge.errors import ImageError, WorkError
from ovforge.files.spool import Spool
from ovforge.image_io.hdf5 import ImageWriter
from ovforge.image_io.store import ImageStore, open_image_store
from ovforge.options.pairs import PAIR_FRAMES
from ovforge.parallel import keep_freed_memory, map_ordered
from ovforge.records.pairs import PairRecord, VariantRecord
from ovforge.records.reporting import Drops
from ovforge.records.run_layout import RECORDS
from ovforge.runs.task import Shard, ShardReport, Slot
from ovforge.synthesis.clips.make import PlannedClip, finish_clip, prepare_clip
from ovforge.synthesis.fingerprints import fingerprint, reads_prompts
from ovforge.synthesis.image_table import ImageTable
from ovforge.synthesis.pairs import (
    PairSettings,
    Planned,
    PlannedView,
    Prepared,
    SourceImage,
    failed,
    finish,
    jobs_of,
    prepare,
    repainted_whole,
)
from ovforge.synthesis.partitions import count_record
from ovforge.synthesis.repaint import Engine, Repainted, Repainter, RepaintJob, StartsAhead, WorkingSize

AHEAD = 2
"""Batches that an engine is given before the results of the first of them are there."""

Finished = tuple[bytes, VariantRecord, tuple[tuple[str, str], ...]]
"""A view's JPEG, its record, and what the engine gave up on."""


@dataclass(frozen=True)
class Views:
    """What came of one planned view: a second view, or the frames of a clip; their JPEGs wait in a spool."""

    images: Spool
    records: list[VariantRecord]
    given_up: list[tuple[tuple[str, str], ...]]


def prepare_image(
    source: SourceImage,
    data: bytes,
    settings: PairSettings,
    working_size: WorkingSize | None,
    class_names: dict[int, str] | None = None,
) -> Prepared:
    """Everything up to the engine, of pairs or of a clip.

    Raises:
        ImageError: the bytes are not a whole image, or one of another size than the annotations'.
    """
    function = prepare if settings.frames == PAIR_FRAMES else prepare_clip
    return function(source, data, settings, working_size, class_names)


def finish_views(
    prepared: Prepared, planned: PlannedView, results: Sequence[Repainted], settings: PairSettings
) -> Iterator[Finished]:
    """Everything after the engine: the second view, or the frames of the clip, from the results of `jobs_of`.

    Each is made when it is asked for.
    """
    repainted = repainted_whole(planned, results)
    if isinstance(planned, PlannedClip):
        yield from finish_clip(prepared, planned, repainted, settings)
    elif isinstance(planned, Planned):
        yield finish(prepared, planned, repainted, settings)
    else:
        raise TypeError(f"{type(planned).__name__} is not a planned view")


@dataclass(frozen=True)
class PairTask:
    """All that a worker needs; picklable.

    Attributes:
        images: the run's images; a shard's items are positions in it.
        images: folder or HDF5 file of the images.
        threads: how many threads prepare and finish images beside the engine.
    """

    table: ImageTable
    images: Path
    engine: Engine
    settings: PairSettings
    threads: int = 1
    shard_suffix: str = ".h5"

    def open(self, slot: Slot) -> PairWorker:
        """Open the images and the engine in this process.

        Raises:
            MissingInputError: the images are not there; or whatever the engine lacks.
        """
        store = open_image_store(self.images)
        return PairWorker(self, store, self.engine.open(slot.device), slot.report)


class PairWorker:
    """A `PairTask` opened in one process."""

    def __init__(
        self, task: PairTask, store: ImageStore, repainter: Repainter, report: Callable[[int], None] | None = None
    ) -> None:
        self._task = task
        self._report = report
        self._store = store
        self._repainter = repainter
        self._pool = ThreadPoolExecutor(task.threads, thread_name_prefix="pairs")
        self._waiter = ThreadPoolExecutor(1, thread_name_prefix="results")
        self._at_work: deque[Future[None]] = deque()
        # Each image has its thread already; OpenCV's own threads would only get in each other's way.
        self._cv2_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        keep_freed_memory()  # images of one size are made over and over

    def run(self, shard: Shard, out: Path) -> ShardReport:
        """Make the pairs of a shard and write originals, second views and records to `out`, in the images' order."""
        records: list[bytes] = []  # as they are written: as objects they are several times as large
        drops, counts = Drops(keep_names=True), Counter[str]()
        with ImageWriter(out) as writer:
            for prepared, finished in self._pairs(shard, out.parent):
                record = msgspec.structs.replace(
                    _whole_record(prepared, finished), source=self._fingerprint(prepared.source)
                )
                _write(writer, prepared, record, finished)
                drops.merge(record.drops)
                counts.update(count_record(record))
                records.append(msgspec.json.encode(record))
                if self._report is not None:
                    self._report(len(records))
            writer.add(RECORDS, b"[" + b",".join(records) + b"]")
        summary: dict[str, Any] = dict(counts)
        if device := getattr(self._repainter, "device_name", ""):
            summary["on"] = {device: len(records)}
        return ShardReport(shard.stop - shard.start, summary, drops.freeze())

    def close(self) -> None:
        """Give back the threads, the images and the engine."""
        self._waiter.shutdown(cancel_futures=True)
        self._pool.shutdown(cancel_futures=True)
        self._repainter.close()
        self._store.close()
        self._task.table.close()
        cv2.setNumThreads(self._cv2_threads)

    def _fingerprint(self, source: SourceImage) -> str:
        return fingerprint(source, self._task.table.class_names, reads_prompts=reads_prompts(self._task.engine))

    def _pairs(self, shard: Shard, folder: Path) -> Iterator[tuple[Prepared, list[Views]]]:
        """The shard's images with their finished second views, in order, each as soon as it and all before are.

        Args:
            folder: where finished images may wait.
        """
        batch_size = max(self._repainter.batch_size, 1)
        ahead = 2 * batch_size + self._task.threads
        todo = ((index,) for index in range(shard.start, shard.stop))
        buckets: dict[tuple[int, ...], list[tuple[_Waiting, int, RepaintJob]]] = {}
        unfinished: deque[tuple[Prepared, list[Future[Views]]]] = deque()
        for prepared in map_ordered(self._pool, self._prepare, todo, ahead=ahead - 1):
            # Without its planned views it holds no pixels: those are freed as soon as they are encoded.
            slim = replace(prepared, planned=())
            promises: list[Future[Views]] = [Future() for _ in prepared.planned]
            unfinished.append((slim, promises))
            for planned, promise in zip(prepared.planned, promises, strict=True):
                waiting = _Waiting(slim, planned, promise, folder)
                for number, job in enumerate(jobs_of(planned)):
                    bucket = buckets.setdefault(job.image.shape, [])
                    bucket.append((waiting, number, job))
                    if len(bucket) == batch_size:
                        self._repaint(buckets.pop(job.image.shape))
                if not waiting.jobs:
                    self._pool.submit(self._finish, waiting)
            while unfinished and all(promise.done() for promise in unfinished[0][1]):
                yield _with_results(*unfinished.popleft())
        while buckets:
            self._repaint(buckets.pop(next(iter(buckets))))
        while unfinished:
            yield _with_results(*unfinished.popleft())

    def _prepare(self, index: int) -> Prepared:
        source = self._task.table.image(index)
        settings, class_names = self._task.settings, self._task.table.class_names
        try:
            data = self._store.read(source.file_name)
            return prepare_image(source, data, settings, self._repainter.working_size, class_names)
        except ImageError as error:
            return failed(source, error.reason, error.detail)

    def _repaint(self, batch: list[tuple[_Waiting, int, RepaintJob]]) -> None:
        """Repaint one batch, and leave its finishing to the pool."""
        jobs = [job for _, _, job in batch]
        if not isinstance(self._repainter, StartsAhead):
            self._take(batch, self._repainter.repaint(jobs))
            return
        while len(self._at_work) >= AHEAD:
            self._at_work.popleft().result()
        self._at_work.append(self._waiter.submit(self._wait_for, batch, self._repainter.start(jobs)))

    def _wait_for(self, batch: list[tuple[_Waiting, int, RepaintJob]], results: Callable[[], list[Repainted]]) -> None:
        try:
            self._take(batch, results())
        except BaseException as error:  # it is raised again where the second views are asked for
            for waiting, _, _ in batch:
                if not waiting.promise.done():
                    waiting.promise.set_exception(error)

    def _take(self, batch: list[tuple[_Waiting, int, RepaintJob]], results: list[Repainted]) -> None:
        if len(results) != len(batch):
            raise WorkError(f"the engine {self._task.engine.name} gave {len(results)} images for {len(batch)}")
        for (waiting, number, _), repainted in zip(batch, results, strict=True):
            waiting.results[number] = repainted
            if len(waiting.results) == waiting.jobs:
                self._pool.submit(self._finish, waiting)

    def _finish(self, waiting: _Waiting) -> None:
        results = [waiting.results[number] for number in range(waiting.jobs)]
        try:
            views = Views(Spool(waiting.folder), [], [])
            for data, record, given_up in finish_views(waiting.prepared, waiting.planned, results, self._task.settings):
                views.images.add(data)
                views.records.append(record)
                views.given_up.append(given_up)
            waiting.promise.set_result(views)
        except BaseException as error:  # it is raised again where the result is asked for
            waiting.promise.set_exception(error)


@dataclass(frozen=True)
class _Waiting:
    """A second view, some of whose jobs are in their buckets."""

    prepared: Prepared
    planned: PlannedView
    promise: Future[Views]
    folder: Path
    results: dict[int, Repainted] = field(default_factory=dict)
    """By the job's number."""

    @property
    def jobs(self) -> int:
        return len(jobs_of(self.planned))


def _with_results(prepared: Prepared, promises: list[Future[Views]]) -> tuple[Prepared, list[Views]]:
    return prepared, [promise.result() for promise in promises]


def _whole_record(prepared: Prepared, finished: list[Views]) -> PairRecord:
    """The image's record with its second views, and with what the engine gave up on."""
    if not finished:
        return prepared.record
    drops = Drops(keep_names=True)
    drops.merge(prepared.record.drops)
    for views in finished:
        for variant, given_up in zip(views.records, views.given_up, strict=True):
            for kind, reason in given_up:
                drops.add(kind, reason, variant.file_name)
    variants = [variant for views in finished for variant in views.records]
    return msgspec.structs.replace(prepared.record, variants=variants, drops=drops.freeze())


def _write(writer: ImageWriter, prepared: Prepared, record: PairRecord, finished: list[Views]) -> None:
    if not record.variants:
        return
    writer.add(prepared.source.file_name, prepared.data)
    if not finished:  # without a usable object: every second view is the image itself
        for variant in record.variants:
            writer.add(variant.file_name, prepared.data)
    for views in finished:
        for variant, data in zip(views.records, views.images, strict=True):
            writer.add(variant.file_name, data)
        views.images.close()
