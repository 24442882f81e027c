"""Which crops a class gets, and in which files they go."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ovforge.errors import AnnotationFileError, InputError, MissingInputError
from ovforge.exemplars.substitutes import substitutes_of
from ovforge.image_io.read_file import exists
from ovforge.options.exemplars import CropForm, CropOptions
from ovforge.records.exemplar import Exemplar
from ovforge.sources.exemplars import DrawnClass, read_drawn
from ovforge.taxonomy import class_by_id


@dataclass(frozen=True)
class PlannedCrop:
    """One exemplar and the files that show it."""

    exemplar: Exemplar
    files: tuple[str, ...]
    """Paths below the crop folder."""


@dataclass(frozen=True)
class PlannedClass:
    """One class's crops."""

    folder: str
    category_id: int | None
    synset: str | None
    crops: tuple[PlannedCrop, ...]

    @property
    def title(self) -> str:
        """What a contact sheet calls the class."""
        return f"{self.folder}: {self.synset or 'unknown synset'}"


def plan_crops(options: CropOptions) -> list[PlannedClass]:
    """Plan the crops of every class, in file order; the same options and files always give the same plan.

    Raises:
        MissingInputError, AnnotationFileError: a list is not there or malformed.
        InputError: two lists that do not belong together.
    """
    val = _read(options.exemplars)
    if options.form is CropForm.SPLIT:
        return _split_plan(val, options)
    train_path = options.train_exemplars or options.exemplars
    train = _read(train_path)
    if [drawn.synset for drawn in val] != [drawn.synset for drawn in train]:
        raise InputError(
            f"{options.exemplars} has {len(val):,} classes and {train_path} {len(train):,}, or other ones",
            hint="draw both with `ovforge exemplars sample` from the same categories, in the same form",
        )
    return [_lists_class(*pair) for pair in zip(val, train, strict=True)]


def _read(path: Path) -> list[DrawnClass]:
    if not exists(path):
        drawn = sorted(path.parent.glob("lvis_image_exemplar_dict_K-*.json"))
        if drawn:
            raise MissingInputError(
                path,
                what="list of sampled exemplars",
                hint=f"here is {drawn[0]}: give it as --exemplars={drawn[0]}"
                + (f" (or {', '.join(other.name for other in drawn[1:4])})" if len(drawn) > 1 else ""),
            )
    return list(read_drawn(path))


def _split_plan(classes: list[DrawnClass], options: CropOptions) -> list[PlannedClass]:
    """`all` holds everything, `train` the first ten, `val` what comes after and is from no image of these ten."""
    planned = [_split_class(drawn, options.train_shots) for drawn in classes if drawn.records]
    folders = Counter(each.folder for each in planned)
    twice = next((folder for folder, count in folders.items() if count > 1), None)
    if twice is not None:
        raise AnnotationFileError(
            options.exemplars,
            f"two classes have the category id {twice}, so they would share a folder",
            hint="choose --form=lists, whose folders are the places in the list",
        )
    return planned


def _split_class(drawn: DrawnClass, shots: int) -> PlannedClass:
    folder = str(drawn.category_id)
    shown = {record.key.file_name for record in drawn.records[:shots]}
    crops = []
    for place, record in enumerate(drawn.records):
        name = f"{folder}/{place}_{record.key.dataset}_{record.key.image_name}"
        files = [f"all/{name}"]
        if place < shots:
            files.append(f"train/{name}")
        elif record.key.file_name not in shown:
            files.append(f"val/{name}")
        crops.append(PlannedCrop(record.key, tuple(files)))
    return PlannedClass(folder, drawn.category_id, class_synset(drawn), tuple(crops))


def _lists_class(val: DrawnClass, train: DrawnClass) -> PlannedClass:
    folder = str(val.position)
    crops = [
        PlannedCrop(key, (f"{split}/{folder}/{split}_{place}_{key.dataset}_{key.image_name}",))
        for split, drawn in (("val", val), ("train", train))
        for place, key in enumerate(record.key for record in drawn.records)
    ]
    known = val if val.records else train
    return PlannedClass(folder, known.category_id, class_synset(known), tuple(crops))


def class_synset(drawn: DrawnClass) -> str | None:
    """The synset of a drawn class: what the file says, or what its records and the packaged table agree on.

    A record's own synset is the substitute's where it came by one, so one that differs proves nothing.
    """
    if drawn.synset is not None or drawn.category_id is None:
        return drawn.synset
    seen = {record.key.synset for record in drawn.records}
    known = class_by_id().get(drawn.category_id)
    if known is not None and seen <= {known.synset, *substitutes_of(known.synset)}:
        return known.synset
    return seen.pop() if len(seen) == 1 else None


def samples_of(classes: list[PlannedClass], dataset: str, count: int) -> list[str]:
    """At most `count` file names of one data set, spread over the plan, to look whether its images are there."""
    names = sorted({crop.exemplar.file_name for each in classes for crop in each.crops if _is_of(crop, dataset)})
    step = max(1, len(names) // count)
    return names[::step][:count]


def _is_of(crop: PlannedCrop, dataset: str) -> bool:
    return crop.exemplar.dataset == dataset


def lists_share_their_images(options: CropOptions) -> bool:
    """Whether train and val are made from the same list."""
    if options.form is not CropForm.LISTS:
        return False
    other = options.train_exemplars
    return other is None or _same_bytes(other, options.exemplars)


def _same_bytes(one: Path, other: Path) -> bool:
    if one.resolve() == other.resolve():
        return True
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
