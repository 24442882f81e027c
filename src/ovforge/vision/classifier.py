"""`exemplars classifier`: a detector's classifier from texts, exemplars, or both."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovforge.errors import ImageError, InputError, MissingInputError, PlanMismatchError, ShortageError
from ovforge.files.atomic import check_output, write_bytes
from ovforge.image_io.codec import decode_rgb
from ovforge.options.base import by_keywords
from ovforge.options.vision import (
    ClassifierKind,
    ClassifierLayout,
    ClassifierOptions,
    VisionOptions,
    WithoutExemplars,
    features_folder,
)
from ovforge.records.features import SETTINGS_FILE, feature_key
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress, shell_command
from ovforge.sources.exemplars import DrawnClass, read_drawn
from ovforge.sources.features import FeatureFolder
from ovforge.vision.class_texts import NAMED, TextCategory, class_texts, read_categories
from ovforge.vision.classifier_rows import Rows, fused_rows, fusion_weights, mean_rows, normalised
from ovforge.vision.embed_task import CropSettings, embed_prepared, prepare_crop
from ovforge.vision.features import FeatureModel
from ovforge.vision.loading import describe_model
from ovforge.vision.model_folder import IMAGE, TEXT, check_vision_folder


@dataclass(frozen=True)
class _Exemplars:
    """The features of every class's exemplars, class by class."""

    features: NDArray[np.float32]
    counts: list[int]

    @property
    def labels(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.counts)), self.counts)


@by_keywords(ClassifierOptions)
def make_classifier(options: ClassifierOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Write a classifier of the categories of an annotation file, in the order of their ids.

    Raises:
        InputError: an input is missing or malformed, or exemplars have no feature yet.
        ShortageError: classes have no exemplars and `without_exemplars` is ERROR; names them.
        OutputExistsError: the file is there and `overwrite` is false.
    """
    check_output(options.out, overwrite=options.overwrite)
    kinds = _kinds(options)
    categories = read_categories(options.categories)
    wanted = [*categories, *(_added(name, categories) for name, _ in options.added)]
    drops = Drops()
    model = _load(options, kinds)
    text = image = None
    if ClassifierKind.TEXT in kinds and model is not None:
        progress("texts", 0, 1)
        texts = class_texts(categories, options.templates, options.descriptions)
        # A class of one's own has no description in a published file.
        texts += class_texts(wanted[len(categories) :], options.templates, None)
        text = mean_rows(model.embed_texts([one for each in texts for one in each]), [len(each) for each in texts])
        progress("texts", 1, 1)
    exemplars = None
    if ClassifierKind.IMAGE in kinds:
        exemplars = _exemplars(options, categories, model, drops)
        image = mean_rows(exemplars.features, exemplars.counts)
    without = [] if exemplars is None else [row for row, count in enumerate(exemplars.counts) if not count]
    _check_without(options, wanted, without, has_text=text is not None)
    if text is not None and image is not None and text.shape[1] != image.shape[1]:
        raise InputError(
            f"{options.features}: features of {image.shape[1]} numbers, texts of {text.shape[1]}",
            hint="give the model that the features were made with as --vision=DIR",
        )
    rows = _rows(options.kind, text, image, without)
    data = _as_ovmr(text, image, without, exemplars) if options.layout is ClassifierLayout.OVMR else _as_npy(rows)
    write_bytes(options.out, data, overwrite=options.overwrite)
    return StepSummary(
        step="exemplars classifier",
        outputs={"classifier": str(options.out)},
        counts={
            "classes": len(wanted),
            "dimension": int(rows.shape[1]),
            "exemplars": 0 if exemplars is None else len(exemplars.features),
            "classes by their text alone": len(without),
        },
        drops=drops.freeze(),
        notes=tuple(_notes(wanted, without, len(categories))),
    )


def _kinds(options: ClassifierOptions) -> set[ClassifierKind]:
    """What has to be made: texts, images, or both."""
    both = {ClassifierKind.TEXT, ClassifierKind.IMAGE}
    if options.layout is ClassifierLayout.OVMR or options.kind is ClassifierKind.FUSED:
        return both
    if options.kind is ClassifierKind.IMAGE and options.without_exemplars is WithoutExemplars.TEXT:
        return both
    return {options.kind}


def _load(options: ClassifierOptions, kinds: set[ClassifierKind]) -> FeatureModel | None:
    looks_at_folders = ClassifierKind.IMAGE in kinds and any(folder is not None for _, folder in options.added)
    if ClassifierKind.TEXT not in kinds and not looks_at_folders:
        return None
    if options.model is None:
        raise InputError(
            "no model to read the texts or the images of added classes", hint="give its folder with --vision=DIR"
        )
    return FeatureModel(options.model, use=TEXT if ClassifierKind.TEXT in kinds else IMAGE)


def _added(name: str, categories: Sequence[TextCategory]) -> TextCategory:
    if any(name in (category.name, category.words) for category in categories):
        raise InputError(f"--add={name}: there is a category of this name already", hint="choose another name")
    return TextCategory(id=-1, name=name)


def _exemplars(
    options: ClassifierOptions, categories: Sequence[TextCategory], model: FeatureModel | None, drops: Drops
) -> _Exemplars:
    if options.exemplars is None:
        raise InputError("a classifier from images needs exemplars", hint="give the file that `exemplars sample` wrote")
    folder = options.features
    if folder is None:
        if options.vision is None:
            raise InputError("no features of exemplars", hint="give their folder with --features=FOLDER")
        folder = _default_features(options.vision)
    features = FeatureFolder(folder)
    if model is not None and options.model is not None:
        _check_same_model(features, options.model)
    keys = _keys(options.exemplars, categories, features, drops)
    counts = [len(each) for each in keys]
    parts = [features.take([key for each in keys for key in each])]
    crop = _crop_settings(features)
    for name, images in options.added:
        own = np.zeros((0, features.dimension), np.float32)
        if images is not None and model is not None:
            own = _embed_folder(model, images, crop, drops)
            if not len(own):
                raise InputError(
                    f"{images}: holds no image for the class {name}",
                    hint="put images into the folder, or write NAME= for the name alone",
                )
        parts.append(own)
        counts.append(len(own))
    dimension = max((part.shape[1] for part in parts), default=0)
    empty = np.zeros((0, dimension), np.float32)
    return _Exemplars(np.concatenate([empty, *(part for part in parts if len(part))]), counts)


def _default_features(vision: Path) -> Path:
    """The model's folder of features; that of averaged views, too, is what `embed` makes, but has to be asked for."""
    folder = features_folder(vision, 0)
    others = sorted(folder.parent.glob(f"{folder.name}_augment*/{SETTINGS_FILE}"))
    if others and not (folder / SETTINGS_FILE).is_file():
        hint = " or ".join(f"--features={each.parent}" for each in others)
        raise MissingInputError(folder, what="features of exemplars", hint=f"there are others: {hint}")
    return folder


def _keys(path: Path, categories: Sequence[TextCategory], features: FeatureFolder, drops: Drops) -> list[list[str]]:
    """Every category's exemplars by their keys; one that was drawn twice counts twice, as in MM-OVOD."""
    by_synset: dict[str, DrawnClass] = {}
    by_id: dict[int, DrawnClass] = {}
    for drawn in read_drawn(path):
        if drawn.synset is not None:
            by_synset[drawn.synset] = drawn
        elif drawn.category_id is not None:
            by_id[drawn.category_id] = drawn
    result: list[list[str]] = []
    lacking = 0
    for category in categories:
        found = by_synset.get(category.synset) or by_id.get(category.id)
        keys = [] if found is None else [feature_key(record.key) for record in found.records]
        known = [key for key in keys if key in features]
        lacking += len(keys) - len(known)
        for key in keys:
            if key not in features:
                drops.add("exemplar", "has no feature", key)
        result.append(known)
    if lacking and not any(result):
        raise InputError(
            f"{features.folder}: has no feature of any exemplar of {path}",
            hint=f"`{shell_command('ovforge', 'exemplars', 'embed', path, out=features.folder)}` makes them",
        )
    if not any(result):
        raise InputError(
            f"{path}: none of its classes is among the {len(categories):,} categories",
            hint="one of the two files is probably of another data set",
        )
    return result


def _check_same_model(features: FeatureFolder, vision: VisionOptions) -> None:
    settings = features.settings
    now = describe_model(check_vision_folder(vision.folder, IMAGE), vision)
    if settings is not None and settings.model.get("files") != now["files"]:
        raise PlanMismatchError(
            f"{features.folder}: its features are of the model {settings.model.get('name')}, not of {vision.folder}",
            hint="texts and images have to be seen by one model: give that one with --vision=DIR",
        )


def _crop_settings(features: FeatureFolder) -> CropSettings:
    crop = {} if features.settings is None else features.settings.crop
    return CropSettings(augment=int(crop.get("augment", 0)), seed=int(crop.get("seed", 0)))


def _embed_folder(model: FeatureModel, folder: Path, crop: CropSettings, drops: Drops) -> NDArray[np.float32]:
    """The features of all images of a folder, whole, with the same views as the other exemplars."""
    if not folder.is_dir():
        raise MissingInputError(folder, what="folder of images")

    def prepared() -> Iterable[tuple[str, list[dict[str, NDArray[np.float32]]]]]:
        for path in sorted(folder.iterdir(), key=lambda path: path.name):
            if path.is_dir() or path.name.startswith("."):
                continue
            data = path.read_bytes()
            try:
                pixels = decode_rgb(data, path, upright=True)
            except ImageError as error:
                drops.add("image", error.reason, path, place=error.detail)
                continue
            key = hashlib.sha256(data).hexdigest()
            yield key, prepare_crop(model, pixels, key, crop)

    return embed_prepared(model, iter(prepared()))[1]


def _check_without(
    options: ClassifierOptions, wanted: Sequence[TextCategory], without: Sequence[int], *, has_text: bool
) -> None:
    # A class that was added by its name alone has said so.
    text_alone = {name for name, folder in options.added if folder is None}
    lacking = [wanted[row].name for row in without if wanted[row].name not in text_alone]
    if not without or (has_text and (not lacking or options.without_exemplars is WithoutExemplars.TEXT)):
        return
    lacking = lacking or sorted(text_alone)
    raise ShortageError(
        f"{options.exemplars}: {len(lacking):,} of {len(wanted):,} classes have no exemplar with a feature: "
        f"{_named(lacking)}",
        hint="--without-exemplars=text takes their text alone; `ovforge exemplars embed` makes missing features",
    )


def _rows(kind: ClassifierKind, text: Rows | None, image: Rows | None, without: Sequence[int]) -> Rows:
    if kind is ClassifierKind.TEXT and text is not None:
        return text
    if image is None:
        raise InputError(f"a classifier of the kind {kind.value} needs exemplars")
    if kind is ClassifierKind.IMAGE:
        rows = image.copy()
    elif text is not None:
        rows = fused_rows(text, image)
    else:
        raise InputError("a fused classifier needs texts", hint="give the model with --vision=DIR")
    if without and text is not None:
        # As long as the other rows are: a reader that does not normalise would else favour one kind.
        others = np.linalg.norm(np.delete(rows, without, axis=0), axis=1)
        length = float(others.mean()) if len(others) else 1.0
        rows[list(without)] = normalised(text[list(without)]) * np.float32(length)
    return rows


def _as_npy(rows: Rows) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(rows, np.float32), allow_pickle=False)
    return buffer.getvalue()


def _as_ovmr(text: Rows | None, image: Rows | None, without: Sequence[int], exemplars: _Exemplars | None) -> bytes:
    """OVMR's `mm_classifiers.pt`: its detector does not normalise what it reads, so rows have length 1 here."""
    import torch

    if text is None or image is None or exemplars is None:
        raise InputError(
            "OVMR's file holds classifiers from texts and from images", hint="give --vision=DIR and exemplars"
        )
    image = image.copy()
    image[list(without)] = text[list(without)]
    fused = fused_rows(text, image)
    weights = fusion_weights(exemplars.features, exemplars.labels, text, image, fused)
    buffer = io.BytesIO()
    tables = {
        "text_classifier": normalised(text),
        "vision_classifier": normalised(image),
        "mm_classifier": normalised(fused),
        "fusion_weight": weights,
    }
    torch.save({name: torch.from_numpy(np.ascontiguousarray(table)) for name, table in tables.items()}, buffer)
    return buffer.getvalue()


def _notes(wanted: Sequence[TextCategory], without: Sequence[int], categories: int) -> Iterable[str]:
    if without:
        yield f"no exemplars, so their text alone: {_named([wanted[row].name for row in without])}"
    if len(wanted) > categories:
        names = [category.name for category in wanted[categories:]]
        yield f"added after the {categories:,} categories, from row {categories}: {_named(names)}"


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
