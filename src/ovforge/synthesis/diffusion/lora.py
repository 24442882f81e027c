"""LoRA files: small changes of a model's layers, added to its weights when it is loaded.

A LoRA file (Hu et al. 2022) holds two thin matrices per layer; `weight * alpha / rank * up @ down` is added to the
layer's own weights. Trainers have many names for layers: diffusers' own conversion (`lora_state_dict`) brings them
to those of its modules. Adding is done here, not by the library peft, so that no layer is passed over in silence.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ovforge.errors import InputError, MissingInputError
from ovforge.files.safetensors_file import safetensors_problem
from ovforge.options.diffusion import LoraFile

_LAYER = re.compile(
    r"^(?P<module>.+?)(?:\.(?P<old>to_(?:q|k|v|out))_lora)?"
    r"\.(?P<mark>lora\.|lora_linear_layer\.|lora_)?(?P<side>down|up|A|B)\.weight$"
)
_OTHER_KINDS = {"dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", "lokr_": "LoKr", "hada_": "LoHa"}
_TEXT_NAMES = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


@dataclass(frozen=True)
class Layer:
    """What a LoRA file adds to one layer: `scale * up @ down`."""

    up: torch.Tensor
    down: torch.Tensor
    scale: float


class LoraReader:
    """Reads LoRA files for one model."""

    def __init__(
        self, components: Collection[str], convert: Callable[..., Any], *, main: str, config: Any, title: str
    ) -> None:
        """How the files are read.

        Args:
            components: the names of the networks in the pipeline.
            convert: the `lora_state_dict` of the pipeline's class.
            main: the component that a layer without a component's name is of: `unet` or `transformer`.
            config: its configuration.
            title: the family's title, for errors.
        """
        self._components = components
        self._convert = convert
        self._main = main
        self._config = config
        self._title = title

    def read(self, lora: LoraFile, shape_of: Callable[[str, str], tuple[int, ...] | None]) -> dict[str, Layer]:
        """The layers of a file by the names of the model's layers, `component.path`.

        `shape_of(component, path)` is the shape of a layer's weights in the model, None if it has no such layer.

        Raises:
            MissingInputError: the file is not there.
            InputError: names the file, the key and why it does not fit.
        """
        refused = f"{lora.file}: not a LoRA file of this {self._title}"
        tensors, alphas = _read(lora, refused, self._convert, self._config)
        sides: dict[str, dict[str, torch.Tensor]] = {}
        for key, tensor in tensors.items():
            match = _match(key)
            if match is None:
                raise InputError(f"{refused}: {key}: no layer's down or up matrix", hint=_HINT)
            side = "down" if match["side"] in ("down", "A") else "up"
            sides.setdefault(self._name(key), {})[side] = tensor
        own = {self._name(key.removesuffix(".alpha")): alpha for key, alpha in alphas.items()}
        layers = {}
        for name, pair in sorted(sides.items()):
            component, _, path = name.partition(".")
            shape = shape_of(component, path)
            if shape is None:
                raise InputError(f"{refused}: {name}: {component}/ has no such layer", hint=_HINT)
            if set(pair) != {"down", "up"}:
                raise InputError(f"{refused}: {name}: only its {next(iter(pair))} matrix is there", hint=_HINT)
            up, down = pair["up"].float().flatten(1), pair["down"].float().flatten(1)
            rank = down.shape[0]
            if (up.shape[0], up.shape[1], down.shape[1]) != (shape[0], rank, math.prod(shape[1:])):
                shapes = f"{tuple(pair['up'].shape)} by {tuple(pair['down'].shape)}"
                raise InputError(f"{refused}: {name}: {shapes} does not fit a layer of {tuple(shape)}", hint=_HINT)
            layers[name] = Layer(up, down, lora.weight * own.get(name, rank) / rank)
        return layers

    def _name(self, key: str) -> str:
        """component.path of a key, with or without the ending of a matrix."""
        match = _match(key)
        name = match["module"] if match is not None else key.replace(".processor.", ".")
        component = name.partition(".")[0]
        if component not in self._components:
            component, name = self._main, f"{self._main}.{name}"
        old = match["old"] if match is not None else None
        if old:
            ending = _TEXT_NAMES[old] if component.startswith("text_encoder") else old.replace("to_out", "to_out.0")
            name = f"{name}.{ending}"
        return name


def add_loras(components: Mapping[str, torch.nn.Module], loras: Sequence[LoraFile], reader: LoraReader) -> None:
    """Add LoRA files to the weights of a model's components, in place and in their order.

    Raises:
        MissingInputError: a file is not there.
        InputError: names the file, the key and why it does not fit.
    """

    def weights_of(component: str, path: str) -> torch.Tensor | None:
        for name in _names(path):
            try:
                found = getattr(components[component].get_submodule(name), "weight", None)
            except AttributeError:
                continue
            return found if isinstance(found, torch.Tensor) else None
        return None

    def shape_of(component: str, path: str) -> tuple[int, ...] | None:
        weights = weights_of(component, path)
        return None if weights is None else tuple(weights.shape)

    for lora in loras:
        for name, layer in reader.read(lora, shape_of).items():
            weights = weights_of(*name.split(".", 1))
            if weights is None:  # the reader found its shape, so this is a fault of ours
                raise RuntimeError(f"{name}: the weights went between two looks")
            changed = weights.data.float() + layer.scale * (layer.up @ layer.down).reshape(weights.shape)
            weights.data = changed.to(weights.dtype)


def check_loras(
    shapes: Mapping[str, Mapping[str, Sequence[int]]], loras: Sequence[LoraFile], reader: LoraReader
) -> None:
    """Refuse LoRA files that do not fit a model, by the shapes of its tensors: component -> name -> shape.

    Raises:
        MissingInputError: a file is not there.
        InputError: names the file, the key and why it does not fit.
    """

    def shape_of(component: str, path: str) -> tuple[int, ...] | None:
        own = shapes.get(component, {})
        found = next((own[f"{name}.weight"] for name in _names(path) if f"{name}.weight" in own), None)
        return None if found is None else tuple(found)

    for lora in loras:
        reader.read(lora, shape_of)


def _names(path: str) -> tuple[str, ...]:
    """A layer's path; CLIP's text encoders have `text_model.` before it in some releases of transformers."""
    bare = path.removeprefix("text_model.")
    return (path, bare, f"text_model.{bare}")


def _read(
    lora: LoraFile, refused: str, convert: Callable[..., Any], config: Any
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """The tensors under diffusers' names, and the alphas where they are not the rank."""
    from safetensors import safe_open

    if not lora.file.is_file():
        raise MissingInputError(lora.file, what="LoRA file", hint="--lora=FILE or --lora=FILE:WEIGHT, a local file")
    if problem := safetensors_problem(lora.file):
        raise InputError(f"{lora.file} {problem}", hint="a LoRA is read from a .safetensors file")
    with safe_open(lora.file, framework="pt") as stream:
        raw = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118  # no mapping
        metadata = (stream.metadata() or {}).get("lora_adapter_metadata")
    for mark, kind in _OTHER_KINDS.items():
        key = next((key for key in raw if mark in key), None)
        if key is not None:
            raise InputError(f"{refused}: {key}: this is a {kind} file, which is not run", hint=_HINT)
    alphas: dict[str, float] = {}
    try:
        converted = convert(dict(raw), unet_config=config, return_alphas=True)
    except Exception as error:  # conversions of many trainers' formats, each with its own kinds of errors
        raise InputError(f"{refused}: {str(error).splitlines()[0] if str(error) else error!r}", hint=_HINT) from error
    if isinstance(converted, tuple):
        converted, found = converted[0], converted[1]
        alphas = {key: float(alpha) for key, alpha in (found or {}).items()}
    if not converted:
        raise InputError(f"{refused}: it has no layers", hint=_HINT)
    left = [key for key in converted if key.endswith(".alpha")]
    alphas |= {key: float(converted.pop(key)) for key in left}
    return converted, alphas | _metadata_alphas(metadata, converted)


_HINT = "give the LoRA file that was trained for this model; `docs/engines.md` says which kinds are read"


def _metadata_alphas(metadata: str | None, tensors: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Layer -> alpha, from what peft's trainers write into the file's header."""
    if not metadata:
        return {}
    values = json.loads(metadata)
    found = {}
    for key in tensors:
        component, _, layer = key.partition(".")
        alpha = values.get(f"{component}.lora_alpha")
        patterns = values.get(f"{component}.alpha_pattern") or {}
        layer = layer.partition(".lora_")[0]
        own = next((value for name, value in patterns.items() if layer.endswith(name)), alpha)
        if own is not None:
            found[f"{key.partition('.lora_')[0]}.alpha"] = float(own)
    return found


def _match(key: str) -> re.Match[str] | None:
    """The parts of a matrix's key; None for another key."""
    match = _LAYER.match(key.replace(".processor.", "."))
    return match if match is not None and (match["old"] or match["mark"]) else None
