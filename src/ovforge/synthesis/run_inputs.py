"""The inputs of a pairs run, found and compared by content: for resuming, merging, annotating and replaying alike."""

from __future__ import annotations

from pathlib import Path

from ovforge.errors import InputError, MissingInputError
from ovforge.options.tracks import PAIRS_ANNOTATIONS
from ovforge.runs.plan import Plan, file_sha256, find_input


def planned_annotations(annotations: Path | None, plan: Plan | None, run_folder: Path | None = None) -> Path:
    """The annotation file that a run was made from: as given, or where the run last saw it, or the default place.

    Raises:
        MissingInputError: it is not there; names every place that was looked at.
    """
    if plan is not None and "annotations" in plan.inputs and (annotations is None or annotations.exists()):
        folder = run_folder if run_folder is not None else Path(plan.folder or ".")
        return find_input(plan, "annotations", folder, given=annotations, default=PAIRS_ANNOTATIONS)
    path = annotations or PAIRS_ANNOTATIONS
    if not path.is_file():
        raise MissingInputError(
            path, what="the annotation file that the pairs were made from", hint="say where it is with --annotations"
        )
    return path


def check_annotations(path: Path, plan: Plan | None) -> None:
    """Refuse another annotation file than the plan's, by its size and hash.

    Raises:
        InputError: the plan speaks of a file with other bytes.
    """
    noted = plan.inputs.get("annotations") if plan is not None else None
    if noted is not None and (path.stat().st_size != noted.size or file_sha256(path) != noted.sha256):
        raise InputError(
            f"{path}: is not the file that the run was started with (sha256 {noted.sha256[:12]}, {noted.size:,} bytes)",
            hint="give that file with --annotations; a corrected one is taken over by `ovforge pairs generate NAME "
            "--ann FILE`, which makes only those images again whose objects or size have changed",
        )
