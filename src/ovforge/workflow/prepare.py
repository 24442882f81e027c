"""`prepare`: every step whose inputs are here and whose output is missing or stale, in order."""

from __future__ import annotations

from msgspec import structs

from ovforge.errors import OvforgeError, WorkError
from ovforge.options.base import by_keywords
from ovforge.options.workflow import WorkflowOptions
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress
from ovforge.workflow.doctor import doctor
from ovforge.workflow.readers import look_up, steps_for
from ovforge.workflow.steps import StepStatus, Workspace, step_state


@by_keywords(WorkflowOptions)
def prepare(options: WorkflowOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Run what is due. A step that fails does not stop those that can do without it; they are named in the end.

    Steps that were interrupted resume; stale outputs are replaced. With `options.reader`, the steps are those that
    lead to the files which that reader's configuration names.

    Raises:
        MissingInputError: `options.root` is not a folder.
        WorkError: steps failed; everything else that could be done is done.
    """
    workspace = Workspace(options.root, {state.key: state for state in doctor(options).inputs})
    drops = Drops()
    outputs: dict[str, str] = {}
    notes: list[str] = []
    parts: list[StepSummary] = []
    failures: dict[str, OvforgeError] = {}
    counts = dict.fromkeys(("steps run", "steps done before", "steps blocked"), 0)
    for step in steps_for(options):
        state = step_state(step, workspace)
        if state.is_due:
            try:
                summary = step.run(options, state.status is StepStatus.STALE, progress)
            except OvforgeError as error:
                failures[step.name] = error
            else:
                counts["steps run"] += 1
                drops.merge(summary.drops, listed=True)
                parts.append(structs.replace(summary, step=step.name.partition(" --")[0], next_command=""))
                outputs |= {f"{step.name}: {what}": path for what, path in summary.outputs.items()}
                if step.name == "imagenet prepare":  # what was an archive is now a tree of classes
                    inputs = {one.key: one for one in doctor(options).inputs}
                    workspace = Workspace(options.root, inputs, workspace.steps)
                state = step_state(step, workspace)
        else:
            counts["steps done before" if state.status is StepStatus.DONE else "steps blocked"] += 1
            if state.status is StepStatus.BLOCKED:
                notes.append(f"{step.name}: waits for {', '.join(state.missing)}")
        workspace.steps[step.name] = state
    if failures:
        told = "\n".join(f"  {name}: {error.message}" for name, error in failures.items())
        raise WorkError(
            f"{len(failures)} of the steps failed:\n{told}",
            hint="the other steps are done; run one of these by itself with --debug to see more",
        )
    if options.reader is not None:
        files = look_up(options)
        counts["files of the reader"] = len(files)
        counts["files still missing"] = sum(not file.present for file in files)
    after = doctor(options)
    return StepSummary(
        step="prepare",
        outputs=outputs,
        counts=counts,
        drops=drops.freeze(),
        notes=tuple(notes),
        parts=tuple(parts),
        next_command="" if after.next_command.startswith("ovforge prepare") else after.next_command,
    )
