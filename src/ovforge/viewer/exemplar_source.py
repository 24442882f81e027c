"""The classes of an exemplar file with their images, counted once and then read class by class."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import msgspec

from ovforge.annotation_io.annotation_file import read_records
from ovforge.errors import AnnotationFileError, ImageError, InputError, MissingInputError, OvforgeError
from ovforge.options.layout import LVIS_VAL
from ovforge.options.viewer import ExemplarsViewOptions
from ovforge.records.coverage import ClassCoverage, Coverage
from ovforge.records.exemplar import DATASETS, IMAGENET, LVIS, VISUAL_GENOME, Exemplar
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.reporting import Progress, no_progress
from ovforge.sources.exemplar_images import ExemplarImages
from ovforge.sources.exemplars import DrawnClass, ExemplarDictionary, read_drawn
from ovforge.taxonomy import lvis_classes
from ovforge.viewer.exemplar_findings import Findings, Place, identities, locate, read_check

T = TypeVar("T")

ENOUGH = 10
"""Exemplars that a class of a dictionary should have (Kaul et al. 2023)."""
_CLASSES_KEPT = 16
"""Classes whose records stay decoded; the largest have tens of thousands."""


class Category(msgspec.Struct, frozen=True):
    """A class as an annotation file describes it."""

    id: int
    name: str
    synset: str = ""
    frequency: str = ""
    synonyms: tuple[str, ...] = ()
    definition: str = msgspec.field(default="", name="def")


@dataclass(frozen=True)
class ExemplarClass:
    """One class of the file.

    Attributes:
        name: as the categories or LVIS call it, or the synset where neither has it.
        counts: exemplars by data set, in the order of `records.exemplar.DATASETS`.
        distinct: how many different ones there are; a draw with replacement repeats some.
        synonyms: further names, as the categories give them.
        definition: what the class is, as the categories say; empty where nothing does.
        why: for a class that falls short, what the coverage report says.
        accuracy: the leave-one-out accuracy of the check, or else of the coverage report; None: not known.
    """

    position: int
    synset: str
    name: str
    frequency: str
    counts: tuple[int, ...]
    distinct: int
    synonyms: tuple[str, ...] = ()
    definition: str = ""
    why: tuple[str, ...] = ()
    accuracy: float | None = None

    @property
    def total(self) -> int:
        """All exemplars, repeated ones again."""
        return sum(self.counts)


class ExemplarSource:
    """An exemplar dictionary (synset -> records) or sampled exemplars (a list of lists).

    Attributes:
        findings: what `exemplars check` found; None where there is no report.
        notes: what could not be read beside the file, for whoever looks at it.
        generation: another one whenever the file is another.
    """

    def __init__(self, options: ExemplarsViewOptions, *, progress: Progress = no_progress) -> None:
        """Open and count the file.

        Raises:
            MissingInputError, AnnotationFileError: it is not there, or holds no exemplars; names the class and record.
            InputError: a given report or category file cannot be used.
        """
        self.name = options.file.name
        self._dictionary: ExemplarDictionary | None = None
        self._drawn: list[DrawnClass] = []
        if _first_letter(options.file) == b"{":
            self._dictionary = ExemplarDictionary(options.file)
        else:
            self._drawn = list(read_drawn(options.file))
        self.generation = _generation(options.file)
        self._images = _open_images(options)
        self._lock = Lock()
        self._kept: OrderedDict[int, list[Exemplar]] = OrderedDict()
        notes: list[str] = []
        coverage = _coverage(options.file)
        total = len(self._dictionary) if self._dictionary is not None else len(self._drawn)
        known = _Names(_categories(options, notes), total)
        report = None if (path := _report(options)) is None else _noted(lambda: read_check(path), options.check, notes)
        wanted = frozenset() if report is None else identities(report)
        accuracies = {} if report is None else {each.synset: each.leave_one_out for each in report.classes}
        places: dict[tuple[str, str], Place] = {}
        classes = []
        synsets = self._dictionary.synsets if self._dictionary is not None else None
        for position in range(total):
            progress("classes", position, total)
            exemplars = self._read(position)
            synset = synsets[position] if synsets is not None else None
            category = known.find(position, synset, exemplars)
            synset = synset or category.synset or f"class {position}"
            counted = Counter(exemplar.dataset for exemplar in exemplars)
            names = [exemplar.identity for exemplar in exemplars]
            for index, name in enumerate(names):
                if name in wanted:
                    places.setdefault((synset, name), Place(position, index))
            covered = coverage.get(synset)
            classes.append(
                ExemplarClass(
                    position,
                    synset,
                    category.name or synset,
                    category.frequency,
                    tuple(counted[dataset] for dataset in DATASETS),
                    len(set(names)),
                    tuple(word for word in category.synonyms if word != category.name),
                    category.definition,
                    covered.why if covered is not None else (),
                    accuracies.get(synset, covered.leave_one_out if covered is not None else None),
                )
            )
        self.classes = tuple(classes)
        self.findings: Findings | None = None if report is None else locate(report, places)
        self._places = places
        self.notes = tuple(notes)
        largest = max((entry.total for entry in classes), default=0)
        self.enough = options.enough or (ENOUGH if self._dictionary is not None else largest)

    def is_short(self, entry: ExemplarClass) -> bool:
        """Whether a class has fewer different exemplars than it should."""
        return entry.distinct < self.enough

    def exemplars(self, position: int) -> list[Exemplar]:
        """The exemplars of one class, in file order."""
        with self._lock:
            if position in self._kept:
                self._kept.move_to_end(position)
                return self._kept[position]
        found = self._read(position)
        with self._lock:
            self._kept[position] = found
            while len(self._kept) > _CLASSES_KEPT:
                self._kept.popitem(last=False)
        return found

    def place(self, entry: ExemplarClass, exemplar: Exemplar) -> Place | None:
        """Where an exemplar that the report names stands first in its class; None for one that it does not name."""
        return self._places.get((entry.synset, exemplar.identity))

    def _read(self, position: int) -> list[Exemplar]:
        if self._dictionary is not None:
            return [record.key for record in self._dictionary.records(self._dictionary.synsets[position])]
        return [record.key for record in self._drawn[position].records]

    def image(self, exemplar: Exemplar) -> bytes:
        """The whole image of an exemplar, as stored.

        Raises:
            ImageError: it is not there; names it.
        """
        if self._images is None or exemplar.dataset not in self._images.roots:
            raise ImageError(exemplar.file_name, f"the images of {exemplar.dataset} are not here")
        # The stores behind it are opened as they are needed, and are no thread's own.
        with self._lock:
            return self._images.read(exemplar.dataset, exemplar.file_name)

    def close(self) -> None:
        """Close what is open."""
        if self._images is not None:
            self._images.close()


def _open_images(options: ExemplarsViewOptions) -> ExemplarImages | None:
    roots = {
        LVIS: options.lvis_images,
        IMAGENET: options.imagenet_images,
        VISUAL_GENOME: options.visual_genome_images,
    }
    there = {dataset: root for dataset, root in roots.items() if root.exists()}
    return ExemplarImages(there) if there else None


def _first_letter(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4096).lstrip()[:1]
    except FileNotFoundError:
        hint = "`ovforge exemplars collate` makes the dictionary, `ovforge exemplars sample` draws from it"
        raise MissingInputError(path, what="exemplars", hint=hint) from None
    except OSError as error:
        raise AnnotationFileError(path, "cannot be read", detail=str(error.strerror)) from None


class _Names:
    """What the classes of a file are called: by synset, by category id, or by their place among the categories."""

    def __init__(self, categories: tuple[Category, ...], total: int) -> None:
        lvis = tuple(Category(each.id, each.name, each.synset, each.frequency) for each in lvis_classes())
        both = (*lvis, *categories)  # the given ones last: they count
        self._by_synset = {each.synset: each for each in both if each.synset}
        self._by_id: Mapping[int, Category] = {each.id: each for each in categories or lvis}
        in_order = sorted(categories or lvis, key=lambda each: each.id)
        self._in_order = in_order if len(in_order) == total else []

    def find(self, position: int, synset: str | None, exemplars: list[Exemplar]) -> Category:
        """The category of a class; one without a name where nothing tells it."""
        found = None if synset is None else self._by_synset.get(synset)
        if synset is None and exemplars and exemplars[0].category_id is not None:
            found = self._by_id.get(exemplars[0].category_id)
        if synset is None and not exemplars and self._in_order:
            found = self._in_order[position]
        return found or Category(-1, "")


def _categories(options: ExemplarsViewOptions, notes: list[str]) -> tuple[Category, ...]:
    path = options.categories or LVIS_VAL
    if options.categories is None and not path.is_file():
        return ()
    read = _noted(lambda: tuple(read_records(path, "categories", Category)), options.categories, notes)
    return read or ()


def _report(options: ExemplarsViewOptions) -> Path | None:
    beside = options.file.with_name(f"{options.file.stem}.check.json")
    return options.check or (beside if beside.is_file() else None)


def _noted(read: Callable[[], T], given: Path | None, notes: list[str]) -> T | None:
    """What `read` gives. Where it fails on a file that nobody named, that is noted and the page goes without it."""
    try:
        return read()
    except InputError as error:
        if given is not None:
            raise
        notes.append(f"{error.message}: not used")
        return None


def _generation(path: Path) -> str:
    state = path.stat()
    return hashlib.sha256(f"{state.st_mtime_ns}:{state.st_size}:{path.resolve()}".encode()).hexdigest()[:8]


def _coverage(path: Path) -> dict[str, ClassCoverage]:
    """What the coverage report beside a dictionary says of its classes; nothing where there is none."""
    report = path.with_name(f"{path.stem}.coverage.json")
    try:
        coverage: Any = msgspec.json.decode(report.read_bytes(), type=Coverage)
    except (OSError, *JSON_ERRORS, OvforgeError):
        return {}
    return {entry.synset: entry for entry in coverage.classes}
