"""What a safetensors file's header tells, without reading its tensors."""

from __future__ import annotations

import json
from pathlib import Path


def safetensors_problem(path: Path) -> str:
    """What is wrong with a safetensors file as far as its header tells, or an empty string.

    The layout is an 8-byte length, a JSON header of that length, then the tensors.
    """
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            head = file.read(8)
            if head == b"version ":  # cloned without its large files
                return "is a Git LFS pointer, not the weights"
            length = int.from_bytes(head, "little")
            if size < 8 or length > size - 8:
                return f"is cut short ({size:,} bytes)" if size else "is empty"
            header = json.loads(file.read(length))
        end = max((entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return "is not a safetensors file"
    if 8 + length + end != size:
        return f"is cut short ({size:,} bytes of {8 + length + end:,})"
    return ""


def safetensors_shapes(path: Path) -> dict[str, list[int]]:
    """Name -> shape of the tensors of a whole safetensors file (`safetensors_problem` says whether it is)."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
