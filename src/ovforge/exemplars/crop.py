"""Cuts sampled exemplars out of their images, class by class, as a run: whoever does it, stopped or shared out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec

from ovforge.errors import ImageError, InputError, MissingImageError, MissingInputError, OutputExistsError
from ovforge.exemplars.crop_plan import PlannedClass, PlannedCrop, lists_share_their_images, plan_crops, samples_of
from ovforge.exemplars.sheet import draw_sheet
from ovforge.files.atomic import write_bytes
from ovforge.files.small_files import has_size, remove_stale_files, write_small_file
from ovforge.image_io.codec import apply_orientation
from ovforge.image_io.header import read_orientation
from ovforge.options.base import by_keywords
from ovforge.options.exemplars import CropForm, CropOptions, ExemplarIndexOptions
from ovforge.records.crops import CLASSES_FILE, CropIndex, CroppedClass
from ovforge.records.exemplar import DATASETS, IMAGENET, LVIS, VISUAL_GENOME
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress, require_some, shell_command
from ovforge.records.run_layout import MANIFEST, SHARDS
from ovforge.runs.executors.base import Executor
from ovforge.runs.executors.local import LocalExecutor, available_cores
from ovforge.runs.plan import Plan, input_file
from ovforge.runs.run import ShardSelection, run_plan
from ovforge.runs.task import Shard, ShardReport, Slot, Worker
from ovforge.sources.crop_image import Crop, EmptyBoxError, SourceImage, cut_out, decode
from ovforge.sources.exemplar_images import ExemplarImages, missing_hint

RUN_FOLDER = "run"
SPLITS = ("train", "val", "all")
SHEETS = "sheets"
REPLACING = ".replacing"
"""An empty file that is there while crops are made again over those of an earlier run."""
CLASSES_A_SHARD = 4
IMAGES_TRIED = 20
"""Images of a data set that are looked for before the work; if none is there, the folder is the wrong one."""
_OURS = re.compile(rf"((train|val)_)?\d+_({'|'.join(DATASETS)})_.+")


@by_keywords(CropOptions)
def crop_exemplars(
    options: CropOptions,
    executor: Executor | None = None,
    *,
    shards: ShardSelection | None = None,
    progress: Progress = no_progress,
) -> StepSummary:
    """Cut out all sampled exemplars and write `classes.json`, which says which folder is which class.

    The form `split` makes `train`, `val` and `all` from one list, with the category ids as folders; the form `lists`
    makes `val` and `train` from two lists, with places in the list as folders. Whole ImageNet images are copied
    as they are.

    Args:
        options: what to cut, and where to.
        executor: who does the work; it has no influence on the result. None: a process per core.
        shards: only one part of the shards (several processes share the work); `classes.json` is written by whoever
            finds all of them done.

    Raises:
        InputError: a bad option or list, or none of a data set's images is where they were looked for.
        OutputExistsError: the folder holds crops of something else and `overwrite` is false.
        PlanMismatchError: the crops there were begun with other options or lists.
        WorkError: some classes failed; the others are done.
    """
    _check(options)
    classes = plan_crops(options)
    require_some(sum(len(each.crops) for each in classes), "exemplar", options.exemplars, "in any of its classes")
    _check_images(classes, options)
    run_folder = options.output / RUN_FOLDER
    plan = _plan(classes, options)
    replaced = options.overwrite or (options.output / REPLACING).exists()
    if not options.overwrite:
        _ask_again_for_lost_crops(options.output, (shards or ShardSelection()).of(plan.shards()))
    _remove_stale_files(options.output)
    result = run_plan(
        run_folder,
        plan,
        CropTask(options),
        executor or LocalExecutor(available_cores()),
        overwrite=options.overwrite,
        shards=shards,
        progress=progress,
    )
    done = [each for path in result.shard_files for each in _read_receipt(path)]
    notes = []
    if options.form is CropForm.SPLIT:
        notes.append("folders are category ids, from 1; OVMR numbers classes from 0: --form lists is its form")
    if lists_share_their_images(options):
        notes.append("train and val are made from the same list, so they hold the same images")
    if result.done_before:
        asked_for = (shards or ShardSelection()).of(plan.shards())
        notes.append(f"{result.done_before:,} of {len(asked_for):,} shards were done before")
    outputs = {"crops": str(options.output)}
    split_counts = {split: sum(len(each.of(split)) for each in done) for split in SPLITS}
    if result.complete:
        require_some(sum(split_counts.values()), "exemplar", options.output, "whose image can be read")
        if replaced:
            _remove_stale(options.output, {path for each in done for path in each.files})
        index = msgspec.json.format(msgspec.json.encode(CropIndex(options.form.value, tuple(done)))) + b"\n"
        write_bytes(options.output / CLASSES_FILE, index, overwrite=True)
        (options.output / REPLACING).unlink(missing_ok=True)
        outputs["classes"] = str(options.output / CLASSES_FILE)
    else:
        notes.append(
            f"{len(result.entries):,} of {len(plan.shards()):,} shards are done; "
            f"{CLASSES_FILE} comes with the last of the other parts"
        )
    if options.sheet:
        outputs["contact sheets"] = str(options.output / SHEETS)
    return StepSummary(
        step="exemplars crop",
        outputs=outputs,
        counts={
            "classes": len(done),
            **{f"images in {split}": count for split, count in split_counts.items() if count},
            "exemplars cut out": result.counts.get("cut", 0),
            "exemplars copied whole": result.counts.get("copied", 0),
        },
        drops=result.drops,
        notes=tuple(notes),
        next_command=(
            shell_command("ovforge", "exemplars", "index", crops=options.output, split=_split_to_list(split_counts))
            if result.complete
            else "the same command again, when the other parts are done"
        ),
    )


def _split_to_list(counts: dict[str, int]) -> str | None:
    """The split to be listed next where it is not the default: small K leave nothing for val."""
    return (
        None
        if counts.get(ExemplarIndexOptions.split)
        else next((split for split, count in counts.items() if count), None)
    )


@dataclass
class CropTask:
    """The crops as a task of a run: items are classes, a shard's file is the receipt of the crops it wrote."""

    options: CropOptions
    shard_suffix: str = ".json"

    def open(self, slot: Slot) -> Worker:
        """Open the images in this process."""
        cv2.setNumThreads(1)  # the cores are the other workers'
        return _Cropper(self.options)


class _Cropper:
    def __init__(self, options: CropOptions) -> None:
        self._options = options
        self._classes = plan_crops(options)
        self._images = ExemplarImages(_roots(self._classes, options))

    def run(self, shard: Shard, out: Path) -> ShardReport:
        """Write the crops of the shard's classes, then the receipt."""
        if self._options.overwrite:
            (self._options.output / REPLACING).touch()
            (self._options.output / CLASSES_FILE).unlink(missing_ok=True)  # from here on the crops are unfinished
        drops = Drops(keep_names=True)
        counts = {"cut": 0, "copied": 0}
        receipt = [
            _write_class(each, self._options, self._images, drops, counts)
            for each in self._classes[shard.start : shard.stop]
        ]
        out.write_bytes(msgspec.json.encode(receipt))
        return ShardReport(items=len(receipt), counts=counts, drops=drops.freeze())

    def close(self) -> None:
        """Close the images."""
        self._images.close()


def _write_class(
    planned: PlannedClass, options: CropOptions, images: ExemplarImages, drops: Drops, counts: dict[str, int]
) -> CroppedClass:
    made: dict[str, Crop | None] = {}  # an exemplar may be drawn many times: it is cut once
    files: dict[str, int] = {}
    shown: list[tuple[PlannedCrop, Crop]] = []
    for planned_crop in planned.crops:
        identity = planned_crop.exemplar.identity
        if identity not in made:
            made[identity] = _crop(planned_crop, options, images, drops)
        if (crop := made[identity]) is None:
            continue
        counts["copied" if crop.is_copy else "cut"] += 1
        shown.append((planned_crop, crop))
        for file in planned_crop.files:
            write_small_file(options.output / file, crop.data)
            files[file] = len(crop.data)
    if options.sheet and shown:
        sheet = draw_sheet(f"{planned.title}, {len(shown)} exemplars", [_tile(*pair) for pair in shown])
        file = f"{SHEETS}/{planned.folder}.jpg"
        write_small_file(options.output / file, sheet)
        files[file] = len(sheet)
    return CroppedClass(planned.folder, planned.category_id, planned.synset, files)


def _crop(planned: PlannedCrop, options: CropOptions, images: ExemplarImages, drops: Drops) -> Crop | None:
    exemplar = planned.exemplar
    try:
        data = images.read(exemplar.dataset, exemplar.file_name)
        return cut_out(
            data,
            exemplar,
            exemplar.file_name,
            context=options.context,
            square=options.square,
            quality=options.quality,
        )
    except EmptyBoxError:
        drops.add("exemplar", "its box is empty or outside its image", exemplar.identity)
    except MissingImageError:
        drops.add("exemplar", "its image is missing", exemplar.identity)
    except ImageError as error:
        drops.add("exemplar", f"its image {error.reason}", exemplar.identity, place=error.detail)
    return None


def _tile(planned: PlannedCrop, crop: Crop) -> tuple[str, str, SourceImage]:
    name = planned.exemplar.file_name
    split, _, rest = planned.files[-1].partition("/")
    number = re.sub(r"^(train|val)_", "", rest.rpartition("/")[2]).partition("_")[0]
    upright = apply_orientation(decode(crop.data, name), read_orientation(crop.data, name))
    return f"{split} {number} {planned.exemplar.dataset}", name.rpartition("/")[2], upright


def _check(options: CropOptions) -> None:
    if options.form is CropForm.SPLIT and options.train_exemplars is not None:
        raise InputError("the form split makes train and val from one list", hint="choose --form=lists for two")
    if options.overwrite or (options.output / RUN_FOLDER / MANIFEST).exists():
        return
    if options.output.exists() and not options.output.is_dir():
        raise OutputExistsError(options.output)
    if _is_stopped_before_its_first_shard(options.output):
        return
    for split in SPLITS:
        folder = options.output / split
        if folder.is_dir() and any(folder.iterdir()):
            raise OutputExistsError(folder)


def _is_stopped_before_its_first_shard(output: Path) -> bool:
    """Whether crops were being replaced here by a run that was stopped so early that it left no plan."""
    return (output / REPLACING).exists() and not (output / RUN_FOLDER / MANIFEST).exists()


def _check_images(classes: list[PlannedClass], options: CropOptions) -> None:
    """Look for some images of every data set, so that a wrong folder is an error and not 36,000 drops."""
    images = ExemplarImages(_roots(classes, options))
    try:
        for dataset, root in images.roots.items():
            names = samples_of(classes, dataset, IMAGES_TRIED)
            if not any(images.has(dataset, name) for name in names):
                raise MissingInputError(
                    root, what=f"{names[0]} (nor any other image that was looked for)", hint=missing_hint(dataset)
                )
    finally:
        images.close()


def _roots(classes: list[PlannedClass], options: CropOptions) -> dict[str, Path]:
    used = {crop.exemplar.dataset for each in classes for crop in each.crops}
    roots = {
        LVIS: options.lvis_images,
        IMAGENET: options.imagenet_images,
        VISUAL_GENOME: options.visual_genome_images,
    }
    return {dataset: root for dataset, root in roots.items() if dataset in used}


def _plan(classes: list[PlannedClass], options: CropOptions) -> Plan:
    inputs = {"exemplars": input_file(options.exemplars)}
    if options.form is CropForm.LISTS:
        inputs["train exemplars"] = input_file(options.train_exemplars or options.exemplars)
    return Plan(
        task="exemplar crops",
        items=len(classes),
        shard_size=CLASSES_A_SHARD,
        options={
            "form": options.form.value,
            "context": options.context,
            "square": options.square,
            "quality": options.quality,
            "train_shots": options.train_shots if options.form is CropForm.SPLIT else None,
            "sheet": options.sheet,
        },
        inputs=inputs,
        versions={"opencv": str(cv2.__version__)},
    )


def _ask_again_for_lost_crops(output: Path, shards: list[Shard]) -> None:
    """Strike those of `shards` of which a crop was deleted or cut since, so that they are done once more."""
    for path in (output / RUN_FOLDER / SHARDS / f"{shard.name}.json" for shard in shards):
        if not path.exists():
            continue
        files = {file: size for each in _read_receipt(path) for file, size in each.files.items()}
        if not all(has_size(output / file, size) for file, size in files.items()):
            path.unlink(missing_ok=True)
            (output / CLASSES_FILE).unlink(missing_ok=True)  # until they are made again


def _remove_stale_files(output: Path) -> None:
    for folder in (*(path for split in SPLITS for path in sorted((output / split).glob("*"))), output / SHEETS):
        remove_stale_files(folder)


def _remove_stale(output: Path, kept: set[str]) -> None:
    """Remove the crops of an earlier run that this one did not make; files under other names stay."""
    for split in SPLITS:
        for path in sorted((output / split).glob("*/*")):
            if path.relative_to(output).as_posix() not in kept and _OURS.fullmatch(path.name):
                path.unlink()
                if not any(path.parent.iterdir()):
                    path.parent.rmdir()


def _read_receipt(path: Path) -> Iterator[CroppedClass]:
    try:
        yield from msgspec.json.decode(path.read_bytes(), type=list[CroppedClass])
    except JSON_ERRORS:
        path.unlink(missing_ok=True)  # not whole: the shard is done once more
