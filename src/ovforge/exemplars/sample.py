"""K exemplars of every class, drawn by area."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from ovforge.annotation_io.door import read_table
from ovforge.annotation_io.record_edit import edit_record
from ovforge.annotation_io.schema import needed
from ovforge.errors import AnnotationFileError, InputError, ShortageError
from ovforge.exemplars.draw import draw, draw_nested, usable_weights
from ovforge.exemplars.pick import pick_diverse, pick_typical
from ovforge.files.atomic import check_output, write_bytes
from ovforge.options.base import by_keywords
from ovforge.options.exemplars import Pick, SampleOptions, Shortage
from ovforge.records.exemplar import LVIS, VISUAL_GENOME, Exemplar
from ovforge.records.features import feature_key
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress, require_some, shell_command
from ovforge.sources import visual_genome
from ovforge.sources.exemplars import ExemplarDictionary, ExemplarRecord
from ovforge.sources.features import FeatureFolder

NAMED = 5
"""How many short classes a note or an error names."""

_COCO_NAME = re.compile(r"(?:COCO_\w+?_)?(\d{12})\.\w+")

Excluded = Callable[[Exemplar], bool]


class _Category(NamedTuple):
    id: int
    synset: str


@by_keywords(SampleOptions)
def sample_exemplars(options: SampleOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Draw `k` exemplars of every category of `options.categories`, by the area of their boxes.

    The output is a list of one list per category, in the order of the category ids (so it carries no names; with
    `with_names` it is a dictionary keyed by synset). In the drawn records `area` is the area that they were drawn by.

    Raises:
        InputError: a bad option, or a dictionary that knows none of the categories.
        ShortageError: a class is short and `shortage` is ERROR; nothing is written.
        OutputExistsError: `output` exists and `overwrite` is false.
    """
    _check(options)
    dictionary = ExemplarDictionary(options.exemplars)
    categories = _categories(options.categories)
    _check_categories(options, categories, dictionary)
    drops = Drops()
    notes: list[str] = []
    excluded = None if options.exclude is None else _excluded(options.exclude, options, notes)
    features = None if options.pick is Pick.AREA or options.features is None else FeatureFolder(options.features)

    drawn: list[list[str]] = []
    short: dict[str, int] = {}
    for number, category in enumerate(categories):
        progress("classes", number, len(categories))
        records = dictionary.records(category.synset) if category.synset in dictionary else []
        if excluded is not None:
            records = _without(records, excluded, drops)
        if features is not None:
            records = _with_feature(records, features, drops)
        usable = _count_usable(records, drops)
        if usable < options.k:
            short[category.synset] = usable
        if usable == 0:
            drops.warn("synset", "has no exemplar, so its list stays empty", category.synset)
        places = _places(category, records, options) if features is None else _picked(records, features, options)
        drawn.append([_drawn(records[place]) for place in places])
    progress("classes", len(categories), len(categories))

    _report_short(short, options, notes)
    require_some(
        sum(map(len, drawn)),
        "exemplar",
        options.exemplars,
        f"of the classes of {options.categories}",
        hint="" if options.exclude is None else f"exemplars from the images of {options.exclude} do not count",
    )
    lists = [f"[{', '.join(records)}]" for records in drawn]
    if options.with_names:
        named = zip((json.dumps(category.synset) for category in categories), lists, strict=True)
        text = f"{{{', '.join(f'{synset}: {records}' for synset, records in named)}}}"
    else:
        text = f"[{', '.join(lists)}]"
    write_bytes(options.output, text.encode(), overwrite=options.overwrite)
    return StepSummary(
        step="exemplars sample",
        outputs={"exemplars": str(options.output)},
        counts={
            "classes": len(drawn),
            "exemplars": sum(map(len, drawn)),
            f"classes with fewer than {options.k}": len(short),
            "empty classes": sum(not records for records in drawn),
        },
        drops=drops.freeze(),
        notes=tuple(notes),
        next_command=shell_command("ovforge", "exemplars", "crop", exemplars=options.output),
    )


def _check(options: SampleOptions) -> None:
    check_output(options.output, overwrite=options.overwrite)
    if options.k < 1:
        raise InputError(f"K is {options.k}: draw at least one exemplar a class")
    if options.seed < 0:
        raise InputError(f"the seed is {options.seed}: give 0 or more")
    if options.nested and options.shortage is Shortage.REDRAW:
        raise InputError(
            "a nested draw cannot be drawn again as a whole when a class is short",
            hint="give --shortage=repeat, --shortage=fewer or --shortage=error with --nested",
        )
    if options.pick is not Pick.AREA:
        if options.features is None:
            raise InputError(
                f"--pick={options.pick.value} needs the exemplars' features",
                hint="`ovforge exemplars embed` makes them; give their folder with --features=FOLDER",
            )
        if options.shortage is Shortage.REDRAW:
            raise InputError(
                f"--pick={options.pick.value} draws nothing, so nothing can be drawn again",
                hint="give --shortage=repeat, --shortage=fewer or --shortage=error with --pick=typical",
            )


def _categories(path: Path) -> list[_Category]:
    """The classes, by their ids."""
    table = read_table(path, "categories", "synset")
    for index in np.flatnonzero([not synset for synset in table["synset"]])[:1].tolist():
        raise table.error(index, f"has no synset: it needs {needed('categories', 'synset')}")
    return sorted(map(_Category, table["id"].tolist(), table["synset"].tolist()))


def _check_categories(options: SampleOptions, categories: list[_Category], dictionary: ExemplarDictionary) -> None:
    if not categories:
        raise AnnotationFileError(options.categories, '"categories" is empty')
    if not any(category.synset in dictionary for category in categories):
        raise InputError(
            f"{options.exemplars}: none of the {len(categories):,} synsets of {options.categories} is in it",
            hint="one of the two files is probably of another data set",
        )
    synsets = [category.synset for category in categories]
    if options.with_names and len(set(synsets)) < len(synsets):
        twice = next(synset for synset in synsets if synsets.count(synset) > 1)
        raise AnnotationFileError(
            options.categories,
            f"two categories have the synset {twice}, so a dictionary keyed by synset cannot hold both",
            hint="leave --with-names out",
        )


def _places(category: _Category, records: list[ExemplarRecord], options: SampleOptions) -> list[int]:
    areas = [record.key.area for record in records]
    if not options.nested:
        return draw(areas, options.k, seed=options.seed, shortage=options.shortage)
    identities = [f"{category.synset}:{record.key.identity}" for record in records]
    return draw_nested(identities, areas, options.k, seed=options.seed, shortage=options.shortage)


def _picked(records: list[ExemplarRecord], features: FeatureFolder, options: SampleOptions) -> list[int]:
    """Places by what the exemplars look like; those whose box has no area are not picked."""
    weights = usable_weights([record.key.area for record in records])
    usable = [place for place, weight in enumerate(weights.tolist()) if weight > 0]
    keys = [feature_key(records[place].key) for place in usable]
    rule = pick_typical if options.pick is Pick.TYPICAL else pick_diverse
    picked = [usable[place] for place in rule(features.take(keys), keys, options.k)]
    if options.shortage is Shortage.REPEAT and picked:
        return [picked[turn % len(picked)] for turn in range(options.k)]
    return picked


def _with_feature(records: list[ExemplarRecord], features: FeatureFolder, drops: Drops) -> list[ExemplarRecord]:
    kept = []
    for record in records:
        if feature_key(record.key) in features:
            kept.append(record)
        else:
            drops.add("exemplar", "has no feature", record.key.identity)
    return kept


def _drawn(record: ExemplarRecord) -> str:
    """The record as JSON, with the area that it was drawn by."""
    try:
        fields = record.fields()
    except msgspec.ValidationError:  # a number that no float can hold, in a field that nobody uses: its bytes stay
        return edit_record(record.raw, {"area": json.dumps(record.key.area).encode()}).decode()
    fields["area"] = record.key.area
    return json.dumps(fields)


def _count_usable(records: list[ExemplarRecord], drops: Drops) -> int:
    weights = usable_weights([record.key.area for record in records])
    for record, weight in zip(records, weights.tolist(), strict=True):
        if weight == 0:
            drops.add("exemplar", "its box has no area", record.key.identity)
    return int((weights > 0).sum())


def _report_short(short: dict[str, int], options: SampleOptions, notes: list[str]) -> None:
    if not short:
        return
    names = ", ".join(f"{synset} ({count})" for synset, count in list(short.items())[:NAMED])
    names += ", ..." if len(short) > NAMED else ""
    classes = f"{len(short):,} of the classes {'has' if len(short) == 1 else 'have'} fewer than {options.k} exemplars"
    if options.shortage is Shortage.ERROR:
        raise ShortageError(
            f"{options.exemplars}: {classes}: {names}",
            hint="give a smaller K, or --shortage=fewer or --shortage=repeat",
        )
    consequence = {
        Shortage.REPEAT: "each of theirs is taken once before one is taken again",
        Shortage.REDRAW: "all of theirs are drawn with replacement",
        Shortage.FEWER: "they keep what they have",
    }[options.shortage]
    notes.append(f"{classes}, {consequence}: {names}")


def _without(records: list[ExemplarRecord], excluded: Excluded, drops: Drops) -> list[ExemplarRecord]:
    kept = []
    for record in records:
        if excluded(record.key):
            drops.add("exemplar", "its image is in the excluded file", record.key.identity)
        else:
            kept.append(record)
    return kept


def _excluded(path: Path, options: SampleOptions, notes: list[str]) -> Excluded:
    """Whether an exemplar's image is in the excluded file, also where Visual Genome has it under its own name."""
    names = set(read_table(path, "images", "frame_name")["frame_name"])  # one name in two folders excludes both
    if not names:
        raise AnnotationFileError(path, "names no images, so it excludes nothing")
    coco_ids = _coco_ids(options, notes)
    numbers = {_coco_number(name) for name in names} - {None}

    def excluded(key: Exemplar) -> bool:
        if key.image_name in names:
            return True
        if key.dataset == VISUAL_GENOME:
            return coco_ids.get(key.image_name) in numbers
        return key.dataset == LVIS and _coco_number(key.image_name) in numbers

    return excluded


def _coco_number(name: str) -> int | None:
    """The COCO id in `000000000009.jpg` or, before 2017, `COCO_train2014_000000000009.jpg`."""
    match = _COCO_NAME.fullmatch(name)
    return int(match[1]) if match else None


def _coco_ids(options: SampleOptions, notes: list[str]) -> dict[str, int]:
    folder = options.visual_genome_dir
    if folder is None or not (folder / visual_genome.IMAGES).exists():
        where = "--visual-genome-dir" if folder is None else f"{folder / visual_genome.IMAGES} (--visual-genome-dir)"
        notes.append(
            f"half of Visual Genome's images are COCO images under other names; without {where} "
            "only images of the same name are excluded"
        )
        return {}
    return visual_genome.coco_ids(folder / visual_genome.IMAGES)
