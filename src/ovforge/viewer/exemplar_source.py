"""The classes of an exemplar file with their images, counted once and then read class by class."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from ovforge.errors import AnnotationFileError, ImageError, MissingInputError, OvforgeError
from ovforge.options.viewer import ExemplarsViewOptions
from ovforge.records.coverage import Coverage
from ovforge.records.exemplar import DATASETS, IMAGENET, LVIS, VISUAL_GENOME, Exemplar
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.reporting import Progress, no_progress
from ovforge.sources.exemplar_images import ExemplarImages
from ovforge.sources.exemplars import DrawnClass, ExemplarDictionary, read_drawn
from ovforge.taxonomy import lvis_classes

ENOUGH = 10
"""Exemplars that a class of a dictionary should have (Kaul et al. 2023)."""


@dataclass(frozen=True)
class ExemplarClass:
    """One class of the file.

    Attributes:
        name: as LVIS calls it, or the synset where LVIS has none.
        counts: exemplars by data set, in the order of `records.exemplar.DATASETS`.
        distinct: how many different ones there are; a draw with replacement repeats some.
        why: for a class that falls short, what the coverage report says.
    """

    position: int
    synset: str
    name: str
    frequency: str
    counts: tuple[int, ...]
    distinct: int
    why: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """All exemplars, repeated ones again."""
        return sum(self.counts)


class ExemplarSource:
    """An exemplar dictionary (synset -> records) or sampled exemplars (a list of lists)."""

    def __init__(self, options: ExemplarsViewOptions, *, progress: Progress = no_progress) -> None:
        """Open and count the file.

        Raises:
            MissingInputError, AnnotationFileError: it is not there, or holds no exemplars; names the class and record.
        """
        self.name = options.file.name
        self._dictionary: ExemplarDictionary | None = None
        self._drawn: list[DrawnClass] = []
        if _first_letter(options.file) == b"{":
            self._dictionary = ExemplarDictionary(options.file)
        else:
            self._drawn = list(read_drawn(options.file))
        self._images = _open_images(options)
        self._lock = Lock()
        why = _reasons(options.file)
        names = {cls.synset: cls for cls in lvis_classes()}
        ids = {cls.id: cls for cls in lvis_classes()}
        classes = []
        total = len(self._dictionary) if self._dictionary is not None else len(self._drawn)
        synsets = self._dictionary.synsets if self._dictionary is not None else None
        for position in range(total):
            progress("classes", position, total)
            exemplars = self.exemplars(position)
            known = names.get(synsets[position]) if synsets is not None else None
            if known is None and exemplars and exemplars[0].category_id is not None:
                known = ids.get(exemplars[0].category_id)
            synset = synsets[position] if synsets is not None else (known.synset if known else f"class {position}")
            counted = Counter(exemplar.dataset for exemplar in exemplars)
            classes.append(
                ExemplarClass(
                    position,
                    synset,
                    known.name if known is not None else synset,
                    known.frequency if known is not None else "",
                    tuple(counted[dataset] for dataset in DATASETS),
                    len({exemplar.identity for exemplar in exemplars}),
                    why.get(synset, ()),
                )
            )
        self.classes = tuple(classes)
        largest = max((entry.total for entry in classes), default=0)
        self.enough = options.enough or (ENOUGH if self._dictionary is not None else largest)

    def is_short(self, entry: ExemplarClass) -> bool:
        """Whether a class has fewer different exemplars than it should."""
        return entry.distinct < self.enough

    def exemplars(self, position: int) -> list[Exemplar]:
        """The exemplars of one class, in file order."""
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


def _reasons(path: Path) -> dict[str, tuple[str, ...]]:
    """What the coverage report beside a dictionary says of its classes; nothing where there is none."""
    report = path.with_name(f"{path.stem}.coverage.json")
    try:
        coverage: Any = msgspec.json.decode(report.read_bytes(), type=Coverage)
    except (OSError, *JSON_ERRORS, OvforgeError):
        return {}
    return {entry.synset: entry.why for entry in coverage.classes}
