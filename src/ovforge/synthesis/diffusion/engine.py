"""The engine `diffusion`: a description of the model and how it is used; light, picklable, opened per worker."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ovforge.errors import InputError, MissingExtraError
from ovforge.options.diffusion import Cache, DiffusionOptions, Foreground, Precision, Preset, Sampler
from ovforge.options.labels import Outside, Repaint
from ovforge.synthesis.diffusion.families import Family
from ovforge.synthesis.diffusion.model_folder import ModelReport, check_model_folder, file_hash, weight_hashes
from ovforge.synthesis.repaint import EngineTraits, Repainter

NO_PROMPT = (
    "--no-captions: OVTrack's published ablation found that pairs repainted without a prompt bring no gain; "
    "captions or class names cost nothing but guidance"
)

_LIBRARIES = ("torch", "diffusers", "transformers")


@dataclass(frozen=True)
class DiffusionEngine:
    """A model of diffusers as a repainting engine; fulfils `synthesis.repaint.Engine`."""

    options: DiffusionOptions = field(default_factory=DiffusionOptions)
    name: str = "diffusion"

    @property
    def traits(self) -> EngineTraits:
        """What the making of pairs has to know of it."""
        only_holes = self.options.repaint is Repaint.HOLES
        outside: tuple[Outside, ...] = (Outside.COMPLETED, Outside.ORIGINAL)
        if only_holes:
            outside = outside[:1]
        elif self.options.scheduler is Sampler.OVTRACK:
            outside = outside[::-1]
        return EngineTraits(
            repaints=True,
            outside=outside,
            uses_captions=not self.options.no_captions,
            only_holes=only_holes,
            # The ablation is of repainted backgrounds.
            notes=(NO_PROMPT,) if self.options.no_captions and not only_holes else (),
        )

    def describe(self) -> dict[str, Any]:
        """What the manifest says of the engine: options, model, hashes of its weights, calls, versions.

        Reads the weights once, to hash them.

        Raises:
            InputError: the model folder or the device cannot be used.
            MissingExtraError: a library of the extra `diffusion` is not installed.
        """
        _check_libraries()
        import torch

        from ovforge.devices import resolve_device
        from ovforge.synthesis.diffusion.attempts import ATTEMPTS
        from ovforge.synthesis.diffusion.device import resolve_precision, resolve_threads
        from ovforge.synthesis.diffusion.loading import check_lora_files

        report, family = self._look()
        options = family.settle(self.options, report)
        check_lora_files(report, options.lora_files)
        # A GPU is looked for where the work is done: the machine that plans it may have none.
        device = torch.device("cuda") if options.device.startswith("cuda") else resolve_device(options.device)
        return {
            "engine": self.name,
            "family": family.name,
            "model": str(options.model.absolute()),
            "weights": weight_hashes(report),
            "scheduler": options.scheduler.value,
            "cache": options.cache.value,
            "lora": [{"sha256": file_hash(one.file), "weight": one.weight} for one in options.lora_files],
            "lora_files": [str(one.file.absolute()) for one in options.lora_files],
            "preset": options.preset.value if options.preset is not None else None,
            # Runs of before there was a choice say nothing.
            **({"repaint": options.repaint.value} if options.repaint is Repaint.HOLES else {}),
            "captions": not options.no_captions,
            "foreground": options.foreground.value,
            "working_size": [options.width, options.height],
            "batch_size": options.batch_size or "auto",
            "device": device.type,
            "cpu_threads": resolve_threads(options.cpu_threads, device),
            "precision": resolve_precision(options.precision, device, family.half()).value,
            **{name: getattr(options, name) for name in _AS_THEY_ARE if name != "cpu_threads"},
            **family.plan(options, report),
            "attempts": ATTEMPTS,
            "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        }

    def open(self, device: str | None) -> Repainter:
        """Load the model onto `device`, or onto the one of the options if it is None.

        Raises:
            InputError: the model folder or the device cannot be used.
            MissingExtraError: a library of the extra `diffusion` is not installed.
        """
        _check_libraries()
        report, family = self._look()
        return family.open(family.settle(self.options, report), report, device)

    def _look(self) -> tuple[ModelReport, Family]:
        report = check_model_folder(self.options.model, allow_pickle=self.options.allow_pickle)
        if report.family is None:  # a folder without problems is of a family
            raise InputError(f"{report.folder}: of no family of models that ovforge knows", hint=report.hint)
        return report, report.family


def engine_from_description(described: Mapping[str, Any], **changes: Any) -> DiffusionEngine:
    """The engine that gave this description (`DiffusionEngine.describe`), but for `changes` of its options.

    Raises:
        InputError: it is the description of another engine or release.
    """
    try:
        width, height = described["working_size"]
        options = DiffusionOptions(
            model=Path(described["model"]),
            device=described["device"],
            batch_size=None if described["batch_size"] == "auto" else described["batch_size"],
            scheduler=Sampler(described["scheduler"]),
            cache=Cache(described["cache"]),
            lora=tuple(
                f"{file}:{one['weight']}" for file, one in zip(described["lora_files"], described["lora"], strict=True)
            ),
            preset=Preset(described["preset"]) if described["preset"] else None,
            precision=Precision(described["precision"]),
            foreground=Foreground(described["foreground"]),
            repaint=Repaint(described.get("repaint", Repaint.BACKGROUND)),
            no_captions=not described["captions"],
            width=width,
            height=height,
            **{name: described[name] for name in _AS_THEY_ARE},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a description of the engine 'diffusion' that this release knows ({error!r})") from None
    return DiffusionEngine(replace(options, **changes))


_AS_THEY_ARE = (
    "steps",
    "strength",
    "guidance",
    "guidance_until",
    "blend_until",
    "n_sample",
    "jump_length",
    "jump_n_sample",
    "compile",
    "vae_tiling",
    "cpu_offload",
    "cpu_threads",
    "allow_pickle",
)


def _check_libraries() -> None:
    if any(importlib.util.find_spec(name) is None for name in (*_LIBRARIES, "safetensors")):
        raise MissingExtraError("diffusion", needed_for="the engine 'diffusion'")
