"""The whole procedures: `doctor` and `prepare`, on the top level."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from ovforge.cli.common import Console, command
from ovforge.cli.output import write_out
from ovforge.options.workflow import WorkflowOptions
from ovforge.records.reporting import StepSummary

if TYPE_CHECKING:
    from ovforge.workflow.doctor import DoctorReport
    from ovforge.workflow.inventory import InputState
    from ovforge.workflow.steps import StepState


def register(app: typer.Typer) -> None:
    """Add `doctor` and `prepare` to the top level."""

    @command(app, "doctor", example="ovforge doctor --for ovmr --root /data/lvis-project")
    def doctor(console: Console, options: WorkflowOptions) -> None:
        """What is here, what is missing, and what comes next."""
        from ovforge.workflow.doctor import doctor as diagnose

        report = diagnose(options)
        if console.json:
            console.print_json(report)
        else:
            write_out("\n".join(_lines(report)) + "\n")

    @command(app, "prepare", example="ovforge prepare --for ovtrack --root /data/lvis-project")
    def prepare(console: Console, options: WorkflowOptions) -> StepSummary:
        """Run every step whose turn it is, of both jobs or to the last file that a reader wants.

        That is: its inputs are here, and its output is missing or older than they are. Run again, it resumes.
        """
        from ovforge.workflow.prepare import prepare as work

        with console.progress() as progress:
            return work(options, progress=progress)


def _lines(report: DoctorReport) -> Iterator[str]:
    """The report as a checklist. A path stands last on its line or alone, so that it can be copied whole."""
    environment = report.environment
    yield f"ovforge {environment.ovforge}, Python {environment.python}, {environment.system}, {environment.cores} cores"
    gpus = f"{len(environment.gpus)} GPU" + ("s" if len(environment.gpus) > 1 else "") if environment.gpus else "no GPU"
    yield f"{gpus}; {environment.disk_free / 1e9:,.0f} GB free at {report.root}"
    for extra in environment.extras:
        versions = ", ".join(f"{name} {version}" for name, version in extra.versions.items())
        yield f"  [{'x' if extra.present else ' '}] {extra.name}: " + (versions if extra.present else extra.install)
    for job in dict.fromkeys([*(step.job for step in report.steps), *(state.job for state in report.inputs)]):
        yield ""
        yield f"{job}: inputs"
        for state in report.inputs:
            if state.job == job:
                yield from _input_lines(state, report)
        if any(step.job == job for step in report.steps):
            yield f"{job}: steps"
        for step in report.steps:
            if step.job == job:
                yield from _step_lines(step)
    if report.files:
        yield ""
        yield "files that the reader looks for"
        for file in report.files:
            yield f"  [{'x' if file.present else ' '}] {file.path}"
            origin = f"; made by `{file.made_by}`" if file.made_by else ""
            origin = origin or (f"; from: {file.source}" if file.source else "")
            yield f"      read by {file.read_by}{origin}"
    if report.runs:
        yield ""
        yield "runs of pairs"
        for run in report.runs:
            yield f"  {run.name}: {run.describe()}"
    if report.vision_models:
        yield ""
        yield "vision models"
        for model in report.vision_models:
            good_for = f"good for {', '.join(model.uses)}" if model.uses else "cannot be used"
            problem = f" ({model.problem})" if model.problem else ""
            yield f"  [{'x' if model.uses else '!'}] {model.what}, {good_for}{problem}: {model.place}"
    if report.next_command:
        yield ""
        yield f"next: {report.next_command}"


def _input_lines(state: InputState, report: DoctorReport) -> Iterator[str]:
    mark = "!" if state.problem else "x" if state.present else "-" if state.optional else " "
    told = state.problem or state.looks_like
    yield f"  [{mark}] {state.what}{f' ({told})' if told else ''}: {state.place}"
    if not state.present and not (state.optional and not state.problem):
        yield f"      get from {state.site}: {state.download}"
        if blocked := report.blocks.get(state.key):
            yield f"      without it: no {', no '.join(blocked)}"


def _step_lines(step: StepState) -> Iterator[str]:
    mark = {"done": "x", "blocked": " ", "ready": ">"}.get(step.status.value, "!")
    yield f"  [{mark}] {step.name}: {step.status.value}: {step.output}"
    if step.missing:
        yield f"      waits for {', '.join(step.missing)}"
    elif step.without and step.status.value != "done":
        yield f"      goes without {', '.join(step.without)}"
