"""The engine opened on one device: jobs in, repainted images out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ovforge.options.diffusion import DiffusionOptions, Foreground
from ovforge.synthesis.diffusion.batches import Bucket, FixedBatches
from ovforge.synthesis.diffusion.latents import CELL, keep_cells, paste_kept
from ovforge.synthesis.diffusion.model import StableDiffusion, resolve_device, resolve_threads
from ovforge.synthesis.diffusion.sampling import sample_latents
from ovforge.synthesis.diffusion.schedulers import make_schedule
from ovforge.synthesis.randomness import generator
from ovforge.synthesis.repaint import Repainted, RepaintJob, WorkingSize

ATTEMPTS = 2
"""How often an image is tried, each time with other random numbers, before it is given up on."""
BLACK = 8
"""An image without a value above this is black: half precision that overflowed, or nothing recognisable anyhow."""
GIVEN_UP = f"black or not finite after {ATTEMPTS} attempts: the composed image stands instead"

_VAE_ROWS = 4
"""At most so many images go through the VAE at once: at full resolution it needs more memory than the U-Net."""


class DiffusionRepainter:
    """Repaints images with Stable Diffusion; fulfils `synthesis.repaint.Repainter`."""

    def __init__(self, options: DiffusionOptions, device: str | None) -> None:
        """Load the model; `device` comes before that of the options.

        Raises:
            InputError: the model folder or the device cannot be used.
        """
        self._options = options
        self._device = resolve_device(device or options.device)
        threads = resolve_threads(options.cpu_threads, self._device)
        self._threads_before = torch.get_num_threads()
        if threads is not None:
            torch.set_num_threads(threads)
        self.model = StableDiffusion(
            options.model,
            device=self._device,
            precision=options.precision,
            allow_pickle=options.allow_pickle,
            compile_unet=options.compile,
            vae_tiling=options.vae_tiling,
            cpu_offload=options.cpu_offload,
        )
        self.schedule = make_schedule(self.model.noise_scale, options)
        self.batches = FixedBatches(options.batch_size, self._device, self._probe)
        self.batch_size = self.batches.largest
        self.working_size: WorkingSize | None = WorkingSize(options.width, options.height, self.model.image_multiple)

    def repaint(self, jobs: Sequence[RepaintJob]) -> list[Repainted]:
        """Repaint jobs of one size.

        Raises:
            WorkError: not even one image fits into the device's memory.
        """
        results: dict[int, Repainted] = {}
        waiting = list(range(len(jobs)))
        prompt = "" if self._options.no_captions else None
        for attempt in range(ATTEMPTS):
            tried = [_Attempt(jobs[i], attempt) for i in waiting]
            rgb_images = self._images(tried)
            for i, (rgb, batch_size) in zip(waiting, rgb_images, strict=True):
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
        """Give back the model and its memory."""
        self.model.close()
        torch.set_num_threads(self._threads_before)

    def _images(self, attempts: list[_Attempt]) -> list[tuple[NDArray[np.uint8] | None, int]]:
        if not attempts:
            return []
        with torch.inference_mode(), _repeatable():
            return self.batches.run(_bucket(attempts[0].job), attempts, self._run_batch)

    def _run_batch(self, attempts: list[_Attempt]) -> list[NDArray[np.uint8] | None]:
        """The way of one batch: encode, sample, decode. None stands for an image that came out black or not finite."""
        jobs = [attempt.job for attempt in attempts]
        options = self._options
        images = torch.from_numpy(np.stack([job.image for job in jobs])).to(self._device)
        rgb_images = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        keep = np.stack([keep_cells(job.keep_mask) for job in jobs])
        repaint_mask = 1.0 - torch.from_numpy(keep).to(self._device).float().unsqueeze(1)

        start = self._encode(rgb_images, self._noise(attempts, keep.shape[1:], "vae noise"))
        mask_channels = None
        if self.model.inpainting:
            hole = repaint_mask.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
            around = self._encode(rgb_images * (1.0 - hole), self._noise(attempts, keep.shape[1:], "vae noise, masked"))
            mask_channels = torch.cat((repaint_mask, around), dim=1)

        prompts = ["" if options.no_captions else job.prompt for job in jobs]
        text = torch.cat([self.model.encode_text(prompt) for prompt in prompts])
        empty = torch.cat([self.model.encode_text("")] * len(jobs)) if options.guided else None
        with self.model.noise_predictor(mask_channels) as predict:
            latents = sample_latents(
                predict,
                self.schedule,
                start,
                self._noise(attempts, keep.shape[1:], "latent noise"),
                repaint_mask=repaint_mask,
                text=text,
                empty_text=empty,
                guidance=options.guidance if options.guided else 0.0,
                guided_calls=guided_calls(options, len(self.schedule.calls)),
                fresh_noise=lambda i: self._noise(attempts, keep.shape[1:], f"resampling noise {i}"),
            )
        decoded = self._decode(latents)
        return [
            None if _is_spoilt(rgb, finite, job.content) else rgb
            for rgb, finite, job in zip(*decoded, jobs, strict=True)
        ]

    def _encode(self, rgb_images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        parts = []
        for rows in _vae_rows(len(rgb_images)):
            mean, deviation = self.model.encode_images(rgb_images[rows])
            parts.append(mean + deviation * noise[rows])
        return torch.cat(parts)

    def _decode(self, latents: torch.Tensor) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Images as uint8 (B, H, W, 3), and which of them are finite."""
        rgb_images, finite = [], []
        for rows in _vae_rows(len(latents)):
            decoded = self.model.decode_latents(latents[rows])
            finite.append(torch.isfinite(decoded).flatten(1).all(1))
            rounded = decoded.nan_to_num(0.0, 0.0, 0.0).clamp(0, 255).round().to(torch.uint8)
            rgb_images.append(rounded.permute(0, 2, 3, 1).contiguous())
        return torch.cat(rgb_images).cpu().numpy(), torch.cat(finite).cpu().numpy()

    def _noise(self, attempts: Sequence[_Attempt], size: tuple[int, ...], purpose: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([attempt.noise(size, purpose) for attempt in attempts])).to(self._device)

    def _finished(self, job: RepaintJob, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._options.foreground is Foreground.EXACT:
            return paste_kept(rgb, job.image, job.keep_mask, job.content)
        return rgb

    def _probe(self, bucket: Bucket, size: int) -> None:
        """Encode, one U-Net call and decode, at a batch size that may be too large for memory."""
        height, width = bucket
        latents = torch.zeros(size, 4, height // CELL, width // CELL, device=self._device)
        copies = 2 if self._options.guided else 1
        text = torch.cat([self.model.encode_text("")] * size * copies)
        mask_channels = torch.zeros(size, 5, *latents.shape[2:], device=self._device) if self.model.inpainting else None
        timestep = torch.tensor(self.schedule.calls[0].timestep, device=self._device)
        with torch.inference_mode():
            self._encode(torch.zeros(size, 3, height, width, device=self._device), latents)
            with self.model.noise_predictor(mask_channels) as predict:
                predict(torch.cat([latents] * copies), timestep, text)
            self._decode(latents)


@dataclass(frozen=True)
class _Attempt:
    """One try at a job, with its own random numbers."""

    job: RepaintJob
    number: int

    def noise(self, size: tuple[int, ...], purpose: str) -> NDArray[np.float32]:
        """Standard normal (4, h, w) of the job's own generator."""
        if self.number:
            purpose = f"{purpose}, attempt {self.number}"
        drawn = generator(self.job.seed, self.job.image_id, self.job.variant, self.job.purpose(purpose))
        return drawn.standard_normal((4, *size), dtype=np.float32)


def guided_calls(options: DiffusionOptions, calls: int) -> int:
    """How many of the first U-Net calls are guided."""
    return round(calls * options.guidance_until) if options.guided else 0


def _bucket(job: RepaintJob) -> Bucket:
    return job.image.shape[0], job.image.shape[1]


def _vae_rows(count: int) -> list[slice]:
    """Equal parts of a batch: a part's size must not depend on where in the batch an image stands."""
    size = next(size for size in range(min(count, _VAE_ROWS), 0, -1) if count % size == 0)
    return [slice(start, start + size) for start in range(0, count, size)]


def _is_spoilt(rgb: NDArray[np.uint8], finite: Any, content: tuple[int, int]) -> bool:
    width, height = content
    return not finite or int(rgb[:height, :width].max()) <= BLACK


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    """Kernels that give the same bits every time: none chosen by timing, none that adds in random order."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
