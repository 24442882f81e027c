"""What a step of the whole procedures is, and how each stands: done, ready, stale or blocked.

A step is done when its outputs are there and none is older than what it was made from. Outputs that a user has from
elsewhere (an index or exemplars published with a paper) count like those that ovforge made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import msgspec

from ovforge.options.workflow import WorkflowOptions
from ovforge.records.reporting import Progress, StepSummary
from ovforge.workflow.inventory import InputState

RunStep = Callable[[WorkflowOptions, bool, Progress], StepSummary]
"""run(options, overwrite, progress); paths are taken below `options.root`."""

DETECTION, TRACKING = "detection", "tracking"


class StepStatus(str, Enum):
    """How a step stands."""

    DONE = "done"
    READY = "ready"
    STALE = "stale"
    """Its output is older than one of its inputs."""
    UNFINISHED = "unfinished"
    """It was begun and stopped; it resumes."""
    BLOCKED = "blocked"
    """An input is missing."""


@dataclass(frozen=True)
class Step:
    """One step: what it needs, what it makes, how a user would type it."""

    name: str
    """The command without `ovforge`, with the options that tell it from another of its kind."""
    job: str
    outputs: tuple[Path, ...]
    """The first one tells how old they are: others, such as lists of names, stay as they are where nothing changes."""
    needs: tuple[str, ...]
    """Inputs and earlier steps without which it cannot run."""
    run: RunStep
    uses: tuple[str, ...] = ()
    """Inputs that it takes where they are here."""
    given: tuple[Path, ...] = ()
    """Files from elsewhere that stand in for its output."""
    typed: str = ""
    """The whole command, where it has more to it than the name."""
    makes: str = ""
    """The input that its output is for later steps: it is done when that is there, and whole."""

    @property
    def command(self) -> str:
        """How a user would type it."""
        return self.typed or f"ovforge {self.name}"


class StepState(msgspec.Struct, frozen=True, rename={"status": "standing"}):
    """One step, as it stands. The report of `doctor --json` calls its status `standing`."""

    name: str
    job: str
    status: StepStatus
    command: str
    output: str
    """The output, or the file from elsewhere that stands in for it."""
    missing: tuple[str, ...] = ()
    """Where the missing inputs belong, or which step makes them."""
    without: tuple[str, ...] = ()
    """Where inputs belong that it would use, but can do without."""

    @property
    def is_due(self) -> bool:
        """Whether it can run, and has something to do."""
        return self.status in (StepStatus.READY, StepStatus.STALE, StepStatus.UNFINISHED)


@dataclass(frozen=True)
class Workspace:
    """What there is to decide with: the inputs as found, and the steps' states so far."""

    root: Path
    inputs: Mapping[str, InputState]
    steps: dict[str, StepState] = field(default_factory=dict)


def survey(steps: Iterable[Step], root: Path, inputs: Iterable[InputState]) -> list[StepState]:
    """How every step stands, in order."""
    workspace = Workspace(root, {state.key: state for state in inputs})
    for step in steps:
        workspace.steps[step.name] = step_state(step, workspace)
    return list(workspace.steps.values())


def step_state(step: Step, workspace: Workspace) -> StepState:
    """How one step stands, given the states of those before it."""
    missing = tuple(place for need in step.needs if (place := _missing(need, workspace)))
    without = tuple(place for use in step.uses if (place := _missing(use, workspace)))
    made = [path for path in step.outputs if (workspace.root / path).exists()]
    given = next((path for path in step.given if (workspace.root / path).exists()), None)
    if step.makes:
        whole = workspace.inputs[step.makes]
        given = Path(whole.place) if whole.present else None
        if whole.present:
            status = StepStatus.DONE
        elif missing:
            status = StepStatus.BLOCKED
        else:
            status = StepStatus.UNFINISHED if made else StepStatus.READY
    elif len(made) == len(step.outputs):
        sources = [path for key in (*step.needs, *step.uses) if (path := _path_of(key, workspace)) is not None]
        status = StepStatus.STALE if not missing and _older(workspace.root, made[0], sources) else StepStatus.DONE
    elif given is not None:
        status = StepStatus.DONE
    else:
        status = StepStatus.BLOCKED if missing else StepStatus.READY
    return StepState(
        name=step.name,
        job=step.job,
        status=status,
        command=step.command,
        output=str(given if given is not None and (step.makes or not made) else step.outputs[0]),
        missing=missing if status is StepStatus.BLOCKED else (),
        without=without,
    )


def _missing(key: str, workspace: Workspace) -> str:
    """Where a needed thing belongs, if it is not here; empty if it is."""
    if key in workspace.steps:
        state = workspace.steps[key]
        return "" if state.status in (StepStatus.DONE, StepStatus.STALE) else f"`{state.command}`"
    return "" if workspace.inputs[key].present else workspace.inputs[key].place


def _path_of(key: str, workspace: Workspace) -> Path | None:
    if key in workspace.steps:
        return Path(workspace.steps[key].output)
    return Path(workspace.inputs[key].place) if workspace.inputs[key].present else None


def _older(root: Path, made: Path, sources: list[Path]) -> bool:
    # A folder's own time changes when an entry comes or goes; images below are not looked at one by one.
    newest = max((_time(root / source) for source in sources), default=0)
    # An output may be a link to a file of an earlier step: it is as new as the link.
    return max(_time(root / made), _time(root / made, follow=False)) < newest


def _time(path: Path, *, follow: bool = True) -> int:
    try:
        return path.stat(follow_symlinks=follow).st_mtime_ns
    except OSError:
        return 0
