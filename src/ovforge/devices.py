"""The device that a model runs on, by its name on the command line, for every room that runs one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovforge.errors import InputError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> torch.device:
    """The device called `name`: `cpu`, `cuda`, `cuda:1`, `mps`, `xpu`; `auto` is a GPU if there is one, else the CPU.

    Raises:
        InputError: no such device on this machine.
    """
    import torch

    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise InputError(f"--device={name}: no device of this name", hint=f"here it is {_devices()}") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"--device={name}: this machine has {torch.cuda.device_count()} usable GPUs",
            hint="--device=cpu runs without one; check the driver and that torch is built for CUDA",
        )
    if device.type not in ("cpu", "cuda", "mps", "xpu"):
        raise InputError(f"--device={name}: not a device that models run on", hint=f"here it is {_devices()}")
    if not _is_here(device.type):
        raise InputError(
            f"--device={name}: torch {torch.__version__} has no such device on this machine",
            hint=f"here it is {_devices()}",
        )
    return device


def _is_here(kind: str) -> bool:
    import torch

    match kind:
        case "mps":
            return bool(torch.backends.mps.is_available())
        case "xpu":
            return hasattr(torch, "xpu") and bool(torch.xpu.is_available())
        case _:
            return True


def _devices() -> str:
    """The devices of this machine, as `--device` names them."""
    import torch

    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ", ".join(["cpu", *gpus, *(kind for kind in ("mps", "xpu") if _is_here(kind))]) + ", or auto"
