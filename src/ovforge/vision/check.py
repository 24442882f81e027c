"""`exemplars check`: look-alikes, odd ones out, and classes that their exemplars do not tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.errors import InputError, MissingInputError
from ovforge.files.atomic import check_output, write_bytes
from ovforge.options.base import by_keywords
from ovforge.options.vision import CheckOptions
from ovforge.records.coverage import Coverage
from ovforge.records.exemplar import Exemplar
from ovforge.records.exemplar_check import CheckedClass, ConfusedClass, ExemplarCheck, NearDuplicate, Outlier
from ovforge.records.features import feature_key
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress, shell_command
from ovforge.sources.exemplars import DrawnClass, read_drawn
from ovforge.sources.features import FeatureFolder
from ovforge.vision.class_texts import TextCategory, class_texts, read_categories
from ovforge.vision.classifier_rows import mean_rows, normalised
from ovforge.vision.exemplar_statistics import leave_one_out, near_duplicates, outliers
from ovforge.vision.features import FeatureModel
from ovforge.vision.model_folder import TEXT

_TRAIN, _VAL = 1, 2
_DIGITS = 4


@dataclass(frozen=True)
class _Entry:
    """One exemplar of one class, wherever it was drawn."""

    exemplar: Exemplar
    label: int
    splits: int


@by_keywords(CheckOptions)
def check_exemplars(options: CheckOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Look at the exemplars' features and write down what someone should look at.

    Raises:
        InputError: an input is missing or malformed, or no exemplar has a feature.
        OutputExistsError: the report is there and `overwrite` is false.
    """
    check_output(options.report, overwrite=options.overwrite)
    coverage = None if options.coverage is None else _read_coverage(options.coverage)
    categories = read_categories(options.categories)
    features = FeatureFolder(options.features)
    drops = Drops()
    entries = _entries(options, categories, features, drops)
    found = features.take([feature_key(entry.exemplar) for entry in entries])
    labels = np.array([entry.label for entry in entries], np.int64)
    progress("classes", 0, 1)
    sorted_in = leave_one_out(found, labels, len(categories))
    odd = outliers(sorted_in.own, labels, options.deviations)
    progress("classes", 1, 1)
    progress("near-duplicates", 0, 1)
    alike = _duplicates(entries, found, categories, options.similarity)
    progress("near-duplicates", 1, 1)
    accuracies = _accuracies(sorted_in.nearest, labels, len(categories))
    countable = np.bincount(labels, minlength=len(categories))[labels] > 1
    report = ExemplarCheck(
        model={} if features.settings is None else features.settings.model,
        exemplars=len(entries),
        leave_one_out=_rounded((sorted_in.nearest == labels)[countable]),
        duplicates=tuple(alike),
        outliers=tuple(
            Outlier(
                exemplar=entries[row].exemplar.identity,
                synset=categories[labels[row]].synset,
                similarity=round(float(sorted_in.own[row]), _DIGITS),
                usual=round(float(np.median(sorted_in.own[labels == labels[row]])), _DIGITS),
                nearest=categories[sorted_in.nearest[row]].synset,
            )
            for row in odd.tolist()
        ),
        confused=tuple(_confused(options, categories, found, labels)),
        classes=tuple(
            CheckedClass(each.id, each.name, each.synset, int(count), accuracy)
            for each, count, accuracy in zip(
                categories, np.bincount(labels, minlength=len(categories)), accuracies, strict=True
            )
        ),
    )
    write_bytes(options.report, msgspec.json.format(msgspec.json.encode(report)) + b"\n", overwrite=options.overwrite)
    outputs = {"report": str(options.report)}
    if coverage is not None and options.coverage is not None:
        _add_to_coverage(options.coverage, coverage, report)
        outputs["coverage report"] = str(options.coverage)
    return StepSummary(
        step="exemplars check",
        outputs=outputs,
        counts={
            "classes": len(categories),
            "exemplars": len(entries),
            "leave-one-out accuracy": report.leave_one_out,
            "near-duplicates": len(report.duplicates),
            "of these in train and val": sum(each.across for each in report.duplicates),
            "outliers": len(report.outliers),
            **({"classes nearer to another's text": len(report.confused)} if options.vision is not None else {}),
        },
        drops=drops.freeze(),
        notes=() if options.vision is not None else ("without --vision no texts are compared",),
        next_command=shell_command("ovforge", "exemplars", "view", options.exemplars, check=options.out),
    )


def _entries(
    options: CheckOptions, categories: Sequence[TextCategory], features: FeatureFolder, drops: Drops
) -> list[_Entry]:
    """Every exemplar of every class once, with the lists that it is in."""
    by_synset = {category.synset: row for row, category in enumerate(categories) if category.synset}
    by_id = {category.id: row for row, category in enumerate(categories)}
    splits: dict[tuple[int, str], int] = {}
    exemplars: dict[tuple[int, str], Exemplar] = {}

    def add(drawn: DrawnClass, row: int, place: int, exemplar: Exemplar, *, only: int | None) -> None:
        key = feature_key(exemplar)
        if key not in features:
            drops.add("exemplar", "has no feature", exemplar.identity)
            return
        # One list is cut into train and val by `exemplars crop --form split`.
        split = only if only is not None else _TRAIN if place < options.train_shots else _VAL
        splits[row, key] = splits.get((row, key), 0) | split
        exemplars[row, key] = exemplar

    two_lists = options.train_exemplars is not None
    for path, split in ((options.exemplars, _VAL if two_lists else None), (options.train_exemplars, _TRAIN)):
        for drawn in () if path is None else read_drawn(path):
            row = by_synset.get(drawn.synset) if drawn.synset is not None else None
            if drawn.synset is None and drawn.category_id is not None:
                row = by_id.get(drawn.category_id)
            if row is None:
                if drawn.records:
                    drops.add("class", "is none of the categories", drawn.synset or drawn.category_id)
                continue
            for place, record in enumerate(drawn.records):
                add(drawn, row, place, record.key, only=split)
    if not exemplars:
        raise InputError(
            f"{options.features}: has no feature of any exemplar of {options.exemplars}",
            hint=f"`{shell_command('ovforge', 'exemplars', 'embed', options.exemplars)}` makes them",
        )
    return [_Entry(exemplars[place], place[0], splits[place]) for place in sorted(exemplars)]


def _duplicates(
    entries: Sequence[_Entry], features: NDArray[np.float32], categories: Sequence[TextCategory], similarity: float
) -> list[NearDuplicate]:
    synsets = [categories[entry.label].synset for entry in entries]
    # The same exemplar in both lists is one entry here: it is as like itself as can be.
    found = [
        NearDuplicate(entry.exemplar.identity, entry.exemplar.identity, 1.0, (synset, synset), across=True)
        for entry, synset in zip(entries, synsets, strict=True)
        if entry.splits == _TRAIN | _VAL
    ]
    for one, other, cosine in near_duplicates(features, similarity):
        first, second = entries[one], entries[other]
        if first.label != second.label and first.exemplar.identity == second.exemplar.identity:
            continue  # one exemplar of two classes: a substitute
        across = bool(
            (first.splits & _TRAIN and second.splits & _VAL) or (first.splits & _VAL and second.splits & _TRAIN)
        )
        identities = first.exemplar.identity, second.exemplar.identity
        found.append(NearDuplicate(*identities, round(cosine, _DIGITS), (synsets[one], synsets[other]), across))
    return found


def _accuracies(nearest: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> list[float | None]:
    counts = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[nearest == labels], minlength=classes)
    return [
        round(int(hit) / int(count), _DIGITS) if count > 1 else None for hit, count in zip(hits, counts, strict=True)
    ]


def _confused(
    options: CheckOptions, categories: Sequence[TextCategory], features: NDArray[np.float32], labels: NDArray[np.int64]
) -> list[ConfusedClass]:
    if options.model is None:
        return []
    model = FeatureModel(options.model, use=TEXT)
    texts = class_texts(categories, options.templates, options.descriptions)
    text = normalised(mean_rows(model.embed_texts([one for each in texts for one in each]), [len(t) for t in texts]))
    if text.shape[1] != features.shape[1]:
        raise InputError(
            f"{options.features}: features of {features.shape[1]} numbers, texts of {text.shape[1]}",
            hint="give the model that the features were made with as --vision=DIR",
        )
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=len(categories))
    image = normalised(mean_rows(features[order], counts.tolist()))
    similarity = image @ text.T
    found = []
    for row in np.flatnonzero(counts).tolist():
        best = int(similarity[row].argmax())
        if best != row:
            found.append(
                ConfusedClass(
                    synset=categories[row].synset,
                    nearest=categories[best].synset,
                    similarity=round(float(similarity[row, best]), _DIGITS),
                    own_similarity=round(float(similarity[row, row]), _DIGITS),
                    own_rank=1 + int((similarity[row] > similarity[row, row]).sum()),
                )
            )
    return found


def _rounded(hits: NDArray[np.bool_]) -> float | None:
    return round(float(hits.mean()), _DIGITS) if len(hits) else None


def _read_coverage(path: Path) -> Coverage:
    if not path.is_file():
        raise MissingInputError(path, what="coverage report", hint="`ovforge exemplars collate` writes it")
    try:
        return msgspec.json.decode(path.read_bytes(), type=Coverage)
    except JSON_ERRORS as error:
        hint = "`ovforge exemplars collate` writes it"
        raise InputError(f"{path}: is not a coverage report ({error})", hint=hint) from None


def _add_to_coverage(path: Path, coverage: Coverage, report: ExemplarCheck) -> None:
    accuracies = {each.synset: each.leave_one_out for each in report.classes}
    classes = tuple(
        msgspec.structs.replace(each, leave_one_out=accuracies.get(each.synset, each.leave_one_out))
        for each in coverage.classes
    )
    changed = msgspec.structs.replace(coverage, classes=classes)
    write_bytes(path, msgspec.json.format(msgspec.json.encode(changed)) + b"\n", overwrite=True)
