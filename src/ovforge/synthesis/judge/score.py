"""`pairs score`: what a judge says of every object in every second view of a merged run.

The work is a run over the images, in a folder beside the output: `NAME.scores.run`. Whoever finds it complete writes
`NAME.scores.json` and takes the folder away; `pairs annotate` puts what is in it into its file.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge import __version__
from ovforge.errors import InputError, MissingInputError, WorkError
from ovforge.files.atomic import check_output, temporary_path, write_bytes
from ovforge.options.judge import ScoreOptions
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.reporting import Progress, StepSummary, no_progress
from ovforge.records.run_layout import MANIFEST, check_run_name, merged_files, run_command, tracks_file
from ovforge.records.scores import FORMAT, Scores, ViewScores
from ovforge.runs.executors.base import Executor
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.runs.plan import Plan, input_file, plan_if_any
from ovforge.runs.run import RunResult, ShardSelection, run_plan
from ovforge.synthesis.image_table import ImageTable, read_images
from ovforge.synthesis.judge.score_task import ScoreTask
from ovforge.synthesis.pair_file import read_about, read_lines
from ovforge.synthesis.run_inputs import check_annotations, planned_annotations
from ovforge.vision.loading import describe_model
from ovforge.vision.model_folder import DETECT, IMAGE, check_vision_folder

IMAGES_A_SHARD = 64
_HEAD = len(b'{"pairs": [\n')


def scores_path(folder: Path, name: str) -> Path:
    """Where the scores of a merged run are."""
    return folder / f"{name}.scores.json"


def score_pairs(
    options: ScoreOptions,
    executor: Executor | None = None,
    *,
    shards: ShardSelection | None = None,
    progress: Progress = no_progress,
) -> StepSummary:
    """Score every object in every second view of a merged run.

    Args:
        options: which run, which models.
        executor: who does the work. None: this process.
        shards: only one part of the shards (several processes share the work).

    Raises:
        MissingInputError: the merged files, the annotation file or a model are not there.
        InputError: they cannot be used, or do not belong together.
        OutputExistsError: the scores are there and `overwrite` is false.
        WorkError: shards failed; the others are done and stay.
    """
    out = scores_path(options.folder, options.name)
    check_output(out, overwrite=options.overwrite)
    before = _stamp(out)
    result: RunResult | None = None
    check_run_name(options.folder, options.name)
    merged = merged_files(options.folder, options.name)
    for needed, what in ((merged.h5, "the merged images"), (merged.pairs, "the records of the merged run")):
        if not needed.is_file():
            merge = run_command("merge", options.folder, options.name)
            raise MissingInputError(
                needed,
                what=what,
                hint=f"`{merge}` makes them; runs of the original scripts have no records",
            )
    models = _models(options)
    run_folder = options.folder / options.name
    made_by = plan_if_any(run_folder)
    annotations = planned_annotations(options.annotations, made_by, run_folder)
    check_annotations(annotations, made_by)
    about = read_about(merged.pairs)
    if int(about.options.get("frames", 2)) > 2:
        raise InputError(
            f"{options.name}: is a run of clips; only pairs can be scored",
            hint="a clip's objects are the photograph's own pixels: nothing repainted them",
        )
    starts, stops = _line_spans(merged.pairs)
    table = read_images(
        annotations, None, variants=1, limit=about.images, box_masks=bool(about.options.get("boxes_as_masks"))
    )
    try:
        _check_table(table, starts, merged.pairs)
        task = ScoreTask(
            table,
            merged.h5.absolute(),
            merged.pairs.absolute(),
            starts,
            stops,
            options.vision_model,
            options.detector_model,
            options.threads,
        )
        plan = Plan(
            task="pair scores",
            items=len(table),
            shard_size=IMAGES_A_SHARD,
            options={"models": models},
            inputs={"pairs": input_file(merged.pairs), "annotations": input_file(annotations)},
            versions={"ovforge": __version__, "opencv": str(cv2.__version__)},
        )
        result = run_plan(
            _run_folder(out),
            plan,
            task,
            executor or InProcessExecutor(),
            overwrite=options.overwrite and shards is None,
            shards=shards,
            progress=progress,
        )
        if result.complete:
            _put_together(out, result, merged.pairs.stat().st_size, options)
    except (WorkError, FileNotFoundError):
        if _stamp(out) == before:
            raise
        result = None
    finally:
        table.close()
    if result is None or (not result.complete and _stamp(out) != before):
        if not (_run_folder(out) / MANIFEST).exists():
            _remove(_run_folder(out))  # what this process has left there since
        note = "another process has put the scores together"
        return StepSummary(step="pairs score", outputs={"scores": str(out)}, notes=(note,))
    return _summary(out, options, result)


def _stamp(path: Path) -> tuple[int, int] | None:
    """What tells whether a file was written anew; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def read_scores(path: Path, pairs: Path) -> dict[str, ViewScores]:
    """The scores of a merged run, by the second view's file name.

    Raises:
        InputError: the file is malformed, or of another run than `pairs`.
    """
    try:
        scores = msgspec.json.decode(path.read_bytes(), type=Scores)
    except JSON_ERRORS as error:
        raise InputError(f"{path}: is not what `pairs score` writes ({error})", hint=_AGAIN) from None
    if scores.format != FORMAT:
        raise InputError(f"{path}: has the format '{scores.format}', this release knows '{FORMAT}'", hint=_AGAIN)
    if scores.pairs_size != pairs.stat().st_size:
        raise InputError(f"{path}: was made from another {pairs.name} than the one beside it", hint=_AGAIN)
    return {view.file_name: view for view in scores.views}


_AGAIN = "`ovforge pairs score NAME --overwrite` makes it again"


def _models(options: ScoreOptions) -> dict[str, Any]:
    """What the manifest says of the models; refuses those that cannot be used before any work is done."""
    models = {}
    for role, vision, use in (("vision", options.vision_model, IMAGE), ("detector", options.detector_model, DETECT)):
        if vision is not None:
            models[role] = describe_model(check_vision_folder(vision.folder, use), vision)
    return models


def _line_spans(pairs: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The byte range of every record of a `.pairs.json`."""
    starts, stops = [], []
    at = _HEAD
    for line in read_lines(pairs):
        starts.append(at)
        stops.append(at + len(line))
        at += len(line) + len(b",\n")
    return np.array(starts, np.int64), np.array(stops, np.int64)


def _check_table(table: ImageTable, starts: NDArray[np.int64], pairs: Path) -> None:
    if len(table) != len(starts):
        raise InputError(
            f"{pairs}: has {len(starts):,} images, the annotation file {len(table):,}",
            hint="give the annotation file that the pairs were made from with --annotations=FILE",
        )


def _run_folder(out: Path) -> Path:
    return out.with_name(f"{out.name.removesuffix('.json')}.run")


def _put_together(out: Path, result: RunResult, pairs_size: int, options: ScoreOptions) -> None:
    views = [view for path in result.shard_files for view in _decode(path)]
    named = {"vision": options.vision, "detector": options.detector}
    models = {role: folder.resolve().name for role, folder in named.items() if folder is not None}
    write_bytes(out, msgspec.json.encode(Scores(FORMAT, pairs_size, models, tuple(views))), overwrite=True)
    _remove(_run_folder(out))


def _remove(folder: Path) -> None:
    """Take the run's folder away, in one step."""
    leaving = temporary_path(folder)
    with contextlib.suppress(OSError):
        folder.rename(leaving)
        shutil.rmtree(leaving)


def _decode(path: Path) -> list[ViewScores]:
    return msgspec.json.decode(path.read_bytes(), type=list[ViewScores])


def _summary(out: Path, options: ScoreOptions, result: RunResult) -> StepSummary:
    notes = []
    if options.vision is None:
        notes.append("without --vision there is no `same` and no `margin`")
    if options.detector is None:
        notes.append("without --detector there is no `found` and no `extra`")
    total = len(result.plan.shards())
    if not result.complete:
        notes.append(f"{total - len(result.entries):,} of {total:,} shards are still to be done, by other parts")
    again = ["--overwrite"] if tracks_file(options.folder, options.name).exists() else []
    return StepSummary(
        step="pairs score",
        outputs={"scores": str(out)} if result.complete else {},
        counts={"images": result.items, **result.counts},
        drops=result.drops,
        notes=tuple(notes),
        next_command=(
            run_command("annotate", options.folder, options.name, *again, reject="RULE")
            if result.complete
            else "the same command again, when the other parts are done"
        ),
    )
