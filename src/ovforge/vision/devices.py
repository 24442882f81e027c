"""Which device a model runs on, and in which number format."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from ovforge.errors import InputError, MissingExtraError
from ovforge.options.vision import Dtype

if TYPE_CHECKING:
    import torch

LIBRARIES = ("torch", "transformers", "safetensors", "PIL")


def check_libraries() -> None:
    """Refuse work that needs a library which is not installed.

    Raises:
        MissingExtraError: one of `LIBRARIES` is missing.
    """
    missing = [library for library in LIBRARIES if find_spec(library) is None]
    if missing:
        raise MissingExtraError("vision", needed_for=f"a vision model ({', '.join(missing)} missing)")


def find_device(name: str) -> torch.device:
    """The device called `name`: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.

    Raises:
        InputError: no such device on this machine.
    """
    import torch

    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise InputError(f"--device={name}: no device of this name", hint="cpu, cuda, cuda:1, mps, or auto") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"--device={name}: this machine has {torch.cuda.device_count()} usable GPUs", hint="give --device=cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"--device={name}: this machine has no such device", hint="give --device=cpu")
    if device.type not in ("cpu", "cuda", "mps", "xpu"):
        raise InputError(f"--device={name}: not a device that models run on", hint="cpu, cuda, cuda:1, mps, or auto")
    return device


def torch_dtype(dtype: Dtype) -> torch.dtype:
    """The number format as torch has it."""
    import torch

    return {Dtype.FLOAT32: torch.float32, Dtype.FLOAT16: torch.float16, Dtype.BFLOAT16: torch.bfloat16}[dtype]
