"""What the machine offers: versions, extras, GPUs, room on the disk."""

from __future__ import annotations

import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import msgspec

from ovforge import __version__
from ovforge.errors import pip_line
from ovforge.runs.executors.local import available_cores, visible_gpus

EXTRAS = {
    "sample": ("scikit-image",),
    "diffusion": ("torch", "diffusers", "transformers", "accelerate", "safetensors"),
    "vision": ("torch", "transformers", "safetensors", "pillow"),
    "ray": ("ray",),
    "viewer": ("starlette", "uvicorn", "jinja2"),
    "torch": ("torch",),
}
_MODULES = {"scikit-image": "skimage", "pillow": "PIL"}


class ExtraState(msgspec.Struct, frozen=True):
    """An optional extra and its libraries."""

    name: str
    present: bool
    versions: dict[str, str]
    missing: tuple[str, ...]
    install: str


class Environment(msgspec.Struct, frozen=True):
    """The machine, as found."""

    ovforge: str
    python: str
    system: str
    cores: int
    gpus: tuple[str, ...]
    disk_free: int
    """Bytes free where the data lies."""
    extras: tuple[ExtraState, ...]


def read_environment(root: Path) -> Environment:
    """Look at the machine and at the disk that `root` is on."""
    return Environment(
        ovforge=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cores=available_cores(),
        gpus=visible_gpus(),
        disk_free=shutil.disk_usage(root).free,
        extras=tuple(_extra(name, libraries) for name, libraries in EXTRAS.items()),
    )


def _extra(name: str, libraries: tuple[str, ...]) -> ExtraState:
    versions: dict[str, str] = {}
    for library in libraries:
        if find_spec(_MODULES.get(library, library)) is None:
            continue
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = "of unknown version"
    missing = tuple(library for library in libraries if library not in versions)
    return ExtraState(name, not missing, versions, missing, pip_line(name))
