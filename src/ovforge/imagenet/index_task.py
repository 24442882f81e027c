"""The index as a task for `runs`: a group of classes to the JSON rows of their images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from ovforge.errors import ArchiveError, ImageError, OvforgeError
from ovforge.image_io.tar_store import REPEATED
from ovforge.records.reporting import Drops
from ovforge.runs.task import Shard, ShardReport, Slot
from ovforge.runs.worker import FatalError
from ovforge.sources.imagenet21k import ImageNet21k


class IndexedClass(NamedTuple):
    """A class that is in the tree, and the category that its images count for."""

    wnid: str
    category_id: int


class ClassRows(msgspec.Struct, frozen=True):
    """The images of one class; a shard's file is a JSON list of these."""

    category_id: int
    rows: list[str]
    """Each image's JSON from behind its id, which only the whole list knows."""


@dataclass(frozen=True)
class IndexTask:
    """All that a worker needs; picklable. A shard's items are positions in `classes`."""

    tree: Path
    classes: tuple[IndexedClass, ...]
    strict: bool
    shard_suffix: str = ".json"

    def open(self, slot: Slot) -> IndexWorker:
        """Look at the tree in this process."""
        del slot
        return IndexWorker(self, ImageNet21k(self.tree))


class IndexWorker:
    """An `IndexTask` opened in one process."""

    def __init__(self, task: IndexTask, tree: ImageNet21k) -> None:
        self._task = task
        self._tree = tree

    def run(self, shard: Shard, out: Path) -> ShardReport:
        """Read the sizes of all images of a few classes and write their rows to `out`.

        Raises:
            FatalError: in a strict index, the first file that is not a readable image.
        """
        drops = Drops(keep_names=True)
        counts: dict[str, int] = {}
        classes = []
        for each in self._task.classes[shard.start : shard.stop]:
            rows, problems = _rows(self._tree, each)
            refused = [error for reason, error in problems if reason != REPEATED]
            if refused and self._task.strict:
                raise FatalError(refused[0])
            for reason, error in problems:
                (drops.warn if reason == REPEATED else drops.add)("file", reason, error.message)
            counts[str(each.category_id)] = len(rows)
            classes.append(ClassRows(each.category_id, rows))
        out.write_bytes(msgspec.json.encode(classes))
        return ShardReport(items=len(classes), counts={"images": counts}, drops=drops.freeze())

    def close(self) -> None:
        """Close the tree's tars."""
        self._tree.close()


def _rows(tree: ImageNet21k, indexed: IndexedClass) -> tuple[list[str], list[tuple[str, OvforgeError]]]:
    """The rows of one class, and (reason, error) of every file skipped."""
    rows: list[str] = []
    problems: list[tuple[str, OvforgeError]] = []
    tail = f'"pos_category_ids": [{indexed.category_id}], "width": '
    seen: set[str] = set()
    for place in tree.places(indexed.wnid):
        try:
            names = tree.images(indexed.wnid, parts=(place.part,))
        except (ArchiveError, ImageError) as error:
            problems.append(("class folder or tar that cannot be used", error))
            continue
        for name in names:
            file = name.removeprefix(place.prefix)
            problem = None
            if file in seen:
                problem = ("in two parts of the tree, taken once", ImageError(name, "is in another part as well"))
            elif not _is_utf8(name):
                problem = ("its name is not UTF-8", ImageError(ascii(name), "has a name that is not UTF-8"))
            if problem is not None:
                problems.append(problem)
                continue
            seen.add(file)
            try:
                width, height = tree.read_size(name)
            except ImageError as error:
                problems.append(("no readable image", error))
                continue
            if name in tree.repeated:
                problems.append((REPEATED, ImageError(name, REPEATED)))
            rows.append(f'"file_name": {json.dumps(name)}, {tail}{width}, "height": {height}}}')
    return rows, problems


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
