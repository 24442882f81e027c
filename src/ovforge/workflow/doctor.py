"""`doctor`: what is here, what is missing, what that blocks, and the next command."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import msgspec

from ovforge.errors import MissingInputError, pip_line
from ovforge.options import layout
from ovforge.options.workflow import WorkflowOptions
from ovforge.synthesis.diffusion import inspect_model_folder
from ovforge.vision.model_folder import inspect_vision_folder
from ovforge.workflow.inventory import MODEL_SITE, InputState, take_inventory
from ovforge.workflow.steps import StepState, StepStatus, survey

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
    extras: tuple[ExtraState, ...]
    vision_models: tuple[VisionModelState, ...]
    next_command: str


def doctor(options: WorkflowOptions) -> DoctorReport:
    """Look at everything that the two documents ask for, below `options.root`.

    Raises:
        MissingInputError: `root` is no folder.
    """
    if not options.root.is_dir():
        raise MissingInputError(
            options.root, what="folder", hint="give the folder with datasets/ and data/ by --root=DIR"
        )
    inputs = (*take_inventory(options.root), _model(options))
    steps = tuple(survey(options, inputs))
    return DoctorReport(
        root=str(options.root),
        inputs=inputs,
        blocks=_blocks(inputs, steps),
        steps=steps,
        extras=tuple(_extra(name, libraries) for name, libraries in EXTRAS.items()),
        vision_models=_vision_models(options),
        next_command=_next_command(steps),
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


def _blocks(inputs: tuple[InputState, ...], steps: tuple[StepState, ...]) -> dict[str, tuple[str, ...]]:
    reasons: dict[str, set[str]] = {}
    for step in steps:
        if step.standing is not StepStatus.BLOCKED:
            continue
        wanted = set(step.missing)
        for earlier in steps:
            if f"`ovforge {earlier.name}`" in wanted:
                wanted |= reasons.get(earlier.name, set())
        reasons[step.name] = wanted
    return {
        state.key: blocked
        for state in inputs
        if not state.present
        and (blocked := tuple(step.name for step in steps if state.place in reasons.get(step.name, ())))
    }


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


def _next_command(steps: tuple[StepState, ...]) -> str:
    turn = [step for step in steps if step.standing in (StepStatus.READY, StepStatus.STALE, StepStatus.UNFINISHED)]
    if any(step.prepared for step in turn):
        return "ovforge prepare"
    if turn:
        return turn[0].command
    blocked = [step for step in steps if step.standing is StepStatus.BLOCKED and step.missing]
    if blocked:
        return f"put {blocked[0].missing[0]} in place, then `ovforge doctor`"
    return ""
