"""`pairs replay`: make the second views of one image again, from what the run's manifest says.

Everything that decides a pair stands in the manifest: inputs with their hashes, options, seed, engine, versions. So a
pair can be looked at again, or proven to be what the run made of the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from ovforge.annotation_io.annotation_file import read_records
from ovforge.errors import InputError, MissingInputError, PlanMismatchError
from ovforge.files.atomic import check_output, write_bytes
from ovforge.image_io.hdf5 import ImageReader
from ovforge.image_io.store import open_image_store
from ovforge.options.base import by_keywords
from ovforge.options.pairs import DEFAULT_ANNOTATIONS, DEFAULT_CAPTIONS, DEFAULT_IMAGES
from ovforge.options.replay import ReplayOptions
from ovforge.records.pairs import VariantRecord
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress
from ovforge.records.run_layout import REPLAY, PartitionFiles, check_run_name, find_partitions, view_names
from ovforge.runs.plan import Plan, find_input, input_file, load_plan
from ovforge.synthesis.engines import engine_of_run
from ovforge.synthesis.generate import library_versions, settings_from_description
from ovforge.synthesis.image_table import ImageTable, read_images
from ovforge.synthesis.pair_file import PublishedPair
from ovforge.synthesis.pair_task import finish_views, prepare_image
from ovforge.synthesis.pairs import PairSettings, jobs_of
from ovforge.synthesis.partitions import partition_problem
from ovforge.synthesis.repaint import Engine


@by_keywords(ReplayOptions)
def replay_pair(options: ReplayOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Make all second views of one image again and write them to a folder, with their record.

    Where the run's partition is there, each is compared with the one that it holds.

    Raises:
        MissingInputError: there is no such run, or an input of it is gone.
        PlanMismatchError: an input, the model or a library is not the run's own; names each difference.
        InputError: there is no such image in the run, or it cannot be used.
    """
    del progress
    run_folder = check_run_name(options.folder, options.name)
    plan, _ = load_plan(run_folder)
    places = _Places.of(plan, options)
    engine = engine_of_run(plan, run_folder, model=options.model, device=options.device)
    differences = list(_differences(plan, engine, places))
    if differences and not options.anyway:
        raise PlanMismatchError(
            f"{run_folder}: not as it was when the run was started: {'; '.join(differences)}",
            hint="bring back what the run had, or give --anyway: the pair may then come out otherwise",
        )
    out = options.out or run_folder / REPLAY
    settings = settings_from_description(plan.options, plan.seed)
    table = read_images(
        places.annotations,
        places.captions,
        variants=settings.views,
        frames=settings.frames,
        limit=plan.options["limit"],
        box_masks=plan.options.get("boxes_as_masks", False),
    )
    try:
        index = _position(table, options, settings)
        return _replay(
            table,
            index,
            plan=plan,
            engine=engine,
            options=options,
            out=out,
            images=places.images,
            differences=differences,
        )
    finally:
        table.close()


@dataclass(frozen=True)
class _Places:
    """Where the run's inputs are now."""

    annotations: Path
    captions: Path | None
    images: Path

    @classmethod
    def of(cls, plan: Plan, options: ReplayOptions) -> _Places:
        """Find them all.

        Raises:
            MissingInputError: some are not to be found; names all of them at once.
        """
        folder = options.folder / options.name
        wanted = {
            "annotations": (options.annotations, DEFAULT_ANNOTATIONS),
            "captions": (options.captions, DEFAULT_CAPTIONS),
            "images": (options.images, DEFAULT_IMAGES[-1]),
        }
        found, missing = {}, {}
        for role, (given, default) in wanted.items():
            if role in plan.inputs:
                try:
                    found[role] = find_input(plan, role, folder, given=given, default=default)
                except MissingInputError:
                    missing[role] = given or Path(plan.inputs[role].path)
        if missing:
            raise MissingInputError(
                ", ".join(map(str, missing.values())),
                what=f"the run's {' and '.join(missing)}",
                hint="moved, or on another machine: say where they are now with "
                + " ".join(f"--{role}=PATH" for role in missing),
            )
        return cls(found["annotations"], found.get("captions"), found["images"])


def _replay(
    table: ImageTable,
    index: int,
    *,
    plan: Plan,
    engine: Engine,
    options: ReplayOptions,
    out: Path,
    images: Path,
    differences: list[str],
) -> StepSummary:
    source = table.image(index)
    settings = settings_from_description(plan.options, plan.seed)
    stored, partition = _stored(plan, index, options.folder / options.name)
    names = view_names(source.file_name, settings.views, settings.frames)
    record_path = out / f"{Path(source.file_name).stem}.json"
    for path in (out / source.file_name, record_path, *(out / name for name in names)):
        check_output(path, overwrite=options.overwrite)

    with open_image_store(images) as store:
        data = store.read(source.file_name)
    repainter = _with_batch_size(engine, stored).open(options.device)
    try:
        prepared = prepare_image(source, data, settings, repainter.working_size, table.class_names)
        finished = [
            view
            for planned in prepared.planned
            for view in finish_views(
                prepared, planned, [repainter.repaint([job])[0] for job in jobs_of(planned)], settings
            )
        ]
    finally:
        repainter.close()

    drops = Drops()
    drops.merge(prepared.record.drops)
    views: dict[str, bytes] = {}
    records: list[VariantRecord] = []
    for view, record, given_up in finished:
        views[record.file_name] = view
        records.append(record)
        for kind, reason in given_up:
            drops.add(kind, reason, record.file_name)
    if not finished:  # without a usable object: the second view is the image itself
        records = prepared.record.variants
        views = {record.file_name: data for record in records}

    write_bytes(out / source.file_name, data, overwrite=options.overwrite)
    for name, view in views.items():
        write_bytes(out / name, view, overwrite=options.overwrite)
    whole = msgspec.structs.replace(prepared.record, variants=records)
    write_bytes(record_path, msgspec.json.format(msgspec.json.encode(whole)) + b"\n", overwrite=options.overwrite)

    notes = [f"differs from the run: {difference}" for difference in differences]
    counts: dict[str, Any] = {"second views": len(views)}
    if partition is None or stored is None or not stored.images:
        notes.append("the run holds no such pair yet: nothing to compare with")
    else:
        with ImageReader(partition.h5) as reader:
            counts["equal to the run's, byte for byte"] = sum(reader.read(n) == view for n, view in views.items())
    return StepSummary(
        step="pairs replay",
        outputs={"pair": str(out / f"{Path(source.file_name).stem}*.jpg"), "record": str(record_path)},
        counts=counts,
        drops=drops.freeze(),
        notes=tuple(notes),
    )


def _differences(plan: Plan, engine: Engine, places: _Places) -> Iterator[str]:
    for role, path in (("annotations", places.annotations), ("captions", places.captions)):
        frozen = plan.inputs.get(role)
        if frozen is not None and path is not None and input_file(path).sha256 != frozen.sha256:
            yield f"{path} is not the file that the run was started with"
    before, now = plan.options["engine"], engine.describe()
    # The model and its LoRA files may have moved; their hashes count.
    for key in sorted({*before, *now} - {"model", "lora_files"}):
        if before.get(key) != now.get(key):
            yield f"engine's {key}: {before.get(key)} in the run, {now.get(key)} now"
    versions = library_versions()
    for name in sorted({*plan.versions, *versions}):
        if plan.versions.get(name) != versions.get(name):
            yield f"{name} {plan.versions.get(name)} in the run, {versions.get(name)} now"


def _position(table: ImageTable, options: ReplayOptions, settings: PairSettings) -> int:
    if options.image in table.names:
        return table.names.index(options.image)
    ids = table.ids.tolist()
    if options.image.isdecimal() and int(options.image) in ids:
        return int(ids.index(int(options.image)))
    for index, name in enumerate(table.names):
        if options.image in view_names(name, settings.views, settings.frames):
            return index
    raise InputError(
        f"{options.image}: the run {options.name} has no image of this id or file name",
        hint=f"give an image id of the annotation file, a file name such as {table.names[0]}, or that of a view of it",
    )


def _stored(plan: Plan, index: int, run_folder: Path) -> tuple[PublishedPair | None, PartitionFiles | None]:
    """The pair as the run made it, and the files it is in; None where its partition is not published yet."""
    groups = plan.groups or (plan.items,)
    partition, first = 0, 0
    while index >= first + groups[partition]:
        first += groups[partition]
        partition += 1
    files = find_partitions(run_folder, len(groups))[partition]
    if partition_problem(files):
        return None, None
    for position, record in enumerate(read_records(files.pairs, "pairs", PublishedPair)):
        if position == index - first:
            return record, files
    return None, None


def _with_batch_size(engine: Engine, stored: PublishedPair | None) -> Engine:
    """The engine at the batch size that the pair was made at: `auto` may have found another one on that day."""
    sizes = {variant.engine.get("batch_size") for variant in stored.variants} - {None} if stored is not None else set()
    options = getattr(engine, "options", None)
    if len(sizes) != 1 or options is None:
        return engine
    return replace(engine, options=replace(options, batch_size=sizes.pop()))  # type: ignore[type-var]
