"""What is in a folder of transformers, found out without loading it: which model, and what it is good for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ovforge.errors import InputError, MissingInputError
from ovforge.files.safetensors_file import safetensors_problem

IMAGE: Final = "image"
TEXT: Final = "text"
DETECT: Final = "detect"
"""What a model is good for: features of images, features of texts, boxes of named classes."""


@dataclass(frozen=True)
class Family:
    """A kind of model that can be loaded."""

    title: str
    uses: tuple[str, ...]


FAMILIES: Final = {
    "clip": Family("CLIP", (IMAGE, TEXT)),
    "siglip": Family("SigLIP", (IMAGE, TEXT)),
    "siglip2": Family("SigLIP 2", (IMAGE, TEXT)),
    "dinov2": Family("DINOv2", (IMAGE,)),
    "dinov2_with_registers": Family("DINOv2 with registers", (IMAGE,)),
    "dinov3_vit": Family("DINOv3", (IMAGE,)),
    "dinov3_convnext": Family("DINOv3 ConvNeXt", (IMAGE,)),
    "owlvit": Family("OWL-ViT", (DETECT,)),
    "owlv2": Family("OWLv2", (DETECT,)),
    "grounding-dino": Family("Grounding DINO", (DETECT,)),
}
"""`model_type` of config.json -> the model."""

_KNOWN = "CLIP, SigLIP, SigLIP 2, DINOv2, DINOv3, OWL-ViT, OWLv2 and Grounding DINO"
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",), ("vocab.txt",))
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class VisionFolder:
    """What a model folder holds.

    Attributes:
        folder: the folder looked at.
        model_type: as config.json says; empty if there is none.
        title: what people call the model.
        uses: what it is good for: some of `image`, `text`, `detect`; empty if it cannot be loaded.
        weights: the weight files that would be loaded.
        problems: what stands in the way of loading it; empty if nothing does.
        notes: what it lacks for a use that its kind of model has.
    """

    folder: Path
    model_type: str = ""
    title: str = ""
    uses: tuple[str, ...] = ()
    weights: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def inspect_vision_folder(folder: Path) -> VisionFolder:
    """Look at a model folder without loading it; needs no torch."""
    if not folder.is_dir():
        return VisionFolder(folder, problems=("is a file, not a folder" if folder.exists() else "is not there",))
    if not (folder / "config.json").is_file():
        return VisionFolder(folder, problems=(_without_config(folder),))
    try:
        config = read_json_object(folder / "config.json")
    except InputError as error:
        return VisionFolder(folder, problems=(error.message.removeprefix(f"{folder}: "),))
    model_type = str(config.get("model_type", ""))
    family = FAMILIES.get(model_type)
    if family is None:
        what = f"is a model of the type '{model_type}'" if model_type else "config.json names no model_type"
        return VisionFolder(folder, model_type, problems=(f"{what}; {_KNOWN} can be loaded",))
    weights, problems = _weights(folder)
    if not _preprocessor_file(folder):
        problems.append("missing preprocessor_config.json, which says how images are prepared")
    uses, notes = family.uses, []
    if not any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS):
        if DETECT in uses:
            problems.append("missing tokenizer.json: a detector of named classes reads their names")
        elif TEXT in uses:
            uses = tuple(use for use in uses if use != TEXT)
            notes.append("no tokenizer.json, so it reads no texts")
    return VisionFolder(
        folder, model_type, family.title, () if problems else uses, tuple(weights), tuple(problems), tuple(notes)
    )


def check_vision_folder(folder: Path, use: str) -> VisionFolder:
    """Refuse a folder that cannot be loaded, or is not good for `use`.

    Raises:
        MissingInputError: the folder is not there.
        InputError: names the folder, everything that is wrong with it, and what to give instead.
    """
    found = inspect_vision_folder(folder)
    if not folder.exists():
        raise MissingInputError(
            folder, what="model folder", hint="give a local folder in the layout of transformers; none is downloaded"
        )
    if found.problems:
        raise InputError(
            f"{folder}: {'; '.join(found.problems)}",
            hint=f"give a folder of transformers with safetensors: {_KNOWN}; none is downloaded",
        )
    if use not in found.uses:
        good_for = " and ".join(found.uses)
        lacks = f"; {'; '.join(found.notes)}" if found.notes else ""
        raise InputError(f"{folder}: {found.title} is good for {good_for}, not for {use}{lacks}", hint=_INSTEAD[use])
    return found


_INSTEAD = {
    IMAGE: "features of images need CLIP, SigLIP or DINO",
    TEXT: "texts need CLIP or SigLIP, with their tokenizer",
    DETECT: "a detector is OWLv2, OWL-ViT or Grounding DINO",
}


def preprocessor_config(folder: Path) -> dict[str, Any]:
    """How images are prepared, as the folder says.

    Raises:
        InputError: the folder does not say.
    """
    path = _preprocessor_file(folder)
    if path is None:
        raise InputError(f"{folder}: missing preprocessor_config.json, which says how images are prepared")
    config = read_json_object(path)
    inner = config.get("image_processor")
    return inner if isinstance(inner, dict) else config


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a configuration.

    Raises:
        InputError: it cannot be read, or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.parent}: {path.name} cannot be read as JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path.parent}: {path.name} holds no JSON object")
    return value


def _preprocessor_file(folder: Path) -> Path | None:
    # transformers 5 writes processors of text and image together into one file.
    plain, together = folder / "preprocessor_config.json", folder / "processor_config.json"
    if plain.is_file():
        return plain
    try:
        return together if isinstance(read_json_object(together).get("image_processor"), dict) else None
    except InputError:
        return None


def _weights(folder: Path) -> tuple[list[Path], list[str]]:
    """The weight files and what is wrong with them."""
    index = folder / f"{_WEIGHTS}.index.json"
    if (folder / _WEIGHTS).is_file():
        files = [folder / _WEIGHTS]
    elif index.is_file():
        try:
            names = sorted({str(name) for name in read_json_object(index).get("weight_map", {}).values()})
        except (InputError, AttributeError):
            return [], [f"{index.name} is not an index of weight files"]
        files = [folder / Path(name).name for name in names]
    else:
        others = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".msgpack"))
        instead = f"; {others[0]} is another format, which is not loaded" if others else ""
        return [], [f"missing {_WEIGHTS}{instead}"]
    problems = [f"missing {path.name}" for path in files if not path.is_file()]
    files = [path for path in files if path.is_file()]
    problems += [f"{path.name} {problem}" for path in files if (problem := safetensors_problem(path))]
    return files, problems


def _without_config(folder: Path) -> str:
    if (folder / "model_index.json").is_file():
        return "is a folder of diffusers, not of transformers"
    inner = sorted(path.parent.name for path in folder.glob("*/config.json"))
    return "has no config.json" + (f"; did you mean {folder / inner[0]}?" if inner else "")
