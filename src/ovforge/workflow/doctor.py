"""`doctor`: what is here, what is missing, what that blocks, and the next command."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

from ovforge.errors import MissingInputError
from ovforge.options import layout
from ovforge.options.workflow import WorkflowOptions
from ovforge.synthesis.diffusion import inspect_model_folder
from ovforge.synthesis.run_list import PairsRun, list_runs
from ovforge.vision.model_folder import inspect_vision_folder
from ovforge.workflow.environment import Environment, read_environment
from ovforge.workflow.inventory import MODEL_SITE, InputState, take_inventory
from ovforge.workflow.readers import ReaderFileState, look_up, steps_for
from ovforge.workflow.steps import StepState, StepStatus, survey


class VisionModelState(msgspec.Struct, frozen=True):
    """A vision model below `saved_models`, and what it is good for."""

    place: str
    what: str
    uses: tuple[str, ...]
    """Some of `image`, `text`, `detect`; empty if it cannot be used."""
    problem: str


class DoctorReport(msgspec.Struct, frozen=True):
    """What `doctor` found."""

    root: str
    inputs: tuple[InputState, ...]
    blocks: dict[str, tuple[str, ...]]
    """Input -> the steps that it blocks, directly or through another step."""
    steps: tuple[StepState, ...]
    files: tuple[ReaderFileState, ...]
    """The files that the reader's configuration names; empty where no reader was named."""
    runs: tuple[PairsRun, ...]
    environment: Environment
    vision_models: tuple[VisionModelState, ...]
    next_command: str


def doctor(options: WorkflowOptions) -> DoctorReport:
    """Look at everything that the two documents ask for, below `options.root`.

    Raises:
        MissingInputError: `root` is not a folder.
    """
    if not options.root.is_dir():
        raise MissingInputError(
            options.root, what="folder", hint="give the folder with datasets/ and data/ by --root=DIR"
        )
    inputs = (*take_inventory(options.root), _model(options))
    steps = tuple(survey(steps_for(options), options.root, inputs))
    inputs = tuple(state for state in inputs if _is_used(state, options))
    return DoctorReport(
        root=str(options.root),
        inputs=inputs,
        blocks=_blocks(inputs, steps),
        steps=steps,
        files=look_up(options),
        runs=tuple(list_runs(options.root / layout.PAIRS_DIR)),
        environment=read_environment(options.root),
        vision_models=_vision_models(options),
        next_command=_next_command(steps, options),
    )


def _model(options: WorkflowOptions) -> InputState:
    report = inspect_model_folder(options.root / layout.DIFFUSION_MODEL)
    here = (options.root / layout.DIFFUSION_MODEL).exists()
    problem = "; ".join(report.problems) if here else ""
    kind = "Stable Diffusion, inpainting (9 channels)" if report.inpainting else "Stable Diffusion"
    return InputState(
        key="diffusion-model",
        job="tracking",
        what="Stable Diffusion v1-4, in diffusers' layout",
        place=str(layout.DIFFUSION_MODEL),
        present=here and report.usable,
        optional=False,
        files=None,
        looks_like=kind if here and report.usable else "",
        problem=problem,
        site=MODEL_SITE,
        download="the whole repository, safetensors",
    )


def _vision_models(options: WorkflowOptions) -> tuple[VisionModelState, ...]:
    """The folders of transformers below `saved_models`: those with a config.json of their own."""
    states = []
    for path in sorted((options.root / layout.SAVED_MODELS).glob("*/config.json")):
        found = inspect_vision_folder(path.parent)
        place = str(path.parent.relative_to(options.root))
        what = found.title or f"model of the type '{found.model_type}'"
        states.append(VisionModelState(place, what, found.uses, "; ".join((*found.problems, *found.notes))))
    return tuple(states)


def _is_used(state: InputState, options: WorkflowOptions) -> bool:
    """Whether a step of those that are wanted reads an input."""
    if options.reader is None:
        return True
    return any(state.key in (*step.needs, *step.uses) for step in steps_for(options))


def _blocks(inputs: tuple[InputState, ...], steps: tuple[StepState, ...]) -> dict[str, tuple[str, ...]]:
    reasons: dict[str, set[str]] = {}
    for step in steps:
        if step.status is not StepStatus.BLOCKED:
            continue
        wanted = set(step.missing)
        for earlier in steps:
            if f"`{earlier.command}`" in wanted:
                wanted |= reasons.get(earlier.name, set())
        reasons[step.name] = wanted
    return {
        state.key: blocked
        for state in inputs
        if not state.present
        and (blocked := tuple(step.name for step in steps if state.place in reasons.get(step.name, ())))
    }


def _next_command(steps: tuple[StepState, ...], options: WorkflowOptions) -> str:
    words = ["ovforge prepare"]
    if options.root != Path():
        words.append(f"--root {shlex.quote(str(options.root))}")
    if options.reader is not None:
        words.append(f"--for {options.reader.value}")
    if any(step.is_due for step in steps):
        return " ".join(words)
    blocked = [step for step in steps if step.status is StepStatus.BLOCKED and step.missing]
    if blocked:
        words[0] = "ovforge doctor"
        return f"put {blocked[0].missing[0]} in place, then `{' '.join(words)}`"
    return ""
