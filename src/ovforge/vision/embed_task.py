"""Features of exemplars as a task for `runs`: some exemplars to one .npz file.

Threads read, cut and prepare ahead while the model works, batch by batch, so that an accelerator never waits for a
JPEG. Exemplars come sorted by image: an image with several of them is read and decoded once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.errors import ImageError, MissingImageError
from ovforge.options.vision import VisionOptions
from ovforge.records.exemplar import Exemplar
from ovforge.records.features import feature_key
from ovforge.records.reporting import Drops
from ovforge.runs.task import Shard, ShardReport, Slot
from ovforge.sources.crop_image import EmptyBoxError, cut_pixels, decode_stored
from ovforge.sources.exemplar_images import ExemplarImages
from ovforge.sources.features import encode_part
from ovforge.vision.features import FeatureModel
from ovforge.vision.preprocessing import Inputs
from ovforge.vision.views import random_view

_AHEAD = 4
"""Images per thread that are prepared before the model asks for them."""


@dataclass(frozen=True)
class CropSettings:
    """How a crop becomes one or more images for the model."""

    context: float = 0.4
    square: bool = True
    augment: int = 0
    seed: int = 0


@dataclass(frozen=True)
class EmbedTask:
    """All that a worker needs; picklable. A shard's items are positions in `exemplars`.

    Attributes:
        exemplars: sorted by data set and image.
        roots: data set -> where its images are.
        threads: how many threads prepare images beside the model.
    """

    exemplars: tuple[Exemplar, ...]
    roots: dict[str, Path]
    vision: VisionOptions
    crop: CropSettings
    threads: int = 2
    shard_suffix: str = ".npz"

    def open(self, slot: Slot) -> EmbedWorker:
        """Open the images and the model in this process.

        Raises:
            MissingInputError, InputError: the images or the model are not there, or cannot be used.
        """
        return EmbedWorker(self, ExemplarImages(self.roots), FeatureModel(self.vision, device=slot.device))


Prepared = tuple[str, list[Inputs]]


class EmbedWorker:
    """An `EmbedTask` opened in one process."""

    def __init__(self, task: EmbedTask, images: ExemplarImages, model: FeatureModel) -> None:
        self._task = task
        self._images = images
        self._model = model
        self._pool = ThreadPoolExecutor(task.threads, thread_name_prefix="embed")
        self._cv2_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # the images have their threads already

    def run(self, shard: Shard, out: Path) -> ShardReport:
        """Write the keys and features of a shard's exemplars to `out`; those that cannot be read are counted."""
        drops = Drops(keep_names=True)
        exemplars = self._task.exemplars[shard.start : shard.stop]
        keys, features = embed_prepared(self._model, self._prepared(exemplars, drops))
        out.write_bytes(encode_part(keys, features))
        return ShardReport(len(exemplars), {"exemplars embedded": len(keys)}, drops.freeze())

    def close(self) -> None:
        """Give back the threads and the images."""
        self._pool.shutdown(cancel_futures=True)
        self._images.close()
        cv2.setNumThreads(self._cv2_threads)

    def _prepared(self, exemplars: tuple[Exemplar, ...], drops: Drops) -> Iterator[Prepared]:
        """Every exemplar with the model's inputs, in order, prepared ahead by the threads."""
        groups = [tuple(group) for _, group in groupby(exemplars, key=lambda each: (each.dataset, each.file_name))]
        todo = iter(groups)
        ahead: deque[Future[tuple[list[Prepared], Drops]]] = deque()
        while True:
            while len(ahead) < _AHEAD * self._task.threads and (group := next(todo, None)) is not None:
                ahead.append(self._pool.submit(self._prepare, group))
            if not ahead:
                return
            ready, dropped = ahead.popleft().result()
            drops.merge(dropped)
            yield from ready

    def _prepare(self, exemplars: tuple[Exemplar, ...]) -> tuple[list[Prepared], Drops]:
        """Read one image and prepare each of its exemplars."""
        drops = Drops(keep_names=True)
        first = exemplars[0]
        try:
            data = self._images.read(first.dataset, first.file_name)
            pixels, orientation = decode_stored(data, first.file_name)
        except MissingImageError:
            for each in exemplars:
                drops.add("exemplar", "its image is missing", each.identity)
            return [], drops
        except ImageError as error:
            for each in exemplars:
                drops.add("exemplar", f"its image {error.reason}", each.identity, place=error.detail)
            return [], drops
        prepared = []
        for each in exemplars:
            try:
                crop = cut_pixels(
                    pixels, orientation, each, context=self._task.crop.context, square=self._task.crop.square
                )
            except EmptyBoxError:
                drops.add("exemplar", "its box is empty or outside its image", each.identity)
                continue
            key = feature_key(each)
            prepared.append((key, prepare_crop(self._model, crop, key, self._task.crop)))
        return prepared, drops


def prepare_crop(model: FeatureModel, crop: NDArray[np.uint8], key: str, settings: CropSettings) -> list[Inputs]:
    """A crop as the model's inputs: one, or a number of random views."""
    if not settings.augment:
        return [model.preprocessor(crop)]
    views = (
        random_view(crop, model.preprocessor.side, seed=settings.seed, key=key, view=view)
        for view in range(settings.augment)
    )
    return [model.preprocessor(view) for view in views]


def embed_prepared(model: FeatureModel, prepared: Iterator[Prepared]) -> tuple[list[str], NDArray[np.float32]]:
    """The keys and the features of prepared crops, float32 (n, dimension): the mean over each crop's views."""
    keys: list[str] = []
    counts: list[int] = []
    parts: list[NDArray[np.float32]] = []
    waiting: list[Inputs] = []
    for key, inputs in prepared:
        keys.append(key)
        counts.append(len(inputs))
        waiting += inputs
        while len(waiting) >= model.batch:
            parts.append(model.embed(waiting[: model.batch]))
            del waiting[: model.batch]
    if waiting:
        parts.append(model.embed(waiting))
    if not keys:
        return [], np.zeros((0, 0), np.float32)
    views = np.concatenate(parts)
    starts = np.cumsum([0, *counts[:-1]])
    means = np.add.reduceat(views, starts, axis=0) / np.asarray(counts, np.float32)[:, None]
    return keys, np.asarray(means, np.float32)
