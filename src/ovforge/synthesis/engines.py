"""Engines by name and by what a run's manifest says of them; their own modules are loaded when they are needed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ovforge.errors import InputError
from ovforge.options.diffusion import DEFAULT_MODEL, DiffusionOptions
from ovforge.runs.plan import Plan, possible_places
from ovforge.synthesis.diffusion import DiffusionEngine, engine_from_description
from ovforge.synthesis.repaint import Engine
from ovforge.synthesis.warp import FillEngine, WarpEngine


def engine_name(plan: Plan) -> str:
    """What `--engine` calls the engine of a run."""
    return str(plan.options.get("engine", {}).get("engine", ""))


def engine_of_run(plan: Plan, run_folder: Path, *, model: Path | None = None, device: str | None = None) -> Engine:
    """The engine that a run was made with, with its model where it is now.

    Raises:
        InputError: this release has no such engine.
    """
    described = plan.options.get("engine", {})
    match described.get("engine"):
        case "fill":
            return FillEngine()
        case "warp":
            return WarpEngine()
        case "diffusion":
            changes: dict[str, Any] = {
                "model": model or find_model(plan, run_folder),
                "lora": _found_loras(plan, run_folder),
            }
            if device:
                changes["device"] = device
            return engine_from_description(described, **changes)
        case other:
            raise InputError(f"{run_folder}: made by the engine {other!r}, unknown to this release")


def with_run_diffusion_options(
    options: DiffusionOptions, plan: Plan, run_folder: Path, given: Collection[str]
) -> DiffusionOptions:
    """The options of the engine `diffusion` for resuming a run: what was not given takes the run's own value."""
    own = engine_from_description(plan.options["engine"]).options
    model = options.model if "model" in given else find_model(plan, run_folder)
    given_fields = set(given) | ({"width", "height"} if "working_size" in given else set())  # one option
    values = {field.name: getattr(options, field.name) for field in fields(options) if field.name in given_fields}
    return replace(own, **{"lora": _found_loras(plan, run_folder), **values, "model": model})


def pinned(engine: Engine, described: dict[str, Any]) -> Engine:
    """The engine with everything fixed that its description says, so that workers on other machines do the same: the
    number of threads, the precision, and the kind of device."""
    if not isinstance(engine, DiffusionEngine):
        return engine
    own = engine.options
    options = engine_from_description(described).options
    device = own.device if own.device.partition(":")[0] == options.device else options.device
    return DiffusionEngine(replace(options, model=own.model.absolute(), device=device))


def find_model(plan: Plan, run_folder: Path) -> Path:
    """Where the model of a run is now: where it was, where it went with the run's folder, or the default place; if at
    none of these, where it was."""
    noted = str(plan.options["engine"]["model"])
    places = possible_places(plan, noted, run_folder, DEFAULT_MODEL)
    return next((place for place in places if place.exists()), places[0])


def _found_loras(plan: Plan, run_folder: Path) -> tuple[str, ...]:
    """The LoRA files of a run with their weights, where they are now: where they were, or where they went with the
    run's folder."""
    described = plan.options["engine"]
    found = []
    for noted, one in zip(described.get("lora_files", ()), described.get("lora", ()), strict=True):
        places = possible_places(plan, str(noted), run_folder)
        place = next((place for place in places if place.exists()), places[0])
        found.append(f"{place}:{one['weight']}")
    return tuple(found)
