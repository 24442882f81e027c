"""The libraries that a vision model needs, and its number format."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from ovforge.errors import MissingExtraError
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


def torch_dtype(dtype: Dtype) -> torch.dtype:
    """The number format as torch has it."""
    import torch

    return {Dtype.FLOAT32: torch.float32, Dtype.FLOAT16: torch.float16, Dtype.BFLOAT16: torch.bfloat16}[dtype]
