"""The whole procedures: `doctor` and `prepare`, on the top level."""

from __future__ import annotations

import typer

from ovforge.cli.common import Console, command
from ovforge.cli.output import write_out
from ovforge.options.workflow import WorkflowOptions
from ovforge.records.reporting import StepSummary


def register(app: typer.Typer) -> None:
    """Add `doctor` and `prepare` to the top level."""

    @command(app, "doctor", example="ovforge doctor --for ovmr --root /data/lvis-project", verbose=True)
    def doctor(console: Console, options: WorkflowOptions) -> None:
        """What is here, what is missing, and what comes next."""
        from ovforge.cli.doctor_text import checklist
        from ovforge.workflow.doctor import doctor as diagnose

        report = diagnose(options)
        if console.json:
            console.print_json(report)
        else:
            write_out(checklist(report, verbose=console.verbose))

    @command(app, "prepare", example="ovforge prepare --for ovtrack --root /data/lvis-project")
    def prepare(console: Console, options: WorkflowOptions) -> StepSummary:
        """Run every step whose turn it is, of both jobs or to the last file that a reader wants.

        That is: its inputs are here, and its output is missing or older than they are. Run again, it resumes.
        """
        from ovforge.workflow.prepare import prepare as work

        with console.progress() as progress:
            return work(options, progress=progress)
