"""Batches of one fixed size per bucket, and what to do when memory runs out.

A bucket is a padded image size. Every batch of a bucket has the same number of rows, the last one too, because
a GPU's and a CPU's kernels change with the batch size and with them the last bits of an image.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from ovforge.errors import WorkError

Item = TypeVar("Item")
Result = TypeVar("Result")
Bucket = tuple[int, int]
"""(height, width) in pixels."""

LARGEST_AUTO = {"cuda": 8, "cpu": 1}
"""Where the search for a batch size starts. Above 8 images of 768x512 a GPU gains nothing; a CPU gains from none."""


class FixedBatches:
    """Runs work in batches of a fixed size per bucket; halves a bucket's size when memory runs out."""

    def __init__(self, batch_size: int | None, device: torch.device, probe: Callable[[Bucket, int], None]) -> None:
        """`probe(bucket, size)` runs the costliest parts once at that size; called only where `batch_size` is None."""
        self._wanted = batch_size
        self._device = device
        self._probe = probe
        self.sizes: dict[Bucket, int] = {}
        """Bucket -> the batch size in use."""

    @property
    def largest(self) -> int:
        """The most items that are worth handing over at once."""
        return self._wanted or LARGEST_AUTO.get(self._device.type, 1)

    def run(
        self, bucket: Bucket, items: Sequence[Item], work: Callable[[list[Item]], Sequence[Result]]
    ) -> list[tuple[Result, int]]:
        """`work` on all items, in their order: the results, each with the size of the batch that it was in.

        Raises:
            WorkError: not even a batch of one fits into memory.
        """
        results: list[tuple[Result, int]] = []
        while len(results) < len(items):
            size = self._size(bucket)
            batch = list(items[len(results) : len(results) + size])
            filled = batch + [batch[-1]] * (size - len(batch))
            done = self._unless_out_of_memory(lambda filled=filled: work(filled))  # type: ignore[misc]
            if done is None:
                self._halve(bucket, size)
            else:
                results += [(result, size) for result in done[: len(batch)]]
        return results

    def _size(self, bucket: Bucket) -> int:
        if bucket not in self.sizes:
            size = self.largest
            if self._wanted is None and size > 1:
                while self._unless_out_of_memory(lambda: self._probe(bucket, size) or True) is None:  # noqa: B023
                    self._halve(bucket, size)
                    size = self.sizes[bucket]
            self.sizes[bucket] = size
        return self.sizes[bucket]

    def _halve(self, bucket: Bucket, size: int) -> None:
        if size == 1:
            height, width = bucket
            raise WorkError(
                f"out of memory: a single image of {width}x{height} does not fit on {self._device}",
                hint="try --precision=fp16, --vae-tiling, --cpu-offload, smaller --working-size=SIZE, or --device=cpu",
            )
        self.sizes[bucket] = size // 2

    def _unless_out_of_memory(self, work: Callable[[], Result]) -> Result | None:
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Only here, where the error and with it the frames that hold the tensors are gone, can memory be freed.
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device's or the machine's memory is used up."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
