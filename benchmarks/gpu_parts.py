"""The parts of `benchmarks/gpu.py`: each a function that yields rows. Run by it, in a process that it can end."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ovforge.options.diffusion import DiffusionOptions, Foreground, Precision, Preset, Sampler
from ovforge.options.labels import Repaint
from ovforge.parallel import cpu_count
from ovforge.synthesis.diffusion import DiffusionEngine
from ovforge.synthesis.diffusion.batches import FixedBatches
from ovforge.synthesis.diffusion.latents import keep_cells
from ovforge.synthesis.diffusion.model import StableDiffusion
from ovforge.synthesis.diffusion.repainter import DiffusionRepainter
from ovforge.synthesis.repaint import RepaintJob

Row = dict[str, Any]
PROMPTS = ("a photo of a cat and a cup", "a dog on a street", "two people at a table")
GIB = 1 << 30


class SkippedError(Exception):
    """A part that has nothing to do here, and why."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where and at what size the parts run."""

    device: torch.device
    scratch: Path
    tiny: bool = False

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the images."""
        return (128, 64) if self.tiny else (768, 512)

    @property
    def steps(self) -> int:
        """Of the samplers that take OVTrack's 50."""
        return 4 if self.tiny else 50

    @property
    def few_steps(self) -> int:
        """Of `dpm++`."""
        return 3 if self.tiny else 20

    @property
    def batch(self) -> int:
        return 2 if self.tiny else 8

    def options(self, **changes: Any) -> DiffusionOptions:
        width, height = self.size
        chosen = {"steps": self.steps, "width": width, "height": height, "batch_size": self.batch, "cpu_threads": 1}
        return DiffusionOptions(model=self.model(), device=str(self.device), **{**chosen, **changes})

    def dpmpp(self, **changes: Any) -> DiffusionOptions:
        return self.options(scheduler=Sampler.DPMPP, steps=self.few_steps, **changes)

    def model(self) -> Path:
        """The folder of the model, made where it is not there yet."""
        folder = self.scratch / "model"
        if not folder.exists():
            building = self.scratch / "model.building"
            build_model(building, self)
            building.rename(folder)
        return folder

    def flop(self) -> dict[str, int]:
        """Operations of one U-Net call on one row, of one encoding and of one decoding: counted once, and kept."""
        path = self.scratch / "flop.json"
        if not path.exists():
            path.write_text(json.dumps(count_flop(self)))
        found: dict[str, int] = json.loads(path.read_text())
        return found

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], Any]) -> float:
        self.wait()
        started = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - started

    def reset_memory(self) -> None:
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def memory(self) -> Row:
        """The most GPU memory since the last reset, as a column; none on the CPU."""
        return {"GiB": torch.cuda.max_memory_allocated(self.device) / GIB} if self.on_gpu else {}


# ---- models and jobs


def build_model(folder: Path, bench: Bench) -> None:
    """A model of random weights in diffusers' layout: tiny, or of the architecture of CompVis/stable-diffusion-v1-4."""
    builder = _module("tests/tiny_stable_diffusion.py")
    if bench.tiny:
        builder.build_tiny_stable_diffusion(folder)
        return
    builder.write_settings(folder)
    torch.manual_seed(0)
    with torch.device(bench.device):  # a GPU draws a billion numbers in no time
        networks = real_networks()
    for network, name in zip(networks, ("unet", "vae", "text_encoder"), strict=True):
        network.half().save_pretrained(folder / name)


def real_networks() -> tuple[Any, Any, Any]:
    """U-Net, VAE and text encoder of Stable Diffusion v1-4, from their configurations, on torch's current device."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=768,
        attention_head_dim=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
        )
    )
    return unet, vae, text


def make_jobs(count: int, width: int, height: int) -> list[RepaintJob]:
    """Coarse random images with a kept ellipse."""
    jobs = []
    for i in range(count):
        rng = np.random.default_rng(i)
        coarse = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        image = coarse.repeat(16, axis=0).repeat(16, axis=1)
        y, x = np.ogrid[:height, :width]
        keep = ((x - width / 3) / (width / 5)) ** 2 + ((y - height / 2) / (height / 4)) ** 2 < 1
        jobs.append(RepaintJob(image, keep, (width, height), PROMPTS[i % 3], image_id=i, variant=0, seed=0))
    return jobs


@contextlib.contextmanager
def opened(options: DiffusionOptions) -> Iterator[DiffusionRepainter]:
    """The engine, loaded, and given back."""
    engine = DiffusionEngine(options).open(None)
    assert isinstance(engine, DiffusionRepainter)
    try:
        yield engine
    finally:
        engine.close()


def warm_up(bench: Bench, engine: DiffusionRepainter, batch: int) -> None:
    """Encode, one U-Net call and decode, so that kernels are loaded and memory is at hand."""
    width, height = bench.size
    engine._probe((height, width), batch)
    bench.wait()


def count_flop(bench: Bench) -> dict[str, int]:
    width, height = bench.size
    with opened(bench.options()) as engine, torch.inference_mode(), _quiet():
        model = engine.model
        latents = torch.zeros(1, 4, height // 8, width // 8, device=model.device)
        image = torch.zeros(1, 3, height, width, device=model.device)
        text, timestep = model.encode_text(""), torch.tensor(1, device=model.device)

        def count(work: Callable[[], Any]) -> int:
            with FlopCounterMode(display=False) as counter:
                work()
            return int(counter.get_total_flops())

        with model.noise_predictor() as predict:
            unet = count(lambda: predict(latents, timestep, text))
        return {
            "unet": unet,
            "encode": count(lambda: model.encode_images(image)),
            "decode": count(lambda: model.decode_latents(latents)),
        }


def image_flop(bench: Bench, engine: DiffusionRepainter, options: DiffusionOptions) -> int:
    """Operations for one image."""
    flop, calls = bench.flop(), len(engine.schedule.calls)
    guided = round(calls * options.guidance_until)
    return (calls + guided) * flop["unet"] + flop["encode"] + flop["decode"]


def timed_row(bench: Bench, name: str, engine: DiffusionRepainter, options: DiffusionOptions, images: int) -> Row:
    """Repaint so many images, batch by batch, and say how long it took."""
    batch = min(images, engine.batch_size)
    jobs = make_jobs(images, *bench.size)
    results = []

    def work() -> None:
        for start in range(0, images, batch):
            results.extend(engine.repaint(jobs[start : start + batch]))

    bench.reset_memory()
    taken = bench.seconds(work) / images
    again = sum(bool(result.drops or result.record.get("attempt")) for result in results)
    row = {"": name, "s/image": taken, "images/s": 1 / taken}
    row["TFLOP/s"] = image_flop(bench, engine, options) / taken / 1e12
    return row | bench.memory() | ({"tried again": again} if again else {})


# ---- the parts


def model(bench: Bench) -> Iterator[Row]:
    started = time.perf_counter()
    bench.model()
    yield {"": "built and written", "s": time.perf_counter() - started}
    for name, flop in bench.flop().items():
        yield {"": f"{name}, {bench.size[0]}x{bench.size[1]}, one row", "TFLOP": flop / 1e12}


def baseline(bench: Bench) -> Iterator[Row]:
    """What the original does: autocast over half-precision weights, PNDM with guidance, attention unfused."""
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor
    from transformers import CLIPTextModel, CLIPTokenizer

    folder, device = bench.model(), bench.device
    dtype = torch.float16 if bench.on_gpu else torch.float32
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype).to(device)
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=dtype).to(device)
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", torch_dtype=dtype).to(device)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    unet.set_attn_processor(AttnProcessor())
    vae.set_attn_processor(AttnProcessor())
    scheduler = PNDMScheduler.from_pretrained(folder / "scheduler")
    scheduler.set_timesteps(bench.steps)
    timesteps = sorted(set(scheduler.timesteps.tolist()), reverse=True)[-(int(bench.steps * 0.75) + 1) :]

    def repaint(job: RepaintJob, timesteps: list[int]) -> np.ndarray:
        autocast = torch.autocast("cuda") if bench.on_gpu else contextlib.nullcontext()
        with torch.no_grad(), autocast:
            tokens = tokenizer([job.prompt, ""], padding="max_length", max_length=77, return_tensors="pt")
            prompt, empty = encoder(tokens.input_ids.to(device)).last_hidden_state.chunk(2)
            text = torch.cat((empty, prompt))
            image = torch.from_numpy(job.image).to(device).permute(2, 0, 1)[None] / 127.5 - 1
            start = vae.encode(image.to(vae.dtype)).latent_dist.sample() * vae.config.scaling_factor
            repainted = 1 - torch.from_numpy(keep_cells(job.keep_mask)).to(device, start.dtype)
            noise = torch.randn_like(start)
            scheduler.set_timesteps(bench.steps)
            latents = scheduler.add_noise(start, noise, torch.tensor(timesteps[:1]))
            for timestep, following in zip(timesteps, [*timesteps[1:], 0], strict=True):
                prediction = unet(torch.cat((latents, latents)), timestep, encoder_hidden_states=text).sample
                without, with_prompt = prediction.chunk(2)
                prediction = without + 7.5 * (with_prompt - without)
                latents = scheduler.step(prediction, timestep, latents).prev_sample
                if following > 20:
                    noised = scheduler.add_noise(start, noise, torch.tensor([following]))
                    latents = noised * (1 - repainted) + latents * repainted
            decoded = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample
            pixels = (decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float().cpu().numpy()
        return np.asarray((pixels[0] * 255).round(), np.uint8)

    jobs = make_jobs(3, *bench.size)
    repaint(jobs[0], timesteps[:2])  # to warm up
    bench.reset_memory()
    taken = bench.seconds(lambda: [repaint(job, timesteps) for job in jobs[1:]]) / 2
    flop = bench.flop()
    total = 2 * len(timesteps) * flop["unet"] + flop["encode"] + flop["decode"]
    yield {
        "": f"one image at a time, {len(timesteps)} guided calls",
        "s/image": taken,
        "images/s": 1 / taken,
        "TFLOP/s": total / taken / 1e12,
        **bench.memory(),
    }


def ours(bench: Bench) -> Iterator[Row]:
    variants = {
        "ovtrack: calls as the baseline's": bench.options(scheduler=Sampler.OVTRACK),
        "ovtrack, exact foreground": bench.options(scheduler=Sampler.OVTRACK, foreground=Foreground.EXACT),
        "ovtrack, one image at a time": bench.options(scheduler=Sampler.OVTRACK, batch_size=1),
        "pndm": bench.options(),
        f"dpm++, {bench.few_steps} steps (lossy)": bench.dpmpp(),
        f"dpm++, {bench.few_steps} steps, guided half (lossy)": bench.dpmpp(guidance_until=0.5),
    }
    for name, options in variants.items():
        with opened(options) as engine:
            warm_up(bench, engine, engine.batch_size)
            yield timed_row(bench, name, engine, options, images=engine.batch_size if engine.batch_size > 1 else 2)


def neighbours(bench: Bench) -> Iterator[Row]:
    """The same image among other images, at other places of its batch, and in batches of other sizes."""
    batch = bench.batch
    jobs = make_jobs(batch + 1, *bench.size)
    with opened(bench.dpmpp()) as engine:
        first = engine.repaint(jobs[:batch])
        others = engine.repaint([*jobs[:0:-1]][:batch])  # the other way round, one of them new
        alone = engine.repaint(jobs[1:2])
        turned = dict(zip(range(batch, 0, -1), others, strict=True))
        moved = [np.array_equal(first[i].image, turned[i].image) for i in range(1, batch)]
        yield {"": "other neighbours, other place in the batch", "images": len(moved), "equal in every bit": sum(moved)}
        same = np.array_equal(first[1].image, alone[0].image)
        yield {"": "alone in a filled batch", "images": 1, "equal in every bit": int(same)}
        again = engine.repaint(jobs[:batch])
        same_again = sum(np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True))
        yield {"": "the same batch again", "images": batch, "equal in every bit": same_again}
        engine.batches = FixedBatches(1, bench.device, engine._probe)
        single = engine.repaint(jobs[1:2])[0].image.astype(int)
        difference = np.abs(first[1].image - single)
        yield {
            "": f"batches of 1 and of {batch} (not promised to be equal)",
            "images": 1,
            "equal in every bit": int(not difference.any()),
            "levels apart": int(difference.max()),
            "values equal": float((difference == 0).mean()),
        }


def batches(bench: Bench) -> Iterator[Row]:
    options = bench.dpmpp()
    width, height = bench.size
    with opened(options) as engine:
        for size in (1, 2) if bench.tiny else (1, 2, 4, 8, 16, 32):
            engine.batches = FixedBatches(size, bench.device, engine._probe)
            engine.batch_size = size
            bench.reset_memory()
            try:
                warm_up(bench, engine, size)
            except torch.OutOfMemoryError:
                yield {"": f"batches of {size}", "s/image": "does not fit"}
                continue
            row = timed_row(
                bench,
                f"batches of {size}, {options.scheduler.value if options.scheduler else 'its own sampler'}",
                engine,
                options,
                images=size,
            )
            with torch.inference_mode(), engine.model.noise_predictor() as predict:
                latents = torch.zeros(2 * size, 4, height // 8, width // 8, device=bench.device)
                text = torch.cat([engine.model.encode_text("")] * 2 * size)
                timestep = torch.tensor(500, device=bench.device)
                calls = 2 if bench.tiny else 5
                call = bench.seconds(lambda: [predict(latents, timestep, text) for _ in range(calls)]) / calls  # noqa: B023
            yield row | {"ms a guided call, an image": 1000 * call / size}


def formats(bench: Bench) -> Iterator[Row]:
    """U-Net, encoding and decoding by themselves, by number format and memory format.

    PyTorch's GroupNorm on a GPU wants its input as NCHW; with channels-last it is brought there and back. So it is also
    measured with one that stays in NHWC.
    """
    width, height = bench.size
    rows = bench.batch
    wanted = [Precision.FP16, Precision.BF16, Precision.FP32] if bench.on_gpu else [Precision.BF16, Precision.FP32]
    for precision in wanted:
        for layout, stays in (
            (torch.channels_last, False),
            (torch.channels_last, True),
            (torch.contiguous_format, False),
        ):
            network = StableDiffusion(bench.model(), device=bench.device, precision=precision)
            network._layout = layout
            for component in (network.unet, network.vae):
                component.to(memory_format=layout)
                for module in component.modules() if stays else ():
                    if isinstance(module, torch.nn.GroupNorm):
                        module.forward = functools.partial(group_norm_nhwc, module)
            latents = torch.zeros(2 * rows, 4, height // 8, width // 8, device=bench.device)
            images = torch.zeros(rows // 2, 3, height, width, device=bench.device)
            timestep = torch.tensor(500, device=bench.device)
            with torch.inference_mode(), network.noise_predictor() as predict:
                text = torch.cat([network.encode_text("")] * 2 * rows)
                work = {
                    f"ms: U-Net, {2 * rows} rows": lambda: predict(latents, timestep, text),  # noqa: B023
                    f"ms: encode, {rows // 2} rows": lambda: network.encode_images(images),  # noqa: B023
                    f"ms: decode, {rows // 2} rows": lambda: network.decode_latents(latents[: rows // 2]),  # noqa: B023
                }
                name = "channels-last" if layout is torch.channels_last else "contiguous"
                row: Row = {"": f"{precision.value}, {name}{', GroupNorm stays in it' if stays else ''}"}
                for what, one in work.items():
                    one()
                    repeats = 1 if precision is Precision.FP32 or bench.tiny else 3
                    row[what] = 1000 * bench.seconds(lambda: [one() for _ in range(repeats)]) / repeats  # noqa: B023
            network.close()
            yield row


def group_norm_nhwc(module: torch.nn.GroupNorm, x: torch.Tensor) -> torch.Tensor:
    """GroupNorm that reads and writes channels-last as it is: two passes over memory, the statistics in float32."""
    if x.dim() != 4:
        return torch.nn.functional.group_norm(x, module.num_groups, module.weight, module.bias, module.eps)
    batch, channels, height, width = x.shape
    cells = x.permute(0, 2, 3, 1).reshape(batch, height * width, module.num_groups, channels // module.num_groups)
    variance, mean = torch.var_mean(cells, dim=(1, 3), correction=0, keepdim=True)
    scale = (variance.float() + module.eps).rsqrt()
    per_group = (batch, 1, module.num_groups, channels // module.num_groups)
    weight = (module.weight.view(1, 1, *per_group[2:]) * scale).to(x.dtype)
    bias = (module.bias.view(1, 1, *per_group[2:]) - mean.float() * weight).to(x.dtype)
    return torch.addcmul(bias, cells, weight).reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def compiled(bench: Bench) -> Iterator[Row]:
    if not bench.on_gpu:
        raise SkippedError("torch.compile is measured on a GPU only: on a CPU it takes minutes")
    for name, options in {
        "ovtrack: calls as the baseline's": bench.options(scheduler=Sampler.OVTRACK, compile=True),
        f"dpm++, {bench.few_steps} steps (lossy)": bench.dpmpp(compile=True),
    }.items():
        with opened(options) as engine:
            compiling = bench.seconds(lambda: warm_up(bench, engine, engine.batch_size))
            row = timed_row(bench, name, engine, options, images=engine.batch_size)
            # One image more than a batch: the last batch is filled, so nothing is compiled again.
            rest = bench.seconds(lambda: engine.repaint(make_jobs(1, *bench.size)))
            yield row | {"compiling, s": compiling, "s, a last batch of one, filled": rest}
    options = bench.options(scheduler=Sampler.OVTRACK, batch_size=1, compile=True)
    with opened(options) as engine:
        # CUDA graphs: worth it where the processor cannot start kernels fast enough, so for one image at a time.
        engine.model._compiled_unet = torch.compile(engine.model.unet, dynamic=False, mode="reduce-overhead")
        compiling = bench.seconds(lambda: engine.repaint(make_jobs(1, *bench.size)))
        row = timed_row(bench, "ovtrack, one image at a time, CUDA graphs", engine, options, images=2)
        yield row | {"compiling, s": compiling}


def presets(bench: Bench) -> Iterator[Row]:
    for preset in Preset:
        width, height = bench.size
        options = DiffusionOptions(
            model=bench.model(), device=str(bench.device), batch_size=bench.batch, preset=preset, width=width,
            height=height, cpu_threads=1, steps=bench.few_steps if bench.tiny else None,
        )  # fmt: skip
        with opened(options) as engine:
            warm_up(bench, engine, engine.batch_size)
            yield timed_row(bench, preset.value, engine, options, images=engine.batch_size)


def sdxl(bench: Bench) -> Iterator[Row]:
    """SDXL's base model at its own size, by the pipeline of its family."""
    folder = bench.scratch / "sdxl"
    started = time.perf_counter()
    if bench.tiny:
        _module("tests/tiny_families.py").build_tiny_family(folder, "stable-diffusion-xl")
    else:
        build_sdxl(folder, bench.device)
    yield {"": "built and written", "s": time.perf_counter() - started}
    side, sizes = (64, (1,)) if bench.tiny else (1024, (1, 4))
    for size in sizes:
        options = DiffusionOptions(
            model=folder, device=str(bench.device), batch_size=size, scheduler=Sampler.DPMPP, steps=bench.few_steps,
            width=side, height=side, cpu_threads=1,
        )  # fmt: skip
        engine = DiffusionEngine(options).open(None)
        try:
            engine._probe((side, side), size)  # type: ignore[attr-defined]
            jobs = make_jobs(size, side, side)
            results = []
            bench.reset_memory()
            taken = bench.seconds(lambda: results.extend(engine.repaint(jobs))) / size  # noqa: B023
        finally:
            engine.close()
        again = sum(bool(result.drops or result.record.get("attempt")) for result in results)
        yield {
            "": f"dpm++, {bench.few_steps} steps, {side}x{side}, batches of {size}",
            "s/image": taken,
            **bench.memory(),
            **({"tried again": again} if again else {}),
        }


def build_sdxl(folder: Path, device: torch.device) -> None:
    """The architecture of stabilityai/stable-diffusion-xl-base-1.0, random weights, in diffusers' layout."""
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    builder = _module("tests/tiny_stable_diffusion.py")
    builder.write_settings(folder)  # its tokenizer and its index; the scheduler is written over
    shutil.copytree(folder / "tokenizer", folder / "tokenizer_2")
    (folder / "model_index.json").write_text(
        json.dumps(
            {
                "_class_name": "StableDiffusionXLPipeline",
                "force_zeros_for_empty_prompt": True,
                "scheduler": ["diffusers", "EulerDiscreteScheduler"],
                "text_encoder": ["transformers", "CLIPTextModel"],
                "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
                "tokenizer": ["transformers", "CLIPTokenizer"],
                "tokenizer_2": ["transformers", "CLIPTokenizer"],
                "unet": ["diffusers", "UNet2DConditionModel"],
                "vae": ["diffusers", "AutoencoderKL"],
            }
        )
    )
    EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
    ).save_pretrained(folder / "scheduler")
    torch.manual_seed(0)
    with torch.device(device):
        unet = UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(5, 10, 20),
            transformer_layers_per_block=(1, 2, 10),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
        unet.half().save_pretrained(folder / "unet")
        del unet
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
            sample_size=1024,
            scaling_factor=0.13025,
        )
        vae.half().save_pretrained(folder / "vae")
        common = {"vocab_size": 49408, "max_position_embeddings": 77}
        first = CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
            projection_dim=768, **common,
        )  # fmt: skip
        CLIPTextModel(first).half().save_pretrained(folder / "text_encoder")
        second = CLIPTextConfig(
            hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20, hidden_act="gelu",
            projection_dim=1280, **common,
        )  # fmt: skip
        CLIPTextModelWithProjection(second).half().save_pretrained(folder / "text_encoder_2")


def generate(bench: Bench) -> Iterator[Row]:
    """All of it in one process: reading, composing, repainting, encoding, writing, publishing."""
    from ovforge.options.pairs import GenerateOptions
    from ovforge.runs.executors.in_process import InProcessExecutor
    from ovforge.synthesis.generate import generate_pairs

    count, size = (4, (320, 160)) if bench.tiny else (96, (640, 480))
    annotations, images = make_photographs(bench.scratch / "photographs", count, size)
    for name, engine_options in {
        f"dpm++, {bench.few_steps} steps": bench.dpmpp(),
        f"dpm++, {bench.few_steps} steps, --repaint holes": bench.dpmpp(repaint=Repaint.HOLES),
    }.items():
        engine = _Timed(DiffusionEngine(engine_options))
        options = GenerateOptions(
            "run", out=bench.scratch / f"run-{name[-5:]}", images=images, annotations=annotations,
            shard_size=count, overwrite=True, seed=1,
        )  # fmt: skip
        with GpuLoad(bench.device) as load:
            started = time.perf_counter()
            summary = generate_pairs(options, engine, InProcessExecutor(), threads=cpu_count())
            taken = time.perf_counter() - started
        views = summary.counts["second views"]
        yield {
            "": f"{name}, {views} images of {size[0]}x{size[1]}",
            "s": taken,
            "s until the engine is loaded": engine.began - started,
            "s in the engine": engine.spent,
            "share of the rest in the engine": engine.spent / (engine.ended - engine.began),
            "images/s while the engine works": views / (engine.ended - engine.began),
            **load.shares(engine.began, engine.ended),
        }


def loader(bench: Bench) -> Iterator[Row]:
    from ovforge.data import PairDataset, collate_pairs

    pairs, count = (24, 16) if bench.tiny else (2000, 480)
    maker = _module("benchmarks/many_pairs.py")
    if bench.tiny:
        maker.DISTINCT = 4
    h5, annotations = maker.make_pairs(bench.scratch / "many", pairs)
    dataset = PairDataset(h5, annotations)
    for workers in (0,) if bench.tiny else dict.fromkeys((0, 4, cpu_count())):
        order = list(range(count))
        batches = torch.utils.data.DataLoader(
            dataset, batch_size=8, sampler=order, num_workers=workers, collate_fn=collate_pairs,
            multiprocessing_context="fork" if workers else None,
        )  # fmt: skip
        iterator = iter(batches)
        next(iterator)  # workers are up
        started = time.perf_counter()
        read = sum(len(first) for first, _, _ in iterator)
        yield {"": f"{workers} workers", "pairs/s": read / (time.perf_counter() - started)}


def cpu(bench: Bench) -> Iterator[Row]:
    """What needs no GPU: second views by `fill`, annotation files, and each stage of a pair."""
    from ovforge.annotations import category_info, remove_rare
    from ovforge.options.annotations import CategoryInfoOptions, RemoveRareOptions
    from ovforge.options.pairs import GenerateOptions
    from ovforge.runs.executors.in_process import InProcessExecutor
    from ovforge.runs.executors.local import LocalExecutor
    from ovforge.synthesis.generate import generate_pairs
    from ovforge.synthesis.warp import FillEngine

    cores = cpu_count()
    count, size = (4, (320, 160)) if bench.tiny else (400, (640, 480))
    annotations, images = make_photographs(bench.scratch / "filled", count, size)
    for workers in (1,) if bench.tiny or cores == 1 else (1, cores):
        options = GenerateOptions(
            "filled", out=bench.scratch / "fill", images=images, annotations=annotations, overwrite=True,
            shard_size=max(1, min(16, count // workers)),
        )  # fmt: skip
        started = time.perf_counter()
        generate_pairs(options, FillEngine(), InProcessExecutor() if workers == 1 else LocalExecutor(workers))
        yield {
            "": f"fill, {count} images, {workers} workers",
            "ms/image": 1000 * (time.perf_counter() - started) / count,
        }
    scale = 0.0005 if bench.tiny else 0.05
    maker = _module("benchmarks/make_lvis.py")
    if bench.tiny:
        maker.POLYGONS = 400
    lvis, _ = maker.make(bench.scratch / "lvis", scale)
    for name, step in {
        "lvis remove-rare": lambda: remove_rare(RemoveRareOptions(lvis, bench.scratch / "norare.json")),
        "lvis category-info": lambda: category_info(CategoryInfoOptions(lvis, bench.scratch / "info.json")),
    }.items():
        started = time.perf_counter()
        step()
        yield {"": f"{name}, {lvis.stat().st_size / 1e6:.0f} MB", "s": time.perf_counter() - started}
    for name, milliseconds in cpu_stages(1 if bench.tiny else 20).items():
        yield {"": f"one thread: {name}", "ms/image": milliseconds}


PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "model": model,
    "baseline": baseline,
    "ours": ours,
    "neighbours": neighbours,
    "batches": batches,
    "formats": formats,
    "generate": generate,
    "compiled": compiled,
    "presets": presets,
    "sdxl": sdxl,
    "loader": loader,
    "cpu": cpu,
}


# ---- what the parts need


class _Timed:
    """An engine that notes when it was loaded, when it ended, and how long it had a batch to work on."""

    def __init__(self, engine: DiffusionEngine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._at_work = 0
        self._since = self.began = self.ended = self.spent = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def open(self, device: str | None) -> Any:
        opened: Any = self._engine.open(device)
        start = opened.start

        def timed_start(jobs: Any) -> Any:
            with self._lock:
                if not self._at_work:
                    self._since = time.perf_counter()
                self._at_work += 1
            results = start(jobs)

            def timed_results() -> Any:
                found = results()
                with self._lock:
                    self._at_work -= 1
                    self.ended = time.perf_counter()
                    if not self._at_work:
                        self.spent += self.ended - self._since
                return found

            return timed_results

        opened.start = timed_start
        self.began = time.perf_counter()
        return opened


class GpuLoad:
    """Asks the driver five times a second how busy the GPU is: the share of the time in which any kernel ran."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.samples: list[tuple[float, float]] = []

    def __enter__(self) -> GpuLoad:
        self._process: subprocess.Popen[str] | None = None
        if self._device.type == "cuda":
            # The driver counts all cards, this process only those that it was given.
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
            index = self._device.index or 0
            card = visible[index] if index < len(visible) and visible[index] else str(index)
            command = [
                "nvidia-smi",
                "-i",
                card,
                "--query-gpu=utilization.gpu",
                "--format=csv,noheader,nounits",
                "-lms",
                "200",
            ]
            with contextlib.suppress(FileNotFoundError):
                self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _listen(self, lines: Any) -> None:
        for line in lines:
            with contextlib.suppress(ValueError):  # "[N/A]" on parts of a card
                self.samples.append((time.perf_counter(), float(line)))

    def shares(self, began: float, ended: float) -> Row:
        """The mean while the engine worked; nothing where the driver says nothing."""
        seen = [share for at, share in self.samples if began <= at <= ended]
        return {"GPU busy, %": sum(seen) / len(seen), "samples": len(seen)} if seen else {}


def make_photographs(folder: Path, count: int, size: tuple[int, int]) -> tuple[Path, Path]:
    """Images that compress about as photographs do, and their LVIS annotations: three objects each."""
    width, height = size
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    records: list[Row] = []
    objects: list[Row] = []
    for number in range(1, count + 1):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (height // 20, width // 20, 3), np.uint8)
        pixels = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC).astype(np.int16)
        pixels = np.clip(pixels + rng.normal(0, 9, pixels.shape), 0, 255).astype(np.uint8)
        name = f"{number:012d}.jpg"
        cv2.imwrite(str(images / name), pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])
        records.append({"id": number, "width": width, "height": height, "file_name": name})
        for place in range(3):
            x, y = width * (0.25 + 0.25 * place), height * rng.uniform(0.4, 0.6)
            across, down = width * 0.11, height * rng.uniform(0.2, 0.3)
            points = np.stack((x + across * np.cos(angles), y + down * np.sin(angles)), axis=1)
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": number,
                    "category_id": 1 + place,
                    "segmentation": [points.ravel().round(2).tolist()],
                    "area": round(float(np.pi * across * down), 2),
                    "bbox": [round(float(v), 2) for v in (x - across, y - down, 2 * across, 2 * down)],
                }
            )
    categories = [{"id": n, "name": f"thing_{n}", "synset": f"thing_{n}.n.01", "frequency": "f"} for n in (1, 2, 3)]
    annotations = folder / "annotations.json"
    annotations.write_text(json.dumps({"images": records, "annotations": objects, "categories": categories}))
    return annotations, images


def cpu_stages(repeats: int) -> dict[str, float]:
    """Milliseconds an image of 640x480 with 7 objects, on one thread, as the making of pairs runs them."""
    from ovforge.image_io.codec import decode_rgb, encode_jpeg
    from ovforge.synthesis.compose import compose, to_image_size, to_working_size
    from ovforge.synthesis.diffusion.latents import paste_kept
    from ovforge.synthesis.fidelity import fidelity
    from ovforge.synthesis.masks import rasterise, stack
    from ovforge.synthesis.motion import draw_motion
    from ovforge.synthesis.randomness import generator
    from ovforge.synthesis.repaint import WorkingSize

    cv2.setNumThreads(1)
    width, height = 640, 480
    coarse = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    image = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    data = encode_jpeg(image, 95)
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    polygons = []
    for i in range(7):
        x, y = 80 + 75 * i + 60 * np.cos(angles), 240 + 70 * np.sin(angles)
        polygons.append([np.stack((x.clip(0, width), y), axis=1).ravel().tolist()])
    masks = stack([rasterise(polygon, width, height) for polygon in polygons], width, height)
    motion = draw_motion(generator(0, 1, 0, "motion"), width, height)
    composed = compose(image, masks, motion)
    working, kept, content = to_working_size(composed.image, composed.masks.union(), WorkingSize())
    final = to_image_size(working, content, (width, height))
    stages = {
        "decode": lambda: decode_rgb(data, "image"),
        "masks": lambda: stack([rasterise(polygon, width, height) for polygon in polygons], width, height),
        "warp and compose": lambda: compose(image, masks, motion),
        "to the working size": lambda: to_working_size(composed.image, composed.masks.union(), WorkingSize()),
        "latent noise": lambda: [
            generator(0, 1, 0, purpose).standard_normal((4, 64, 88), dtype=np.float32) for purpose in ("a", "b")
        ],
        "mask to cells": lambda: keep_cells(kept),
        "back to size": lambda: to_image_size(working, content, (width, height)),
        "fidelity": lambda: fidelity(composed.image, final, composed.masks),
        "encode": lambda: encode_jpeg(final, 95),
        "exact foreground": lambda: paste_kept(working, working, kept, content),
    }
    return {name: 1000 * _best(work, repeats) for name, work in stages.items()}


def _best(work: Callable[[], object], repeats: int) -> float:
    work()
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


@functools.cache
def _module(path: str) -> Any:
    """A Python file of this checkout that is in no package."""
    file = Path(__file__).resolve().parents[1] / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def describe_machine(bench: Bench) -> Row:
    """What the figures were taken on."""
    from importlib.metadata import version

    card: Row = {}
    if bench.on_gpu:
        properties = torch.cuda.get_device_properties(bench.device)
        card = {
            "GPU": properties.name,
            "GPU memory, GiB": round(properties.total_memory / GIB, 1),
            "CUDA": torch.version.cuda,
        }
    libraries = {name: version(name) for name in ("torch", "diffusers", "transformers")}
    model_name = "tiny: these figures say nothing of a GPU" if bench.tiny else "SD v1-4's architecture, random weights"
    return {
        **card,
        "device": str(bench.device),
        "cores": cpu_count(),
        "Python": platform.python_version(),
        **libraries,
        "model": model_name,
        "image size": f"{bench.size[0]}x{bench.size[1]}",
        "batch": bench.batch,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lines", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--parts", required=True)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    name = ("cuda" if torch.cuda.is_available() else "cpu") if arguments.device == "auto" else arguments.device
    bench = Bench(torch.device(name), arguments.scratch, arguments.tiny)
    if not bench.on_gpu:
        torch.set_num_threads(1 if bench.tiny else cpu_count())

    def say(**message: Any) -> None:
        with open(arguments.lines, "a", encoding="utf-8") as file:
            file.write(json.dumps(message) + "\n")

    say(machine=describe_machine(bench))
    for part in arguments.parts.split(","):
        started = time.perf_counter()
        say(part=part, state="began")
        state: Row = {"state": "done"}
        try:
            for row in PARTS[part](bench):
                say(part=part, row=row)
        except SkippedError as error:
            state = {"state": "skipped", "reason": str(error)}
        except Exception as error:  # one part's error is no other's
            import traceback

            traceback.print_exc()
            state = {
                "state": "failed",
                "reason": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            }
        say(part=part, seconds=time.perf_counter() - started, **state)
    return 0


if __name__ == "__main__":
    sys.exit(main())
