"""What is in a model folder, found out without loading it: which files are there, missing or cut short.

The layout is that of diffusers: `model_index.json` and one folder per component, each with a `config.json` and
weights. Only the five components that repainting needs are looked at; a safety checker is neither needed nor loaded.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovforge.errors import InputError, MissingInputError, StorageError
from ovforge.files.safetensors_file import safetensors_problem

_DIFFUSERS_WEIGHTS = "diffusion_pytorch_model"
WEIGHTS = {"unet": _DIFFUSERS_WEIGHTS, "vae": _DIFFUSERS_WEIGHTS, "text_encoder": "model"}
"""Component -> the stem of its weight files."""
_PICKLE_STEMS = {"unet": _DIFFUSERS_WEIGHTS, "vae": _DIFFUSERS_WEIGHTS, "text_encoder": "pytorch_model"}
VARIANTS = ("", "fp16", "bf16")
"""Variants of weight files in the order of preference: `diffusion_pytorch_model.fp16.safetensors`."""

_FOUR_FROM_NOISE = (4, 9)
_CONVERT_HINT = "convert it first: diffusers' StableDiffusionPipeline.from_single_file(...).save_pretrained(DIR)"
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".pb")
_OTHER_SAMPLING = ("LCM", "TCD", "FlowMatch", "ConsistencyDecoder", "CM")
"""Samplers of distilled and flow models, which need them."""
_LAYOUT_HINT = "give a folder in diffusers' layout, e.g. a copy of the Stable Diffusion v1-4 repository"
_OTHER_MODEL_HINT = "ovforge repaints with Stable Diffusion 1.x and 2.x, and their inpainting models"


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
        inpainting: the U-Net takes nine channels: latents, mask, and the masked image's latents.
        pickles: components whose weights are only there as pickle files.
        hint: the next step.
    """

    folder: Path
    problems: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    weights: dict[str, ComponentWeights] = field(default_factory=dict)
    inpainting: bool = False
    pickles: tuple[str, ...] = ()
    hint: str = ""

    @property
    def usable(self) -> bool:
        """Whether the model can be loaded; pickles need `--allow-pickle`."""
        return not self.problems


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
        other = _other_kind_of_model(folder)
        if other:
            return ModelReport(folder, (other,), hint=_OTHER_MODEL_HINT)
        return _Inspection(folder).report()
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
            digest = hashlib.sha256()
            try:
                with open(file, "rb") as stream:
                    while chunk := stream.read(1 << 22):
                        digest.update(chunk)
            except OSError as error:
                raise StorageError(file, error) from error
            hashes[file.relative_to(report.folder).as_posix()] = digest.hexdigest()
    return dict(sorted(hashes.items()))


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


def _other_kind_of_model(folder: Path) -> str:
    """Say what this folder is if it is another model than Stable Diffusion 1.x or 2.x."""
    name = ""
    index = folder / "model_index.json"
    if index.is_file():
        try:
            name = str(read_config(index).get("_class_name") or "")
        except InputError as error:
            return error.message
    if "XL" in name or (folder / "text_encoder_2").is_dir():
        return "this is a Stable Diffusion XL model, which this engine does not run"
    if (folder / "transformer").is_dir():
        return f"this is a transformer model ({name or 'no U-Net'}), which this engine does not run"
    if name and not name.startswith("StableDiffusion"):
        return f"this is a {name}, which this engine does not run"
    return ""


class _Inspection:
    """Looks at one folder and collects what it finds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self.missing: list[str] = []
        self.weights: dict[str, ComponentWeights] = {}
        self.configs: dict[str, dict[str, Any]] = {}

    def report(self) -> ModelReport:
        hint = ""
        if not any((self.folder / name).is_dir() for name in (*WEIGHTS, "tokenizer", "scheduler")):
            self.problems.append("no model in diffusers' layout in this folder (no unet/, vae/, text_encoder/)")
            hint = self._hint_of_place()
        else:
            for name in WEIGHTS:
                self._component(name)
            self._config("scheduler", "scheduler_config.json")
            self._scheduler()
            self._tokenizer()
            self._compatibility()
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
            inpainting=self.configs.get("unet", {}).get("in_channels") == 9,
            pickles=tuple(name for name, weights in self.weights.items() if weights.pickle),
            hint=hint,
        )

    def _component(self, name: str) -> None:
        self._config(name, "config.json")
        found = self._find_weights(name)
        if found is None:
            wanted = f"{name}/{WEIGHTS[name]}.safetensors"
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

    def _tokenizer(self) -> None:
        # A fast tokenizer's single file does as well as the two of the slow one.
        folder = self.folder / "tokenizer"
        needed = ("tokenizer.json",) if (folder / "tokenizer.json").is_file() else ("vocab.json", "merges.txt")
        for name in needed:
            if not (folder / name).is_file():
                self.missing.append(f"tokenizer/{name}")
            elif not (folder / name).stat().st_size:
                self.problems.append(f"tokenizer/{name} is empty")
            elif name.endswith(".json"):
                try:
                    read_config(folder / name)
                except InputError as error:
                    self.problems.append(error.message.removeprefix(f"{self.folder}/"))

    def _scheduler(self) -> None:
        config = self.configs.get("scheduler", {})
        kind = str(config.get("_class_name") or "")
        if kind.startswith(_OTHER_SAMPLING):
            self.problems.append(
                f"scheduler/scheduler_config.json: a model made for {kind}, which --scheduler does not offer: "
                "with another sampler its images are worthless"
            )

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

    def _find_weights(self, name: str) -> ComponentWeights | None:
        folder = self.folder / name
        for stem, suffix, pickle in ((WEIGHTS[name], "safetensors", False), (_PICKLE_STEMS[name], "bin", True)):
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

    def _compatibility(self) -> None:
        unet, text = self.configs.get("unet", {}), self.configs.get("text_encoder", {})
        channels = unet.get("in_channels", 4)
        if channels not in _FOUR_FROM_NOISE:
            self.problems.append(f"unet/config.json: in_channels is {channels}, not 4 or, for inpainting, 9")
        if unet.get("addition_embed_type") or unet.get("class_embed_type"):
            self.problems.append("unet/config.json: a U-Net with further conditions, which this engine does not give")
        expected, given = unet.get("cross_attention_dim"), text.get("hidden_size")
        if isinstance(expected, int) and isinstance(given, int) and expected != given:
            self.problems.append(
                f"unet/ and text_encoder/ do not belong together: cross_attention_dim {expected}, hidden_size {given}"
            )
