"""`doctor`: what is here, what is missing, what that blocks, and the next command."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

from ovforge.errors import MissingInputError
from ovforge.options import layout
from ovforge.options.base import by_keywords
from ovforge.options.workflow import DEFAULT_RUN, PairsEngine, WorkflowOptions
from ovforge.records.run_layout import run_command
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


class EngineModelState(msgspec.Struct, frozen=True):
    """A model below `saved_models` that `--engine diffusion --model PLACE` may be given."""

    place: str
    what: str
    """Its family; empty if it is of none that is run."""
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
    engine_models: tuple[EngineModelState, ...]
    vision_models: tuple[VisionModelState, ...]
    jobs: tuple[str, ...]
    """The jobs that have something here; both where nothing is here at all."""
    next_command: str

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is here."""
        return not self.runs and not any(state.present or state.problem for state in self.inputs)


@by_keywords(WorkflowOptions)
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
    runs = tuple(list_runs(options.root / layout.PAIRS_DIR))
    jobs = _jobs(inputs, steps, runs, options)
    return DoctorReport(
        root=str(options.root),
        inputs=inputs,
        blocks=_blocks(inputs, steps),
        steps=steps,
        files=look_up(options),
        runs=runs,
        environment=read_environment(options.root),
        engine_models=_engine_models(options),
        vision_models=_vision_models(options),
        jobs=jobs,
        next_command=_next_command([step for step in steps if step.job in jobs], options)
        or _next_of_runs(runs, options, has_jobs=bool(jobs)),
    )


def _model(options: WorkflowOptions) -> InputState:
    report = inspect_model_folder(options.root / layout.DIFFUSION_MODEL)
    here = (options.root / layout.DIFFUSION_MODEL).exists()
    problem = "; ".join(report.problems) if here else ""
    return InputState(
        key="diffusion-model",
        job="tracking",
        what="Stable Diffusion v1-4, in diffusers' layout (only for --engine diffusion)",
        place=str(layout.DIFFUSION_MODEL),
        present=here and report.usable,
        optional=options.engine is not PairsEngine.DIFFUSION,
        files=None,
        looks_like=report.title if here and report.usable else "",
        problem=problem,
        site=MODEL_SITE,
        download="the whole repository, safetensors",
    )


def _engine_models(options: WorkflowOptions) -> tuple[EngineModelState, ...]:
    """The folders of diffusers below `saved_models`, but for the default one, which is an input."""
    states = []
    for path in sorted((options.root / layout.SAVED_MODELS).glob("*/model_index.json")):
        place = path.parent.relative_to(options.root)
        if place != layout.DIFFUSION_MODEL:
            found = inspect_model_folder(path.parent)
            states.append(EngineModelState(str(place), found.title, "; ".join(found.problems)))
    return tuple(states)


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


def _jobs(
    inputs: tuple[InputState, ...], steps: tuple[StepState, ...], runs: tuple[PairsRun, ...], options: WorkflowOptions
) -> tuple[str, ...]:
    """The jobs that somebody is at here: a run of pairs can be of other data than the jobs' own."""
    jobs = tuple(dict.fromkeys([*(step.job for step in steps), *(state.job for state in inputs)]))
    here = {state.job for state in inputs if state.present or state.problem}
    if options.reader is not None or not (here or runs):
        return jobs
    return tuple(job for job in jobs if job in here)


def _next_of_runs(runs: tuple[PairsRun, ...], options: WorkflowOptions, *, has_jobs: bool) -> str:
    """What the first run that is not annotated needs, unless steps have seen to it; else where to look at one."""
    folder = options.root / layout.PAIRS_DIR
    for run in () if has_jobs else runs:
        if run.annotated or run.problem:
            continue
        if run.merged:
            return run_command("annotate", folder, run.name)
        return run_command("generate" if run.done < run.shards else "merge", folder, run.name)
    annotated = [run.name for run in runs if run.annotated and run.merged]
    own = options.name or DEFAULT_RUN
    return run_command("view", folder, own if own in annotated else annotated[-1]) if annotated else ""


def _next_command(steps: list[StepState], options: WorkflowOptions) -> str:
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
