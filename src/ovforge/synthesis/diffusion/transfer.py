"""Between the processor's memory and a GPU's, without waiting: one copy there for a batch, one copy back.

A copy from or to ordinary memory makes the processor wait until the GPU has done all that it was given before; from and
to pinned memory it does not, so the next batch is handed over while the GPU still works on this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_ALIGNED = 64
"""Bytes; every array of a copy starts at a multiple."""

_DTYPES: dict[str, torch.dtype] = {
    "uint8": torch.uint8,
    "bool": torch.bool,
    "int64": torch.int64,
    "float32": torch.float32,
}


def to_device(rows: Mapping[str, Sequence[NDArray[Any]]], device: torch.device) -> dict[str, torch.Tensor]:
    """Stack the rows of each name and bring everything to a device in one copy, without waiting for it.

    Args:
        rows: equal shapes and types within a name; uint8, bool, int64 or float32.
    """
    places: dict[str, tuple[int, int]] = {}
    end = 0
    for name, arrays in rows.items():
        start = -(-end // _ALIGNED) * _ALIGNED
        end = start + sum(array.nbytes for array in arrays)
        places[name] = start, end
    packed = torch.empty(end, dtype=torch.uint8, pin_memory=device.type == "cuda")
    memory = packed.numpy()
    for name, arrays in rows.items():
        start, stop = places[name]
        np.stack(arrays, out=memory[start:stop].view(arrays[0].dtype).reshape(len(arrays), *arrays[0].shape))
    moved = packed.to(device, non_blocking=True)
    return {
        name: moved[slice(*places[name])].view(_DTYPES[arrays[0].dtype.name]).view(len(arrays), *arrays[0].shape)
        for name, arrays in rows.items()
    }


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the processor's on a device, without waiting for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class OnTheWay:
    """Tensors on their way from a device to the processor's memory."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        """Start the copies; they are made when the device has computed the tensors."""
        self._event: torch.cuda.Event | None = None
        if tensors[0].device.type != "cuda":
            self._copies = [tensor.cpu() for tensor in tensors]
            return
        self._copies = [
            torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
            for tensor in tensors
        ]
        self._event = torch.cuda.Event(blocking=True)  # waiting costs no processor time
        self._event.record(torch.cuda.current_stream(tensors[0].device))

    def arrived(self) -> list[NDArray[Any]]:
        """Wait for them: arrays, which share the memory of the copies."""
        if self._event is not None:
            self._event.synchronize()
            self._event = None
        return [copy.numpy() for copy in self._copies]
