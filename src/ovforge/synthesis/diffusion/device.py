"""Where the networks run, with how many threads, and in which number format."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ovforge.errors import InputError
from ovforge.options.diffusion import Precision
from ovforge.parallel import cpu_count

DTYPES = {Precision.FP32: torch.float32, Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}


def resolve_device(device: str) -> torch.device:
    """`auto` becomes the first GPU if there is one, the CPU otherwise.

    Raises:
        InputError: no such device on this machine.
    """
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        found = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device={device}: no device of this name", hint="cpu, cuda, cuda:1, or auto") from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"--device={device}: this machine has {torch.cuda.device_count()} usable GPUs",
            hint="--device=cpu runs without one; check the driver and that torch is built for CUDA",
        )
    if found.type not in _SUPPORTED:
        raise InputError(f"--device={device}: not a device this engine runs on", hint=f"here it is {_devices()}")
    if not _SUPPORTED[found.type]():
        raise InputError(
            f"--device={device}: torch {torch.__version__} has no such device on this machine",
            hint=f"here it is {_devices()}",
        )
    return found


_SUPPORTED: dict[str, Callable[[], bool]] = {
    "cpu": lambda: True,
    "cuda": torch.cuda.is_available,
    "mps": torch.backends.mps.is_available,
    "xpu": lambda: hasattr(torch, "xpu") and torch.xpu.is_available(),
}


def _devices() -> str:
    """The devices of this machine, as `--device` names them."""
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ", ".join(["cpu", *gpus, *(name for name in ("mps", "xpu") if _SUPPORTED[name]())]) + ", or auto"


def resolve_threads(threads: int | None, device: torch.device) -> int | None:
    """How many threads the networks use: None where they run on a GPU, one per core of this process if not given."""
    if device.type != "cpu":
        return None
    if threads is not None:
        return threads
    return cpu_count()


def resolve_precision(precision: Precision, device: torch.device, half: str = "fp16") -> Precision:
    """`auto` becomes `half`, the model family's, on a GPU, and fp32 on the CPU, where half precision is slower."""
    if precision is Precision.AUTO:
        return Precision.FP32 if device.type == "cpu" else Precision(half)
    return precision
