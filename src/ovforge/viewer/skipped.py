"""What a run skipped, thing by thing, with the image that each is of."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.door import open_annotations
from ovforge.annotation_io.ordering import find_positions
from ovforge.errors import InputError, MissingImageError, MissingInputError, OvforgeError
from ovforge.image_io.store import ImageStore, open_image_store
from ovforge.records.reporting import Drop
from ovforge.records.run_layout import MANIFEST
from ovforge.runs.plan import find_input, load_plan
from ovforge.viewer.run_records import read_skipped

_KEPT_SECONDS = 10.0
_ANNOTATION = re.compile(r"annotation (-?\d{1,19})")


@dataclass(frozen=True)
class Skipped:
    """One thing that was skipped, or kept with a warning.

    Attributes:
        name: as the run's report has it. place: where or how, or empty.
        image: the file name of the image that it is of; empty where that is not known.
        box: x, y, width, height in that image, in pixels; None where it has none.
        size: the image's width and height; None where they are not known.
    """

    name: str
    place: str = ""
    image: str = ""
    box: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None


class _Annotated(NamedTuple):
    """Where each annotation of the run's annotation file is."""

    id: NDArray[np.int64]
    image: NDArray[np.int64]
    box: NDArray[np.float64]
    names: list[str]
    size: NDArray[np.int64]


class SkippedThings:
    """What one run skipped."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder
        self._lock = threading.Lock()
        self._listed: tuple[tuple[str, str, bool], float, list[tuple[str, str]]] = (("", "", False), 0.0, [])
        self._annotated: _Annotated | None = None
        self._store: ImageStore | None = None

    def count(self, drop: Drop) -> int:
        """How many things were skipped for a reason and are known by name."""
        return len(self._names(drop))

    def page(self, drop: Drop, first: int, count: int) -> list[Skipped]:
        """Some of the things that were skipped for a reason."""
        names = self._names(drop)[first : first + count]
        of_annotations = [_ANNOTATION.fullmatch(name) for name, _ in names]
        table = self._annotations() if any(of_annotations) else None
        found = []
        for (name, place), match in zip(names, of_annotations, strict=True):
            if match is None:
                found.append(Skipped(name, place, _image_name(name)))
            else:
                found.append(_of_annotation(name, place, int(match[1]), table))
        return found

    def still(self, name: str) -> bytes:
        """The encoded image of this name that the run was made from.

        Raises:
            ImageError: it is not there, or the run's images are not.
        """
        with self._lock:
            if self._store is None:
                try:
                    self._store = open_image_store(find_input(load_plan(self._folder)[0], "images", self._folder))
                except (KeyError, InputError, MissingInputError) as error:
                    raise MissingImageError(name, self._folder) from error
        return self._store.read(name)

    def close(self) -> None:
        """Close what is open."""
        if self._store is not None:
            self._store.close()

    def _names(self, drop: Drop) -> list[tuple[str, str]]:
        key = drop.kind, drop.reason, drop.kept
        with self._lock:
            known, at, names = self._listed
            if known != key or time.monotonic() - at > _KEPT_SECONDS:
                names = read_skipped(self._folder, *key)
                self._listed = key, time.monotonic(), names
            return names

    def _annotations(self) -> _Annotated | None:
        """Read once: for a file of LVIS's size that takes seconds. None where the file is not there any more."""
        with self._lock:
            if self._annotated is None and (self._folder / MANIFEST).is_file():
                with contextlib.suppress(KeyError, OvforgeError):
                    path = find_input(load_plan(self._folder)[0], "annotations", self._folder)
                    fields = {"images": ("coco_name", "width", "height"), "annotations": ("bbox",)}
                    with open_annotations(path, **fields, spans=()) as opened:
                        images, objects = opened.images, opened.annotations
                    self._annotated = _Annotated(
                        objects["id"],
                        find_positions(images["id"], objects["image_id"]),
                        objects["bbox"],
                        images["coco_name"].tolist(),
                        np.column_stack([images["width"], images["height"]]),
                    )
            return self._annotated


def _of_annotation(name: str, place: str, number: int, table: _Annotated | None) -> Skipped:
    row = -1 if table is None else int(find_positions(table.id, np.array([number]))[0])
    if table is None or row < 0 or table.image[row] < 0:
        return Skipped(name, place)
    image = int(table.image[row])
    box = tuple(round(float(side), 1) for side in table.box[row])
    width, height = table.size[image].tolist()
    drawable = bool(np.isfinite(table.box[row]).all()) and min(box[2:]) > 0
    return Skipped(name, place, table.names[image], box if drawable else None, (width, height))


def _image_name(text: str) -> str:
    """The file name that a report's text begins with or holds; empty where there is none.

    >>> _image_name("000000000139.jpg"), _image_name("class 7"), _image_name("object 3 of b c.png: left")
    ('000000000139.jpg', '', '')
    """
    return text if re.fullmatch(r"[^/\\]+\.[A-Za-z0-9]{3,4}", text) and ": " not in text else ""
