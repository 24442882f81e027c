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

RootOption = Annotated[Path, typer.Option("--root", help="The folder with datasets/ and data/.")]
KOption = Annotated[int, typer.Option("-k", "-K", help="Exemplars a class.", min=1)]


def register(app: typer.Typer) -> None:
    """Add `doctor` and `prepare` to the top level."""

    @command(app, "doctor", example="ovforge doctor --root /data/lvis-project")
    def doctor(console: Console, *, root: RootOption = Path(), k: KOption = 5) -> None:
        """What is here, what is missing, what that blocks, and the next command."""
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
        """Every detection step whose inputs are here and whose output is missing or stale. Run again, it goes on."""
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

    out = RichConsole(file=sys.stdout, soft_wrap=False)
    marks = {True: "[green]here[/green]", False: "[red]missing[/red]"}
    for job in ("detection", "tracking"):
        table = Table(
            "input", "", "what it looks like", "where it belongs", "from", title=f"{job}: inputs", expand=False
        )
        for state in report.inputs:
            if state.job != job:
                continue
            seen = state.problem or state.looks_like
            if state.files is not None and not state.problem:
                seen = f"{seen}, {state.files:,}" if seen else f"{state.files:,}"
            mark = "[yellow]unusable[/yellow]" if state.problem else marks[state.present]
            if not state.present and state.optional and not state.problem:
                mark = "not here"
            source = "" if state.present else f"{state.site}: {state.download}"
            table.add_row(state.what, mark, seen, state.place, source)
        out.print(table)
        steps = Table("step", "", "output", "what it waits for", title=f"{job}: steps", expand=False)
        colours = {"done": "green", "ready": "cyan", "stale": "yellow", "blocked": "red"}
        for step in report.steps:
            if step.job == job:
                mark = f"[{colours[step.standing.value]}]{step.standing.value}[/]"
                waits = ", ".join(step.missing) or ("goes without " + ", ".join(step.without) if step.without else "")
                steps.add_row(step.name, mark, step.output, waits)
        out.print(steps)
    for extra in report.extras:
        if not extra.present:
            out.print(
                f"extra '{extra.name}' is not installed (lacks {', '.join(extra.missing)}): {extra.install}",
                markup=False,
            )
    if report.next_command:
        out.print(f"next: {report.next_command}", markup=False)
