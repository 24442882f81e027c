"""What `doctor` prints: a checklist of one screen, or all that was found with `--verbose`.

A path stands last on its line or alone, so that it can be copied whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ovforge.workflow.doctor import DoctorReport
    from ovforge.workflow.environment import Environment
    from ovforge.workflow.inventory import InputState
    from ovforge.workflow.readers import ReaderFileState
    from ovforge.workflow.steps import StepState

_MARKS = {"done": "x", "ready": ">", "stale": "!", "unfinished": "!", "blocked": " "}
_SHOWN = 3
"""Steps that are named as blocked by one input."""


def checklist(report: DoctorReport, *, verbose: bool = False) -> str:
    """The report as text."""
    return "\n".join(_lines(report, verbose=verbose)) + "\n"


def _lines(report: DoctorReport, *, verbose: bool) -> Iterator[str]:
    yield from _environment_lines(report.environment, report.root, verbose=verbose)
    jobs = dict.fromkeys([*(step.job for step in report.steps), *(state.job for state in report.inputs)])
    shown = [job for job in jobs if verbose or job in report.jobs]
    for job in shown:
        yield ""
        yield f"{job}: inputs"
        for state in report.inputs:
            if state.job == job:
                yield from _input_lines(state, report, verbose=verbose)
        steps = [step for step in report.steps if step.job == job]
        if steps:
            yield f"{job}: steps"
        yield from (line for step in steps for line in _step_lines(step)) if verbose else _grouped(steps)
    if others := [job for job in jobs if job not in shown]:
        yield ""
        yield f"{', '.join(others)}: nothing is here of what the papers' procedures read, shown with --verbose"
    if report.files:
        yield ""
        yield "files that the reader looks for"
        for file in report.files:
            yield from _file_lines(file, verbose=verbose)
    if report.runs:
        yield ""
        yield "runs of pairs"
        for run in report.runs:
            yield f"  {run.name}: {run.describe()}"
    if report.engine_models:
        yield ""
        yield "models for --engine diffusion"
        for found in report.engine_models:
            problem = f" ({found.problem})" if found.problem else ""
            yield f"  [{'!' if problem else 'x'}] {found.what or 'not run'}{problem}: --model {found.place}"
    if report.vision_models:
        yield ""
        yield "vision models"
        for model in report.vision_models:
            good_for = f"good for {', '.join(model.uses)}" if model.uses else "cannot be used"
            problem = f" ({model.problem})" if model.problem else ""
            yield f"  [{'x' if model.uses else '!'}] {model.what}, {good_for}{problem}: {model.place}"
    if report.is_empty:
        yield ""
        yield "your own COCO file needs none of this: `ovforge pairs generate NAME --images FOLDER --ann FILE`"
    if report.next_command:
        yield ""
        yield f"next: {report.next_command}"


def _environment_lines(environment: Environment, root: str, *, verbose: bool) -> Iterator[str]:
    yield f"ovforge {environment.ovforge}, Python {environment.python}, {environment.system}, {environment.cores} cores"
    gpus = f"{len(environment.gpus)} GPU" + ("s" if len(environment.gpus) > 1 else "") if environment.gpus else "no GPU"
    yield f"{gpus}; {environment.disk_free / 1e9:,.0f} GB free at {root}"
    there = [extra for extra in environment.extras if extra.present]
    if there and not verbose:
        yield f"  [x] extras: {', '.join(extra.name for extra in there)}"
    for extra in environment.extras:
        versions = ", ".join(f"{name} {version}" for name, version in extra.versions.items())
        if verbose or not extra.present:
            yield f"  [{'x' if extra.present else ' '}] {extra.name}: " + (versions if extra.present else extra.install)


def _input_lines(state: InputState, report: DoctorReport, *, verbose: bool) -> Iterator[str]:
    mark = "!" if state.problem else "x" if state.present else "-" if state.optional else " "
    told = state.problem or state.looks_like
    yield f"  [{mark}] {state.what}{f' ({told})' if told else ''}: {state.place}"
    if not state.present and not (state.optional and not state.problem):
        yield f"      get from {state.site}: {state.download}"
        blocked = report.blocks.get(state.key)
        if blocked and (verbose or not report.is_empty):
            more = "" if verbose or len(blocked) <= _SHOWN else f" and {len(blocked) - _SHOWN} more"
            yield f"      without it: no {', no '.join(blocked if verbose else blocked[:_SHOWN])}{more}"


def _step_lines(step: StepState) -> Iterator[str]:
    yield f"  [{_MARKS[step.status.value]}] {step.name}: {step.status.value}: {step.output}"
    if step.missing:
        yield f"      waits for {', '.join(step.missing)}"
    elif step.without and step.status.value != "done":
        yield f"      goes without {', '.join(step.without)}"


def _grouped(steps: list[StepState]) -> Iterator[str]:
    """One line for each way in which steps stand; those that only wait for steps before them come after these."""
    stuck: set[str] = set()
    groups: dict[str, list[str]] = {name: [] for name in (*_MARKS, "then")}
    for step in steps:
        status = step.status.value
        if status == "blocked":
            if any(missing in stuck or not missing.startswith("`") for missing in step.missing):
                stuck.add(f"`{step.command}`")
            else:
                status = "then"
        groups[status].append(step.name.partition(" --")[0])
    for status in ("done", "unfinished", "stale", "ready", "then", "blocked"):
        if groups[status]:
            yield f"  [{_MARKS.get(status, ' ')}] {status}: {', '.join(groups[status])}"


def _file_lines(file: ReaderFileState, *, verbose: bool) -> Iterator[str]:
    yield f"  [{'x' if file.present else ' '}] {file.path}"
    origin = f"made by `{file.made_by}`" if file.made_by else f"from: {file.source}" if file.source else ""
    if verbose:
        yield f"      read by {file.read_by}" + (f"; {origin}" if origin else "")
    elif origin and not file.present:
        yield f"      {origin}"
