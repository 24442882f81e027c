"""With how many threads the networks run, and in which number format."""

from __future__ import annotations

import torch

from ovforge.options.diffusion import Precision
from ovforge.parallel import cpu_count

DTYPES = {Precision.FP32: torch.float32, Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}


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
