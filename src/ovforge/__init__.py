"""ovforge prepares data for open-vocabulary detection and tracking.

The commands are functions, too: `ovforge.lvis.remove_rare(annotations="lvis_v1_train.json")`,
`ovforge.pairs.generate(name="shop", ...)`. Nothing is loaded before it is used.
"""

# No `from __future__ import annotations` here: it would hide the room of that name.
import importlib
from typing import Any

__version__ = "0.1.0"

_ROOMS = (
    "annotations", "data", "exemplars", "exports", "imagenet", "importing", "lvis", "pairs", "sample_data", "vision",
    "workflow",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"ovforge.{name}")
    raise AttributeError(f"module 'ovforge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
