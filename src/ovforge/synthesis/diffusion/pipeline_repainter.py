"""A pipeline of diffusers opened on one device: jobs in, repainted images out."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import diffusers
import numpy as np
import torch

from ovforge.errors import InputError
from ovforge.options.diffusion import Cache, SettledOptions
from ovforge.synthesis.diffusion.attempts import Attempt, BatchedRepainter, Painted, rounded
from ovforge.synthesis.diffusion.batches import Bucket
from ovforge.synthesis.diffusion.device import DTYPES, resolve_precision
from ovforge.synthesis.diffusion.families.pipeline import SCHEDULERS, PipelineFamily, Row
from ovforge.synthesis.diffusion.latents import kept_pixels
from ovforge.synthesis.diffusion.loading import load_component, lora_reader, pipeline_class, quiet_libraries
from ovforge.synthesis.diffusion.lora import add_loras
from ovforge.synthesis.diffusion.model_folder import ModelReport
from ovforge.synthesis.repaint import RepaintJob, WorkingSize

_PROMPTS_REMEMBERED = 32
"""A prompt's embeddings take up to 8 MB; second views of one image may share a prompt."""


class PipelineRepainter(BatchedRepainter):
    """Repaints images with one family's pipeline."""

    def __init__(
        self, family: PipelineFamily, options: SettledOptions, report: ModelReport, device: str | None
    ) -> None:
        """Load the model; `device` comes before that of the options.

        Raises:
            InputError: the model folder or the device cannot be used.
        """
        super().__init__(options, device, largest_batch=family.most_at_once)
        self._family = family
        self._configs = report.configs
        self._cell = family.cell(report.configs)
        self._guided = family.is_guided(options, report.configs)
        self._rows: OrderedDict[str, Row] = OrderedDict()
        dtype = DTYPES[resolve_precision(options.precision, self._device, family.half())]
        self.pipe = load_pipeline(family, options, report, dtype)
        if options.vae_tiling:
            self.pipe.vae.enable_tiling()
        if options.cpu_offload and self._device.type != "cpu":
            self.pipe.enable_model_cpu_offload(device=self._device)
        else:
            self.pipe.to(self._device)
        self.working_size = WorkingSize(options.width, options.height, family.multiple(report.configs))

    def close(self) -> None:
        """Give back the model and its memory."""
        self.pipe = None
        self._rows.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        super().close()

    def _run_batch(self, attempts: list[Attempt]) -> Painted:
        """One call of the pipeline."""
        return Painted(*rounded(self._paint(attempts) * 255))

    def _paint(self, attempts: list[Attempt], **changes: Any) -> torch.Tensor:
        jobs = [attempt.job for attempt in attempts]
        height, width = jobs[0].image.shape[:2]
        images = torch.from_numpy(np.stack([job.image for job in jobs])).permute(0, 3, 1, 2).float() / 255
        keep = np.stack([kept_pixels(job.keep_mask, self._cell) for job in jobs])
        family, options = self._family, self._options
        with quiet_libraries():
            rows = [self._encoded("" if options.no_captions else job.prompt) for job in jobs]
            arguments = family.arguments(options, self._configs, height, width)
            arguments |= {name: value for name, value in changes.items() if name in arguments}
            painted = self._call(
                image=images,
                # Theirs is white where it is repainted.
                mask_image=1.0 - torch.from_numpy(keep).float().unsqueeze(1),
                height=height,
                width=width,
                generator=[attempt.torch_generator("pipeline") for attempt in attempts],
                output_type=family.output,
                **family.batch(rows),
                **arguments,
            ).images
        return family.to_rgb(self.pipe, painted, height, width).float()

    def _call(self, **arguments: Any) -> Any:
        if self._options.cache is Cache.NONE:
            return self.pipe(**arguments)
        # Some pipelines name the pass that a cache belongs to, and others leave it to their callers.
        with self.pipe.transformer.cache_context("cond"):
            return self.pipe(**arguments)

    def _encoded(self, prompt: str) -> Row:
        """Encoded alone and once, so it never depends on other prompts."""
        if prompt in self._rows:
            self._rows.move_to_end(prompt)
            return self._rows[prompt]
        row = self._family.encode(self.pipe, prompt, guided=self._guided)
        self._rows[prompt] = row
        if len(self._rows) > _PROMPTS_REMEMBERED:
            self._rows.popitem(last=False)
        return row

    def _probe(self, bucket: Bucket, size: int) -> None:
        """Encoding, a step or two and decoding, at a batch size that may be too large for memory."""
        blank = np.zeros((*bucket, 3), np.uint8)
        job = RepaintJob(blank, np.zeros(bucket, bool), (bucket[1], bucket[0]), "", 0, 0, 0)
        with torch.inference_mode():
            self._paint([Attempt(job, 0)] * size, num_inference_steps=2, strength=1.0)


def load_pipeline(family: PipelineFamily, options: SettledOptions, report: ModelReport, dtype: torch.dtype) -> Any:
    """The family's pipeline with the folder's components, in evaluation mode, without progress bars.

    Raises:
        InputError: a component cannot be loaded, or the installed diffusers has no such pipeline.
    """
    index = report.configs["model_index"]
    kind = pipeline_class(report)
    with quiet_libraries():
        components = {
            name: load_component(report.folder / name, part, report.weights.get(name), dtype, index.get(name))
            for name, part in family.parts_of(index).items()
        }
        networks = {name: one for name, one in components.items() if isinstance(one, torch.nn.Module)}
        if options.lora:
            add_loras(networks, options.lora_files, lora_reader(report))
        missing = dict.fromkeys(set(family.parts) - set(components))
        scheduler = _scheduler(options, report)
        pipe = kind(**components, **missing, scheduler=scheduler, **family.settings(report.configs))
    for network in networks.values():
        network.requires_grad_(False).eval()
    pipe.set_progress_bar_config(disable=True)
    # One image at a time goes through the VAE: at full resolution it needs more memory than the network.
    pipe.vae.enable_slicing()
    if options.cache is Cache.TAYLOR:
        pipe.transformer.enable_cache(_taylor(dtype))
    return pipe


def _taylor(dtype: torch.dtype) -> Any:
    """Extrapolated by the count of steps alone: nothing in it looks at what the rows of a batch hold."""
    return diffusers.TaylorSeerCacheConfig(
        cache_interval=3, disable_cache_before_step=3, max_order=1, taylor_factors_dtype=dtype
    )


def _scheduler(options: SettledOptions, report: ModelReport) -> Any:
    config = dict(report.configs["scheduler"])
    name, changes = SCHEDULERS.get(options.scheduler, (str(config.get("_class_name")), {}))
    try:
        return getattr(diffusers, name).from_config(config, **changes)
    except (AttributeError, TypeError, ValueError) as error:
        where = report.folder / "scheduler" / "scheduler_config.json"
        raise InputError(f"{where}: no {name} can be made from it ({error})") from error
