"""The judging of pairs as a task for `runs`: some images to the scores of their second views' objects.

Threads read, decode, move and measure ahead; the models, if there are any, look in the worker's own thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.errors import ImageError, InputError
from ovforge.image_io.store import ImageStore, open_image_store
from ovforge.options.vision import VisionOptions
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.pairs import PairRecord
from ovforge.records.reporting import Drops
from ovforge.records.scores import ExtraObject, ObjectScores, ViewScores
from ovforge.runs.task import Shard, ShardReport, Slot
from ovforge.synthesis.image_table import ImageTable
from ovforge.synthesis.judge.measures import Measures, measure_objects
from ovforge.synthesis.judge.models import Embedder, found_objects, same_objects
from ovforge.synthesis.judge.object_views import ObjectViews, decode_at_size, object_views
from ovforge.vision.detector import Detector
from ovforge.vision.features import FeatureModel

_AHEAD = 2


@dataclass(frozen=True)
class ScoreTask:
    """All that a worker needs; picklable. A shard's items are positions in `table`.

    Attributes:
        table: the run's images, with their annotations.
        h5: the merged images.
        pairs: the merged records; `starts` and `stops` are the byte range of each image's record in it.
    """

    table: ImageTable
    h5: Path
    pairs: Path
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    vision: VisionOptions | None = None
    detector: VisionOptions | None = None
    threads: int = 2
    shard_suffix: str = ".json"

    def open(self, slot: Slot) -> ScoreWorker:
        """Open the files and the models in this process.

        Raises:
            InputError: a model cannot be loaded.
        """
        return ScoreWorker(
            self,
            open_image_store(self.h5),
            None if self.vision is None else FeatureModel(self.vision, device=slot.device),
            None if self.detector is None else Detector(self.detector, device=slot.device),
        )


@dataclass(frozen=True)
class _Ready:
    """One image's second views, decoded and measured."""

    views: list[tuple[ObjectViews, list[Measures]]] = field(default_factory=list)
    drops: Drops = field(default_factory=lambda: Drops(keep_names=True))


class ScoreWorker:
    """A `ScoreTask` opened in one process."""

    def __init__(self, task: ScoreTask, store: ImageStore, model: Embedder | None, detector: Detector | None) -> None:
        self._task = task
        self._store = store
        self._model = model
        self._detector = detector
        self._pool = ThreadPoolExecutor(task.threads, thread_name_prefix="score")
        self._cv2_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # the images have their threads already

    def run(self, shard: Shard, out: Path) -> ShardReport:
        """Write the scores of a shard's second views to `out`."""
        drops = Drops(keep_names=True)
        scores: list[ViewScores] = []
        for ready in self._ready(shard):
            drops.merge(ready.drops)
            scores += [self._score(views, measured) for views, measured in ready.views]
        out.write_bytes(msgspec.json.encode(scores))
        counts = {
            "second views": len(scores),
            "objects": sum(len(view.objects) for view in scores),
            "extra objects": sum(len(view.extra or ()) for view in scores),
        }
        return ShardReport(shard.stop - shard.start, counts, drops.freeze())

    def close(self) -> None:
        """Give back the threads and the files."""
        self._pool.shutdown(cancel_futures=True)
        self._store.close()
        self._task.table.close()
        cv2.setNumThreads(self._cv2_threads)

    def _ready(self, shard: Shard) -> Iterator[_Ready]:
        todo = iter(range(shard.start, shard.stop))
        ahead: deque[Future[_Ready]] = deque()
        while True:
            while len(ahead) < _AHEAD * self._task.threads and (index := next(todo, None)) is not None:
                ahead.append(self._pool.submit(self._prepare, index))
            if not ahead:
                return
            yield ahead.popleft().result()

    def _prepare(self, index: int) -> _Ready:
        ready = _Ready()
        source = self._task.table.image(index)
        record = self._record(index)
        if record.file_name != source.file_name:
            raise InputError(f"{self._task.pairs}: record {index + 1:,} is of {record.file_name}")
        variants = [variant for variant in record.variants if variant.annotations]
        if not variants:
            return ready
        try:
            first = self._image(source.file_name, source.width, source.height)
        except ImageError as error:
            ready.drops.add("image", error.reason, source.file_name, place=error.detail)
            return ready
        for variant in variants:
            try:
                second = self._image(variant.file_name, source.width, source.height)
            except ImageError as error:
                ready.drops.add("second view", error.reason, variant.file_name, place=error.detail)
                continue
            views = object_views(first, second, variant, source.annotations)
            ready.views.append((views, measure_objects(views.reference, views.second, views.masks)))
        return ready

    def _image(self, name: str, width: int, height: int) -> NDArray[np.uint8]:
        return decode_at_size(self._store.read(name), name, width, height)

    def _record(self, index: int) -> PairRecord:
        start, stop = int(self._task.starts[index]), int(self._task.stops[index])
        try:
            with open(self._task.pairs, "rb") as file:
                file.seek(start)
                return msgspec.json.decode(file.read(stop - start), type=PairRecord)
        except JSON_ERRORS as error:
            raise InputError(f"{self._task.pairs}: cannot be read at byte {start:,} ({error})") from error

    def _score(self, views: ObjectViews, measured: list[Measures]) -> ViewScores:
        same: list[tuple[float | None, float | None]] = [(None, None)] * len(views.ids)
        found: list[float | None] = [None] * len(views.ids)
        extra: tuple[ExtraObject, ...] | None = None
        if self._model is not None:
            same = same_objects(self._model, views.reference, views.second, views.masks)
        if self._detector is not None:
            found, extra = found_objects(
                self._detector, views.second, views.boxes, views.categories, self._task.table.class_names
            )
        objects = tuple(
            ObjectScores(
                id=views.ids[row],
                sharpness=measures.sharpness,
                boundary=measures.boundary,
                colour=measures.colour,
                repeated=measures.repeated,
                same=same[row][0],
                margin=same[row][1],
                found=found[row],
            )
            for row, measures in enumerate(measured)
        )
        return ViewScores(views.file_name, objects, extra)
