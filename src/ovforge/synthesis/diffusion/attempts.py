"""What every opened model has in common: batches of one size, another try if black, kept pixels pasted back."""

from __future__ import annotations

import abc
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ovforge.devices import resolve_device
from ovforge.options.diffusion import Foreground, SettledOptions
from ovforge.synthesis.diffusion.batches import Bucket, FixedBatches
from ovforge.synthesis.diffusion.device import resolve_threads
from ovforge.synthesis.diffusion.latents import paste_kept
from ovforge.synthesis.diffusion.transfer import OnTheWay
from ovforge.synthesis.randomness import generator
from ovforge.synthesis.repaint import Repainted, RepaintJob, WorkingSize

ATTEMPTS = 2
"""How often an image is tried, each time with other random numbers, before it is given up on."""
BLACK = 8
"""An image without a value above this is black: half precision that overflowed, or nothing recognisable anyhow."""
GIVEN_UP = f"black or not finite after {ATTEMPTS} attempts: the composed image stands instead"


@dataclass(frozen=True)
class Attempt:
    """One try at a job, with its own random numbers."""

    job: RepaintJob
    number: int

    def noise(self, size: tuple[int, ...], purpose: str) -> NDArray[np.float32]:
        """Standard normal (4, h, w) of the job's own generator."""
        return self._generator(purpose).standard_normal((4, *size), dtype=np.float32)

    def torch_generator(self, purpose: str) -> torch.Generator:
        """A generator of torch for a pipeline that draws its own noise, on the CPU wherever the networks are."""
        return torch.Generator("cpu").manual_seed(int(self._generator(purpose).integers(2**63)))

    def _generator(self, purpose: str) -> np.random.Generator:
        if self.number:
            purpose = f"{purpose}, attempt {self.number}"
        return generator(self.job.seed, self.job.image_id, self.job.variant, self.job.purpose(purpose))


class Painted:
    """The images of one batch, perhaps still on their way from the device."""

    def __init__(self, rgb: torch.Tensor, finite: torch.Tensor) -> None:
        """`rgb` is uint8 (B, H, W, 3), `finite` bool (B): see `rounded`."""
        self._on_the_way = OnTheWay(rgb, finite)

    def image(self, row: int, content: tuple[int, int]) -> NDArray[np.uint8] | None:
        """Wait for the batch: the image of one row, or None if it came out black or not finite."""
        rgb, finite = self._on_the_way.arrived()
        return None if is_spoilt(rgb[row], finite[row], content) else rgb[row]


_Row = tuple[Painted, int]
"""An image as a batch and its row in it."""


class BatchedRepainter(abc.ABC):
    """Repaints jobs batch by batch; fulfils `synthesis.repaint.StartsAhead`. Its subclasses paint one batch."""

    working_size: WorkingSize | None

    def __init__(self, options: SettledOptions, device: str | None, *, largest_batch: int | None = None) -> None:
        """`device` comes before that of the options; `largest_batch`: what the model takes at once, if it has a limit.

        Raises:
            InputError: the device cannot be used.
        """
        self._options = options
        self._device = resolve_device(device or options.device)
        threads = resolve_threads(options.cpu_threads, self._device)
        self._threads_before = torch.get_num_threads()
        if threads is not None:
            torch.set_num_threads(threads)
        self.batches = FixedBatches(largest_batch or options.batch_size, self._device, self._probe)
        self.batch_size = self.batches.largest
        self._networks = threading.RLock()
        """Held while the networks are used: an image is tried again by whoever asks for the results."""

    @abc.abstractmethod
    def _run_batch(self, attempts: list[Attempt]) -> Painted:
        """Paint one batch, if possible without waiting for the device."""

    @abc.abstractmethod
    def _probe(self, bucket: Bucket, size: int) -> None:
        """The costliest parts once, at a batch size that may be too large for memory."""

    def repaint(self, jobs: Sequence[RepaintJob]) -> list[Repainted]:
        """Repaint jobs of one size.

        Raises:
            WorkError: not even one image fits into the device's memory.
        """
        return self.start(jobs)()

    def start(self, jobs: Sequence[RepaintJob]) -> Callable[[], list[Repainted]]:
        """Hand jobs of one size to the device; calling the result waits for their images.

        Raises:
            WorkError: not even one image fits into the device's memory.
        """
        jobs = list(jobs)
        started = self._start([Attempt(job, 0) for job in jobs])
        return lambda: self._results(jobs, started)

    def _results(self, jobs: list[RepaintJob], started: list[tuple[_Row, int]]) -> list[Repainted]:
        results: dict[int, Repainted] = {}
        waiting = list(range(len(jobs)))
        prompt = "" if self._options.no_captions else None
        for attempt in range(ATTEMPTS):
            if attempt:
                started = self._start([Attempt(jobs[i], attempt) for i in waiting])
            for i, ((painted, row), batch_size) in zip(waiting, started, strict=True):
                rgb = painted.image(row, jobs[i].content)
                if rgb is not None:
                    record = {"engine": "diffusion", "batch_size": batch_size, "attempt": attempt}
                    results[i] = Repainted(self._finished(jobs[i], rgb), record, prompt=prompt)
            waiting = [i for i in waiting if i not in results]
            if not waiting:
                break
        for i in waiting:
            batch_size = self.batches.sizes[_bucket(jobs[i])]
            record = {"engine": "diffusion", "batch_size": batch_size, "attempt": ATTEMPTS, "given_up": True}
            results[i] = Repainted(jobs[i].image.copy(), record, (("repainted image", GIVEN_UP),), prompt)
        return [results[i] for i in range(len(jobs))]

    @property
    def device_name(self) -> str:
        """What the images are made on, for the summary."""
        if self._device.type == "cuda":
            return f"{torch.cuda.get_device_name(self._device)}"
        return f"{self._device.type}"

    def close(self) -> None:
        """Give the processor's threads back; subclasses give back the model and its memory."""
        torch.set_num_threads(self._threads_before)

    def _start(self, attempts: list[Attempt]) -> list[tuple[_Row, int]]:
        """The attempts' images, each as a row of its batch, with the batch's size."""
        if not attempts:
            return []

        def work(batch: list[Attempt]) -> list[_Row]:
            painted = self._run_batch(batch)
            return [(painted, row) for row in range(len(batch))]

        with self._networks, torch.inference_mode(), _repeatable():
            return self.batches.run(_bucket(attempts[0].job), attempts, work)

    def _finished(self, job: RepaintJob, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._options.foreground is Foreground.EXACT:
            return paste_kept(rgb, job.image, job.keep_mask, job.content)
        return rgb


def is_spoilt(rgb: NDArray[np.uint8], finite: object, content: tuple[int, int]) -> bool:
    """Whether a decoded image is black, or was not finite."""
    width, height = content
    return not finite or int(rgb[:height, :width].max()) <= BLACK


def rounded(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Float images (B, 3, H, W) in [0, 255] as uint8 (B, H, W, 3), and which of them are finite."""
    finite = torch.isfinite(images).flatten(1).all(1)
    whole = images.nan_to_num(0.0, 0.0, 0.0).clamp(0, 255).round().to(torch.uint8)
    return whole.permute(0, 2, 3, 1).contiguous(), finite


def _bucket(job: RepaintJob) -> Bucket:
    return job.image.shape[0], job.image.shape[1]


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    """Kernels that give the same bits every time: none chosen by timing, none that adds in random order."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
