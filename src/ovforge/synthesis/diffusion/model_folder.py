"""What is in a model folder, found out without loading it: which files are there, missing or cut short.

The layout is that of diffusers: `model_index.json` and one folder per component, each with a `config.json` and
weights. Only the components that its family needs are looked at; a safety checker is neither needed nor loaded.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovforge.errors import InputError, MissingInputError, StorageError
from ovforge.files.safetensors_file import safetensors_problem
from ovforge.synthesis.diffusion.families import FAMILIES, Family, Part, find_family

VARIANTS = ("", "fp16", "bf16")
"""Variants of weight files in the order of preference: `diffusion_pytorch_model.fp16.safetensors`."""

_CONVERT_HINT = "convert it first: diffusers' StableDiffusionPipeline.from_single_file(...).save_pretrained(DIR)"
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".pb")
_LAYOUT_HINT = "give a folder in diffusers' layout, e.g. a copy of the Stable Diffusion v1-4 repository"
_OTHER_MODEL_HINT = f"ovforge repaints with {', '.join(family.title for family in FAMILIES)}"


@dataclass(frozen=True)
class ComponentWeights:
    """The weight files of one component that would be loaded."""

    files: tuple[Path, ...]
    variant: str = ""
    pickle: bool = False


@dataclass(frozen=True)
class ModelReport:
    """What a model folder holds.

    Attributes:
        folder: the folder looked at.
        problems: everything that stands in the way of loading it, one line each; empty if it is whole.
        missing: files that are missing, relative to the folder.
        weights: component -> the files that would be loaded.
        configs: component -> its configuration; also of `model_index` and `scheduler`.
        family: the family of models that it is of; None if it is of none that is run.
        inpainting: the network also takes the mask and the masked image's latents.
        pickles: components whose weights are only there as pickle files.
        hint: the next step.
    """

    folder: Path
    problems: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    weights: dict[str, ComponentWeights] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    family: Family | None = None
    inpainting: bool = False
    pickles: tuple[str, ...] = ()
    hint: str = ""

    @property
    def usable(self) -> bool:
        """Whether the model can be loaded; pickles need `--allow-pickle`."""
        return not self.problems

    @property
    def title(self) -> str:
        """What the folder holds, as a person calls it; empty for what is not known."""
        return self.family.title_of(self.configs) if self.family is not None else ""


def inspect_model_folder(folder: Path) -> ModelReport:
    """Look at a model folder without loading it; needs no torch."""
    if not folder.exists():
        return ModelReport(folder, ("the folder is not there",), hint=_LAYOUT_HINT)
    if not folder.is_dir():
        return ModelReport(
            folder,
            ("this is a single file, not a folder in diffusers' layout",),
            hint=_CONVERT_HINT,
        )
    try:
        index, transformer = (_read_if_there(folder / file) for file in ("model_index.json", "transformer/config.json"))
        family = find_family(folder, index, transformer)
        if family is None:
            return ModelReport(folder, (_other_kind_of_model(index, transformer),), hint=_OTHER_MODEL_HINT)
        if refused := family.refuses(index):
            return ModelReport(folder, (refused,), hint=_OTHER_MODEL_HINT)
        return _Inspection(folder, family, index).report()
    except InputError as error:
        return ModelReport(folder, (error.message.removeprefix(f"{folder}/"),), hint=error.hint)
    except OSError as error:
        problem = f"{error.filename or folder} cannot be read ({error.strerror or error})"
        return ModelReport(folder, (problem,), hint="check the permissions, and that the disk can be reached")


def check_model_folder(folder: Path, *, allow_pickle: bool = False) -> ModelReport:
    """Refuse a folder that cannot be loaded.

    Raises:
        MissingInputError: the folder is not there.
        InputError: names the folder and everything that is wrong with it.
    """
    report = inspect_model_folder(folder)
    if not folder.exists():
        raise MissingInputError(folder, what="model folder", hint=report.hint)
    if report.problems:
        raise InputError(f"{folder}: {'; '.join(report.problems)}", hint=report.hint)
    if report.pickles and not allow_pickle:
        files = ", ".join(
            str(file.relative_to(folder)) for name in report.pickles for file in report.weights[name].files
        )
        raise InputError(
            f"{folder}: only pickled weights for {', '.join(report.pickles)} ({files})",
            hint="get the .safetensors files, or give --allow-pickle if you trust where these came from",
        )
    return report


def weight_hashes(report: ModelReport) -> dict[str, str]:
    """SHA-256 of every weight file that would be loaded, keyed by its path inside the folder."""
    hashes = {}
    for weights in report.weights.values():
        for file in weights.files:
            hashes[file.relative_to(report.folder).as_posix()] = file_hash(file)
    return dict(sorted(hashes.items()))


def file_hash(path: Path) -> str:
    """The SHA-256 of a file of weights.

    Raises:
        MissingInputError: it is not there.
        StorageError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
    except FileNotFoundError:
        raise MissingInputError(path, what="file of weights") from None
    except OSError as error:
        raise StorageError(path, error) from error
    return digest.hexdigest()


def read_config(path: Path) -> dict[str, Any]:
    """Read a component's configuration.

    Raises:
        InputError: it is not there, or no JSON object.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})", hint=_LAYOUT_HINT) from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: holds no JSON object", hint=_LAYOUT_HINT)
    return config


def _read_if_there(path: Path) -> dict[str, Any]:
    return read_config(path) if path.is_file() else {}


def _other_kind_of_model(index: dict[str, Any], transformer: dict[str, Any]) -> str:
    """What a folder is that is of no family here."""
    name = str(index.get("_class_name") or transformer.get("_class_name") or "model without a name")
    return f"this is a {name}, which this engine does not run"


class _Inspection:
    """Looks at one folder and collects what it finds."""

    def __init__(self, folder: Path, family: Family, index: dict[str, Any]) -> None:
        self.folder = folder
        self.family = family
        parts = family.parts_of(index)
        self.networks = {name: part for name, part in parts.items() if not part.tokens}
        self.tokenizers = {name: part for name, part in parts.items() if part.tokens}
        self.problems: list[str] = []
        self.missing: list[str] = []
        self.weights: dict[str, ComponentWeights] = {}
        self.configs: dict[str, dict[str, Any]] = {"model_index": index}

    def report(self) -> ModelReport:
        hint = ""
        if not any((self.folder / name).is_dir() for name in (*self.family.parts, "scheduler")):
            self.problems.append("no model in diffusers' layout in this folder (no unet/, vae/, text_encoder/)")
            hint = self._hint_of_place()
        else:
            for name, part in self.networks.items():
                self._component(name, part)
            self._config("scheduler", "scheduler_config.json")
            for name, part in self.tokenizers.items():
                self._tokenizer(name, part)
            self.problems += self.family.problems(self.configs)
            if self.missing:
                self.problems.insert(0, "missing " + ", ".join(self.missing))
                hint = "copy the missing files from where the model came from"
            elif self.problems:
                hint = "copy the folder again from where the model came from"
        return ModelReport(
            folder=self.folder,
            problems=tuple(self.problems),
            missing=tuple(self.missing),
            weights=self.weights,
            configs=self.configs,
            family=self.family,
            inpainting=self.family.inpaints(self.configs),
            pickles=tuple(name for name, weights in self.weights.items() if weights.pickle),
            hint=hint,
        )

    def _component(self, name: str, part: Part) -> None:
        self._config(name, "config.json")
        found = self._find_weights(name, part)
        if found is None:
            wanted = f"{name}/{part.stem}.safetensors"
            others = self._other_weights(name)
            if others:
                self.problems.append(f"{name}/ has its weights as {', '.join(others)}, which are not read: {wanted} is")
            else:
                self.missing.append(wanted)
            return
        self.weights[name] = found
        for file in found.files:
            problem = "" if found.pickle else safetensors_problem(file)
            if problem:
                self.problems.append(f"{file.relative_to(self.folder).as_posix()} {problem}")

    def _config(self, component: str, file_name: str) -> None:
        path = self.folder / component / file_name
        if not path.is_file():
            self.missing.append(f"{component}/{file_name}")
            return
        try:
            self.configs[component] = read_config(path)
        except InputError as error:
            self.problems.append(error.message.removeprefix(f"{self.folder}/"))

    def _tokenizer(self, component: str, part: Part) -> None:
        # A fast tokenizer's single file does as well as the two of the slow one.
        folder = self.folder / component
        there = [group for group in part.tokens if (folder / group[0]).is_file()]
        for name in there[0] if there else part.tokens[-1]:
            if not (folder / name).is_file():
                self.missing.append(f"{component}/{name}")
            elif not (folder / name).stat().st_size:
                self.problems.append(f"{component}/{name} is empty")
            elif name.endswith(".json"):
                try:
                    read_config(folder / name)
                except InputError as error:
                    self.problems.append(error.message.removeprefix(f"{self.folder}/"))

    def _other_weights(self, name: str) -> list[str]:
        """Weights of a component in a form that is not read: of older releases, of other libraries, without EMA."""
        folder = self.folder / name
        if not folder.is_dir():
            return []
        return sorted(path.name for path in folder.iterdir() if path.suffix in _WEIGHT_SUFFIXES)

    def _hint_of_place(self) -> str:
        """Where the model probably is: in a folder of this one, or in the snapshot of a hub's cache."""
        patterns = ("*/model_index.json", "snapshots/*/model_index.json", "*/snapshots/*/model_index.json")
        inner = [path.parent for pattern in patterns for path in sorted(self.folder.glob(pattern))]
        if inner:
            return f"did you mean {inner[-1] if len(inner) == 1 else ' or '.join(map(str, inner[:3]))}?"
        single = sorted(path.name for path in self.folder.iterdir() if path.suffix in _WEIGHT_SUFFIXES)
        if single:
            return f"{single[0]} is a single file: {_CONVERT_HINT}"
        return _LAYOUT_HINT

    def _find_weights(self, name: str, part: Part) -> ComponentWeights | None:
        folder = self.folder / name
        for stem, suffix, pickle in ((part.stem, "safetensors", False), (part.pickle_stem, "bin", True)):
            for variant in VARIANTS:
                middle = f".{variant}" if variant else ""
                whole = folder / f"{stem}{middle}.{suffix}"
                if whole.is_file():
                    return ComponentWeights((whole,), variant, pickle)
                index = folder / f"{stem}.{suffix}.index{middle}.json"
                if index.is_file():
                    return ComponentWeights(self._parts(index), variant, pickle)
        return None

    def _parts(self, index: Path) -> tuple[Path, ...]:
        """The files of weights that are cut into several, from their index."""
        try:
            listed = read_config(index).get("weight_map")
        except InputError as error:
            self.problems.append(error.message.removeprefix(f"{self.folder}/"))
            return ()
        values = list(listed.values()) if isinstance(listed, dict) else []
        if not values or not all(isinstance(name, str) and Path(name).name == name for name in values):
            self.problems.append(f"{index.relative_to(self.folder).as_posix()} lists no files of weights")
            return ()
        names = sorted(set(values))
        parts = tuple(index.parent / name for name in names)
        self.missing += [part.relative_to(self.folder).as_posix() for part in parts if not part.is_file()]
        return tuple(part for part in parts if part.is_file())
