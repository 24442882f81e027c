"""`prepare`: every detection step whose inputs are here and whose output is missing or stale, in order."""

from __future__ import annotations

from ovforge.errors import OvforgeError, WorkError
from ovforge.options.workflow import WorkflowOptions
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress
from ovforge.workflow.doctor import doctor
from ovforge.workflow.steps import StepStatus, Workspace, all_steps, standing


def prepare(options: WorkflowOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Run what is due. A step that fails does not stop those that can do without it; they are named in the end.

    Steps that were interrupted go on where they were; stale outputs are replaced.

    Raises:
        MissingInputError: `options.root` is no folder.
        WorkError: steps failed; everything else that could be done is done.
    """
    before = doctor(options)
    around = Workspace(options.root, {state.key: state for state in before.inputs})
    drops = Drops()
    outputs: dict[str, str] = {}
    notes: list[str] = []
    failures: dict[str, OvforgeError] = {}
    counts = dict.fromkeys(("steps run", "steps that were done", "steps blocked"), 0)
    for step in all_steps(options):
        state = standing(step, around)
        if step.run is not None and state.standing in (StepStatus.READY, StepStatus.STALE, StepStatus.UNFINISHED):
            try:
                summary = step.run(options, state.standing is StepStatus.STALE, progress)
            except OvforgeError as error:
                failures[step.name] = error
            else:
                counts["steps run"] += 1
                drops.merge(summary.drops, listed=True)
                notes += [f"{step.name}: {note}" for note in summary.notes]
                outputs |= {f"{step.name}: {what}": path for what, path in summary.outputs.items()}
                if step.name == "imagenet prepare":  # what was an archive is now a tree of classes
                    inputs = {one.key: one for one in doctor(options).inputs}
                    around = Workspace(options.root, inputs, around.steps)
                state = standing(step, around)
        elif step.run is not None:
            counts["steps that were done" if state.standing is StepStatus.DONE else "steps blocked"] += 1
        around.steps[step.name] = state
    if failures:
        told = "\n".join(f"  {name}: {error.message}" for name, error in failures.items())
        raise WorkError(
            f"{len(failures)} of the steps failed:\n{told}",
            hint="the other steps are done; run one of these by itself with --debug to see more",
        )
    after = doctor(options)
    return StepSummary(
        step="prepare",
        outputs=outputs,
        counts=counts,
        drops=drops.freeze(),
        notes=tuple(notes),
        next_command=after.next_command if after.next_command != "ovforge prepare" else "",
    )
