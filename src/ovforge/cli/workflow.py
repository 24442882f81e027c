"""The whole procedures: `doctor` and `prepare`, on the top level."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ovforge.cli.common import Console, command
from ovforge.options.workflow import WorkflowOptions

if TYPE_CHECKING:
    from ovforge.workflow.doctor import DoctorReport
    from ovforge.workflow.inventory import InputState

RootOption = Annotated[Path, typer.Option("--root", help="The folder with datasets/ and data/.")]
KOption = Annotated[int, typer.Option("-k", "-K", help="Exemplars a class.", min=1)]


def register(app: typer.Typer) -> None:
    """Add `doctor` and `prepare` to the top level."""

    @command(app, "doctor", example="ovforge doctor --root /data/lvis-project")
    def doctor(console: Console, *, root: RootOption = Path(), k: KOption = 5) -> None:
        """What is here, what is missing, and what comes next."""
        from ovforge.workflow.doctor import doctor as look

        _show(console, look(WorkflowOptions(root=root, k=k)))

    @command(app, "prepare", example="ovforge prepare --root /data/lvis-project")
    def prepare(
        console: Console,
        *,
        root: RootOption = Path(),
        k: KOption = 5,
        seed: Annotated[int, typer.Option(help="Seed of the exemplars' draws.")] = 42,
        workers: Annotated[int | None, typer.Option(help="Processes; the default is one per core.", min=1)] = None,
    ) -> None:
        """Run every detection step whose turn it is.

        That is: its inputs are here, and its output is missing or older than they are. Run again, it goes on.
        """
        from ovforge.workflow.doctor import doctor as look
        from ovforge.workflow.prepare import prepare as work

        options = WorkflowOptions(root=root, k=k, seed=seed, workers=workers)
        with console.progress() as progress:
            summary = work(options, progress=progress)
        console.show(summary)
        if not console.json:
            _show(console, look(options))


def _show(console: Console, report: DoctorReport) -> None:
    if console.json:
        console.print_json(report)
        return
    from rich.console import Console as RichConsole
    from rich.table import Table

    out = RichConsole(file=sys.stdout, width=None if sys.stdout.isatty() else 120)  # a pipe has no width of its own
    for job in ("detection", "tracking"):
        inputs = Table(title=f"{job}: inputs", title_justify="left")
        for heading in ("", "input", "what it looks like", "where it belongs"):
            inputs.add_column(heading, overflow="fold")
        for state in report.inputs:
            if state.job == job:
                inputs.add_row(_mark(state), state.what, state.problem or state.looks_like, state.place)
        steps = Table(title=f"{job}: steps", title_justify="left")
        for heading in ("", "step", "output", "what it waits for"):
            steps.add_column(heading, overflow="fold")
        for step in report.steps:
            if step.job == job:
                waits = ", ".join(step.missing) or (f"goes without {', '.join(step.without)}" if step.without else "")
                steps.add_row(_STANDINGS[step.standing.value], f"ovforge {step.name}", step.output, waits)
        out.print(inputs, steps)
    for state in report.inputs:
        if not state.present and not (state.optional and not state.problem):
            out.print(
                f"\n{state.what}: get {state.download} at {state.site}, put or link it at {state.place}", style="bold"
            )
            if blocked := report.blocks.get(state.key):
                out.print(f"  without it: no {', no '.join(blocked)}", markup=False)
    for model in report.vision_models:
        good_for = f"good for {', '.join(model.uses)}" if model.uses else "cannot be used"
        problem = f" ({model.problem})" if model.problem else ""
        out.print(f"\n{model.place}: {model.what}, {good_for}{problem}", markup=False)
    for extra in report.extras:
        if not extra.present:
            out.print(f"\nThe extra '{extra.name}' is not installed: {extra.install}", markup=False)
    if report.next_command:
        out.print(f"\nnext: {report.next_command}", markup=False, soft_wrap=True)


_STANDINGS = {
    "done": "[green]done[/green]",
    "ready": "[cyan]ready[/cyan]",
    "stale": "[yellow]stale[/yellow]",
    "unfinished": "[yellow]unfinished[/yellow]",
    "blocked": "[red]blocked[/red]",
}


def _mark(state: InputState) -> str:
    if state.problem:
        return "[yellow]unusable[/yellow]"
    if state.present:
        return "[green]here[/green]"
    return "not here" if state.optional else "[red]missing[/red]"
