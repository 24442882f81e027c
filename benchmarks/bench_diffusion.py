"""Images a second of the engine `diffusion`, against the original's way of running the same model, in one run.

    python benchmarks/bench_diffusion.py [--device cuda] [--batch-size 8] [--compile] [--json out.json]

On a GPU the model has the real Stable Diffusion v1-4 architecture, from its configuration, with random weights: speed
does not depend on their values. On the CPU a tiny model of the same layout stands in; its ratios say nothing about a
GPU. The baseline does what the original does: one image at a time, autocast over half-precision weights, PNDM with
guidance, attention without fused kernels, nothing compiled, images NCHW.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ovforge.options.diffusion import DiffusionOptions, Foreground, Precision, Sampler
from ovforge.synthesis.diffusion import DiffusionEngine
from ovforge.synthesis.diffusion.latents import keep_cells
from ovforge.synthesis.diffusion.model import resolve_device
from ovforge.synthesis.diffusion.repainter import DiffusionRepainter
from ovforge.synthesis.repaint import RepaintJob

PROMPTS = ("a photo of a cat and a cup", "a dog on a street", "two people at a table")


def build_model(folder: Path, *, real_size: bool) -> Path:
    """Write a model of random weights; the real architecture is that of CompVis/stable-diffusion-v1-4."""
    builder = _tiny_builder()
    if not real_size:
        return Path(builder.build_tiny_stable_diffusion(folder))
    builder.write_settings(folder)
    from diffusers import AutoencoderKL, UNet2DConditionModel  # half a second each: not for --help
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
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
    for component, name in ((unet, "unet"), (vae, "vae"), (text, "text_encoder")):
        component.half().save_pretrained(folder / name)
    return folder


def make_jobs(count: int, width: int, height: int) -> list[RepaintJob]:
    """Smooth random images with a kept ellipse."""
    jobs = []
    for i in range(count):
        rng = np.random.default_rng(i)
        coarse = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        image = coarse.repeat(16, axis=0).repeat(16, axis=1)
        y, x = np.ogrid[:height, :width]
        keep = ((x - width / 3) / (width / 5)) ** 2 + ((y - height / 2) / (height / 4)) ** 2 < 1
        jobs.append(RepaintJob(image, keep, (width, height), PROMPTS[i % 3], image_id=i, variant=0, seed=0))
    return jobs


class Baseline:
    """The original's way: one image after the other."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
        from diffusers.models.attention_processor import AttnProcessor
        from transformers import CLIPTextModel

        dtype = torch.float16 if device.type == "cuda" else torch.float32
        self.device = device
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype).to(device)
        self.vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=dtype).to(device)
        self.text = CLIPTextModel.from_pretrained(folder / "text_encoder", torch_dtype=dtype).to(device)
        self.tokenizer = _tokenizer(folder)
        self.unet.set_attn_processor(AttnProcessor())
        self.vae.set_attn_processor(AttnProcessor())
        self.scheduler = PNDMScheduler.from_pretrained(folder / "scheduler")

    def repaint(self, job: RepaintJob) -> np.ndarray:
        """One image: 38 guided calls, kept latents blended in until timestep 20."""
        autocast = torch.autocast("cuda") if self.device.type == "cuda" else contextlib.nullcontext()
        with torch.no_grad(), autocast:
            tokens = self.tokenizer([job.prompt, ""], padding="max_length", max_length=77, return_tensors="pt")
            prompt, empty = self.text(tokens.input_ids.to(self.device)).last_hidden_state.chunk(2)
            text = torch.cat((empty, prompt))
            image = torch.from_numpy(job.image).to(self.device).permute(2, 0, 1)[None] / 127.5 - 1
            start = self.vae.encode(image.to(self.vae.dtype)).latent_dist.sample() * self.vae.config.scaling_factor
            repaint = 1 - torch.from_numpy(keep_cells(job.keep_mask)).to(self.device, start.dtype)
            noise = torch.randn_like(start)
            self.scheduler.set_timesteps(50)
            timesteps = sorted(set(self.scheduler.timesteps.tolist()), reverse=True)[-38:]
            latents = self.scheduler.add_noise(start, noise, torch.tensor(timesteps[:1]))
            for timestep, following in zip(timesteps, [*timesteps[1:], 0], strict=True):
                prediction = self.unet(torch.cat((latents, latents)), timestep, encoder_hidden_states=text).sample
                without, with_prompt = prediction.chunk(2)
                prediction = without + 7.5 * (with_prompt - without)
                latents = self.scheduler.step(prediction, timestep, latents).prev_sample
                if following > 20:
                    noised = self.scheduler.add_noise(start, noise, torch.tensor([following]))
                    latents = noised * (1 - repaint) + latents * repaint
            decoded = self.vae.decode(latents.to(self.vae.dtype) / self.vae.config.scaling_factor).sample
            pixels = (decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float().cpu().numpy()
        return np.asarray((pixels[0] * 255).round(), np.uint8)


def seconds_per_image(work: Callable[[], object], images: int, device: torch.device, repeats: int) -> float:
    """The best of `repeats` runs, after one to warm up."""
    work()
    best = float("inf")
    for _ in range(repeats):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return best / images


def unet_flop(engine: DiffusionRepainter, width: int, height: int) -> int:
    """FLOP of one U-Net call on one row."""
    latents = torch.zeros(1, 4, height // 8, width // 8, device=engine.model.device)
    text = engine.model.encode_text("")
    timestep = torch.tensor(1, device=engine.model.device)
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), engine.model.noise_predictor() as predict, counter:
        predict(latents, timestep, text)
    return int(counter.get_total_flops())


def cpu_stages(repeats: int = 20) -> dict[str, float]:
    """Milliseconds an image of 640x480 on one thread, stage by stage, as the making of pairs runs them."""
    import cv2

    from ovforge.image_io.codec import decode_rgb, encode_jpeg
    from ovforge.image_io.hdf5 import ImageWriter
    from ovforge.synthesis.compose import compose, to_image_size, to_working_size
    from ovforge.synthesis.diffusion.latents import paste_kept
    from ovforge.synthesis.fidelity import fidelity
    from ovforge.synthesis.masks import rasterise, stack
    from ovforge.synthesis.motion import draw_motion
    from ovforge.synthesis.randomness import generator
    from ovforge.synthesis.repaint import WorkingSize

    cv2.setNumThreads(1)
    width, height = 640, 480
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    image = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    data = encode_jpeg(image, 95)
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    polygons = []
    for i in range(7):
        x, y = 80 + 75 * i + 60 * np.cos(angles), 240 + 70 * np.sin(angles)
        polygons.append([np.stack((x.clip(0, width), y), axis=1).ravel().tolist()])
    rles = [rasterise(polygon, width, height) for polygon in polygons]
    masks = stack(rles, width, height)
    motion = draw_motion(generator(0, 1, 0, "motion"), width, height)
    composed = compose(image, masks, motion)
    working, kept, content = to_working_size(composed.image, composed.masks.union(), WorkingSize())
    final = to_image_size(working, content, (width, height))
    jpeg = encode_jpeg(final, 95)
    times = {
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
        "exact foreground (optional)": lambda: paste_kept(working, working, kept, content),
    }
    measured = {name: 1000 * _best(work, repeats) for name, work in times.items()}
    with tempfile.TemporaryDirectory() as folder:

        def write() -> None:
            path = Path(folder) / f"{time.perf_counter_ns()}.h5"
            with ImageWriter(path) as writer:
                for i in range(64):
                    writer.add(f"{i}.jpg", data)
                    writer.add(f"{i}_v0.jpg", jpeg)

        measured["HDF5, both images"] = 1000 * _best(write, 3) / 64
    measured["all but the optional"] = sum(value for name, value in measured.items() if "optional" not in name)
    return measured


def main() -> int:
    """Run everything and print a table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=None, help="images a batch; 8 on a GPU, 4 on the CPU")
    parser.add_argument("--batches", type=int, default=1, help="batches per measurement")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--precision", default="auto", choices=[p.value for p in Precision])
    parser.add_argument("--compile", action="store_true", help="also measure the compiled U-Net")
    parser.add_argument("--size", default=None, help="WIDTHxHEIGHT; 768x512 on a GPU, 192x128 on the CPU")
    parser.add_argument("--skip-cpu-stages", action="store_true")
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    on_gpu = device.type == "cuda"
    width, height = map(int, (arguments.size or ("768x512" if on_gpu else "192x128")).split("x"))
    batch_size = arguments.batch_size or (8 if on_gpu else 4)
    name = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    model_name = "SD v1-4 architecture, random weights" if on_gpu else "tiny model"
    print(f"{name}; torch {torch.__version__}; {model_name}; {width}x{height}; batches of {batch_size}")

    results: dict[str, object] = {"device": name, "torch": torch.__version__, "model": model_name}
    print("building the model ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        model = build_model(Path(folder), real_size=on_gpu)
        jobs = make_jobs(batch_size * arguments.batches, width, height)
        base = _baseline_seconds(model, jobs[:2], device, arguments.repeats)
        options = DiffusionOptions(
            model=model, device=str(device), batch_size=batch_size, precision=Precision(arguments.precision)
        )
        print(f"{'':34}{'s/image':>10}{'images/s':>12}{'U-Net FLOP/s':>14}{'x baseline':>12}")
        variants: dict[str, dict[str, Any]] = {
            "pndm, 50 steps": {},
            "ovtrack, 50 steps (equal calls)": {"scheduler": Sampler.OVTRACK},
            "ovtrack, exact foreground": {"scheduler": Sampler.OVTRACK, "foreground": Foreground.EXACT},
            "dpm++, 20 steps (lossy)": {"scheduler": Sampler.DPMPP, "steps": 20},
            "dpm++, 20 steps, guided half": {"scheduler": Sampler.DPMPP, "steps": 20, "guidance_until": 0.5},
        }
        if arguments.compile:
            variants["ovtrack, compiled"] = {"scheduler": Sampler.OVTRACK, "compile": True}
            variants["dpm++, 20 steps, compiled"] = {"scheduler": Sampler.DPMPP, "steps": 20, "compile": True}
        flop = 0
        for label, changes in variants.items():
            engine = DiffusionEngine(dataclasses.replace(options, **changes)).open(None)
            assert isinstance(engine, DiffusionRepainter)
            if not flop:
                flop = unet_flop(engine, width, height)
                _print_row("baseline, 38 guided calls", base, 38 * 2 * flop, base, results)
            done = engine.repaint(jobs[:batch_size])
            assert not any(result.drops or result.record["attempt"] for result in done), "an image was tried again"
            work = functools.partial(_all, engine, jobs, batch_size)
            taken = seconds_per_image(work, len(jobs), device, arguments.repeats)
            calls = len(engine.schedule.calls)
            guided = round(calls * changes.get("guidance_until", 1.0))
            _print_row(f"{label}", taken, (calls + guided) * flop, base, results)
            engine.close()
        results["unet_flop_per_call"] = flop
        print(f"one U-Net call on one row: {flop / 1e12:.4g} TFLOP")
        if on_gpu:
            print(f"most GPU memory: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    if not arguments.skip_cpu_stages:
        print("\nCPU stages of an image of 640x480 with 7 objects, one thread, ms:")
        stages = cpu_stages()
        results["cpu_ms"] = stages
        for stage, milliseconds in stages.items():
            print(f"  {stage:<30}{milliseconds:8.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    return 0


def _baseline_seconds(model: Path, jobs: list[RepaintJob], device: torch.device, repeats: int) -> float:
    baseline = Baseline(model, device)
    return seconds_per_image(lambda: [baseline.repaint(job) for job in jobs], len(jobs), device, repeats)


def _all(engine: DiffusionRepainter, jobs: list[RepaintJob], batch_size: int) -> None:
    for start in range(0, len(jobs), batch_size):
        engine.repaint(jobs[start : start + batch_size])


def _print_row(label: str, seconds: float, flop: int, base: float, results: dict[str, object]) -> None:
    results[label] = {
        "seconds_per_image": seconds,
        "unet_flop_per_s": flop / seconds,
        "times_baseline": base / seconds,
    }
    print(f"{label:34}{seconds:>10.4f}{1 / seconds:>12.2f}{flop / seconds:>14.3g}{base / seconds:>12.2f}", flush=True)


def _best(work: Callable[[], object], repeats: int) -> float:
    work()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder / "tokenizer")


def _tiny_builder() -> Any:
    path = Path(__file__).resolve().parents[1] / "tests" / "tiny_stable_diffusion.py"
    spec = importlib.util.spec_from_file_location("tiny_stable_diffusion", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
