"""Stable Diffusion 1.x and 2.x opened on one device, in ovforge's own loop: jobs in, repainted images out."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ovforge.options.diffusion import STABLE_DIFFUSION, DiffusionOptions
from ovforge.synthesis.diffusion.attempts import Attempt, BatchedRepainter, Painted, rounded
from ovforge.synthesis.diffusion.batches import Bucket
from ovforge.synthesis.diffusion.latents import CELL, keep_cells
from ovforge.synthesis.diffusion.model import StableDiffusion
from ovforge.synthesis.diffusion.sampling import sample_latents
from ovforge.synthesis.diffusion.schedulers import guided_calls, make_schedule
from ovforge.synthesis.diffusion.transfer import to_device
from ovforge.synthesis.repaint import WorkingSize

_VAE_ROWS = 4
"""At most so many images go through the VAE at once: at full resolution it needs more memory than the U-Net."""


class DiffusionRepainter(BatchedRepainter):
    """Repaints images with Stable Diffusion 1.x or 2.x in ovforge's own loop."""

    def __init__(self, options: DiffusionOptions, device: str | None) -> None:
        """Load the model; `device` comes before that of the options.

        Raises:
            InputError: the model folder or the device cannot be used.
        """
        settled = options.settled(STABLE_DIFFUSION)
        super().__init__(settled, device)
        self.model = StableDiffusion(
            settled.model,
            device=self._device,
            precision=settled.precision,
            allow_pickle=settled.allow_pickle,
            compile_unet=settled.compile,
            vae_tiling=settled.vae_tiling,
            cpu_offload=settled.cpu_offload,
            loras=settled.lora_files,
        )
        self.schedule = make_schedule(self.model.noise_scale, settled)
        self.working_size = WorkingSize(settled.width, settled.height, self.model.image_multiple)

    def close(self) -> None:
        """Give back the model and its memory."""
        self.model.close()
        super().close()

    def _run_batch(self, attempts: list[Attempt]) -> Painted:
        """The way of one batch: encode, sample, decode; the processor waits for the device nowhere in it."""
        jobs = [attempt.job for attempt in attempts]
        options = self._options
        keep = [keep_cells(job.keep_mask) for job in jobs]
        size = keep[0].shape
        purposes = ["vae noise", "latent noise", *(["vae noise, masked"] if self.model.inpainting else [])]
        noise = {purpose: [attempt.noise(size, purpose) for attempt in attempts] for purpose in purposes}
        given = to_device({**noise, "images": [job.image for job in jobs], "keep": keep}, self._device)
        rgb_images = given["images"].permute(0, 3, 1, 2).float() / 127.5 - 1.0
        repaint_mask = 1.0 - given["keep"].float().unsqueeze(1)

        start = self._encode(rgb_images, given["vae noise"])
        mask_channels = None
        if self.model.inpainting:
            hole = repaint_mask.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
            around = self._encode(rgb_images * (1.0 - hole), given["vae noise, masked"])
            mask_channels = torch.cat((repaint_mask, around), dim=1)

        prompts = ["" if options.no_captions else job.prompt for job in jobs]
        text = torch.cat([self.model.encode_text(prompt) for prompt in prompts])
        empty = torch.cat([self.model.encode_text("")] * len(jobs)) if options.guided else None
        with self.model.noise_predictor(mask_channels) as predict:
            latents = sample_latents(
                predict,
                self.schedule,
                start,
                given["latent noise"],
                repaint_mask=repaint_mask,
                text=text,
                empty_text=empty,
                guidance=options.guidance if options.guided else 0.0,
                guided_calls=guided_calls(options, len(self.schedule.calls)),
                fresh_noise=lambda i: self._noise(attempts, size, f"resampling noise {i}"),
            )
        return Painted(*self._decode(latents))

    def _encode(self, rgb_images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        parts = []
        for rows in _vae_rows(len(rgb_images)):
            mean, deviation = self.model.encode_images(rgb_images[rows])
            parts.append(mean + deviation * noise[rows])
        return torch.cat(parts)

    def _decode(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images as uint8 (B, H, W, 3), and which of them are finite, on the device."""
        parts = [rounded(self.model.decode_latents(latents[rows])) for rows in _vae_rows(len(latents))]
        rgb_images, finite = zip(*parts, strict=True)
        return torch.cat(rgb_images), torch.cat(finite)

    def _noise(self, attempts: Sequence[Attempt], size: tuple[int, ...], purpose: str) -> torch.Tensor:
        return to_device({purpose: [attempt.noise(size, purpose) for attempt in attempts]}, self._device)[purpose]

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


def _vae_rows(count: int) -> list[slice]:
    """Equal parts of a batch: a part's size must not depend on where in the batch an image stands."""
    size = next(size for size in range(min(count, _VAE_ROWS), 0, -1) if count % size == 0)
    return [slice(start, start + size) for start in range(0, count, size)]
