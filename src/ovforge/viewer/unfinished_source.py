"""A run that is going on, or is not merged yet: its finished shards and published partitions.

Shards are read once each and then kept as columns, so that a look at the run costs no more than what is new. A
pair's place is its image's number in the plan: when a partition takes its shards in, only the file changes.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.annotation_file import AnnotationFile, read_records
from ovforge.annotation_io.door import categories_of, open_annotations
from ovforge.annotation_io.ordering import find_positions
from ovforge.errors import AnnotationFileError, ImageError, MissingImageError, MissingInputError, OvforgeError
from ovforge.image_io.codec import stored_size
from ovforge.image_io.hdf5 import ImageReader
from ovforge.options.viewer import PairsViewOptions
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.lvis import Category
from ovforge.records.pairs import PairRecord
from ovforge.records.reporting import Drop, Progress, no_progress
from ovforge.records.run_layout import RECORDS, PartitionFiles, find_partitions
from ovforge.runs.ledger import Ledger
from ovforge.runs.plan import Plan, find_input, load_plan
from ovforge.runs.task import Shard
from ovforge.sources.pair_arrays import MEASURES, ObjectColumns, PairArrays, arrange, motion_row
from ovforge.viewer.run_records import read_drops
from ovforge.viewer.source import COVERED, OUTSIDE, ObjectNotes, PairDetails, Snapshot

_AGAIN = "remove the file and run `ovforge pairs generate` with the run's own options: it makes this shard again"
_OPEN_FILES = 8
_KEPT_RECORDS = 4
_LOOK_AGAIN_SECONDS = 2.0


class _Motion(msgspec.Struct):
    kind: str = ""
    flip: bool = False
    matrix: list[list[float]] = []


class _Entry(msgspec.Struct, gc=False):
    id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    fidelity: float = float("nan")
    visibility: float = float("nan")
    iscrowd: int = 0

    @property
    def is_shown(self) -> bool:
        """Whether it is an object that is seen."""
        return self.area > 0 and not self.iscrowd


class _View(msgspec.Struct):
    file_name: str
    motion: _Motion
    annotations: list[_Entry]


class _Pair(msgspec.Struct):
    image_id: int
    file_name: str
    variants: list[_View]


class _Name(msgspec.Struct):
    file_name: str


class _Shape(msgspec.Struct):
    segmentation: Any = None


class _Originals(NamedTuple):
    """What the annotation file says of the originals; empty where it is not there any more."""

    categories: tuple[Category, ...] = ()
    image_id: NDArray[np.int64] = np.zeros(0, np.int64)
    size: NDArray[np.int64] = np.zeros((0, 2), np.int64)
    object_id: NDArray[np.int64] = np.zeros(0, np.int64)
    box: NDArray[np.float32] = np.zeros((0, 4), np.float32)
    area: NDArray[np.float32] = np.zeros(0, np.float32)
    path: Path = Path()
    stamp: tuple[int, ...] = ()
    record: NDArray[np.int64] = np.zeros((0, 2), np.int64)
    """Of each object, where its record is in the file, as long as that has this stamp."""


class _Chunk(NamedTuple):
    """The pairs of some images, as columns; image rows and pairs count from 0 within the chunk."""

    pairs: list[tuple[int, int]]
    items: list[tuple[int, int]]
    """Of each pair, its image's number in the plan and its variant."""
    image_id: list[int]
    image_size: list[tuple[int, int]]
    names: list[str]
    objects_per_image: list[int]
    objects: ObjectColumns
    motions: list[tuple[float, ...]]


class UnfinishedSource:
    """The pairs of a run's folder."""

    def __init__(self, options: PairsViewOptions, *, progress: Progress = no_progress) -> None:
        self.name = options.name
        self.run_folder = options.run_folder
        self._progress = progress
        self._lock = threading.RLock()
        self._plan: Plan | None = None
        self._plan_id = ""
        self._partitions: list[PartitionFiles] = []
        self._originals = _Originals()
        self._chunks: list[_Chunk] = []
        self._known: set[int] = set()
        self._readers: OrderedDict[Path, ImageReader] = OrderedDict()
        self._records: OrderedDict[tuple[str, int], PairRecord] = OrderedDict()
        self._spans: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self._snapshot: Snapshot | None = None
        self._items: NDArray[np.int64] = np.zeros((0, 2), np.int64)
        self._look_next = float("-inf")

    def snapshot(self) -> Snapshot:
        with self._lock:
            if self._snapshot is None or time.monotonic() >= self._look_next:
                started = time.monotonic()
                self._snapshot = self._refresh()
                # A tenth of the time at most goes into looking.
                self._look_next = time.monotonic() + max(_LOOK_AGAIN_SECONDS, 9 * (time.monotonic() - started))
            return self._snapshot

    def image(self, row: int) -> bytes:
        arrays = self.snapshot().arrays
        name = arrays.file_name(row)
        pair = np.flatnonzero((arrays.pairs == row).any(axis=1))
        item = int(self._items[pair[0], 0])
        return self._read_image(item, name)

    def details(self, pair: int) -> PairDetails:
        self.snapshot()
        item, variant = (int(number) for number in self._items[pair])
        record = self._record(item)
        if variant >= len(record.variants):
            raise AnnotationFileError(self.run_folder, f"the record of {record.file_name} has changed")
        view = record.variants[variant]
        return PairDetails(view.caption, view.seed, view.motion, view.engine, view.keep_mask)

    def notes(self, row: int) -> list[ObjectNotes]:
        arrays = self.snapshot().arrays
        tracks = arrays.track_id[arrays.objects(row)]
        pair = np.flatnonzero(arrays.pairs[:, 1] == row)
        if not len(pair):
            return [ObjectNotes(segmentation) for segmentation in self._segmentations(tracks)]
        entries = {entry["id"]: entry for entry in self._entries(int(pair[0])) if entry["area"] > 0}
        found = (entries.get(track, {}) for track in tracks.tolist())
        return [ObjectNotes(entry.get("mask"), bool(entry.get("occluded"))) for entry in found]

    def unseen(self, pair: int) -> dict[int, str]:
        return {
            entry["id"]: OUTSIDE if entry.get("outside") else COVERED
            for entry in self._entries(pair)
            if not entry["area"] and not entry.get("iscrowd")
        }

    def _entries(self, pair: int) -> list[dict[str, Any]]:
        item, variant = (int(number) for number in self._items[pair])
        record = self._record(item)
        return record.variants[variant].annotations if variant < len(record.variants) else []

    def _segmentations(self, objects: NDArray[np.int64]) -> list[Any]:
        """The masks of originals, from the annotation file; none where that has changed since it was opened."""
        originals = self._originals
        try:
            with open(originals.path, "rb") as file:
                if _stamp(os.fstat(file.fileno())) != originals.stamp:
                    return []
                found = []
                for where in find_positions(originals.object_id, objects).tolist():
                    start, stop = originals.record[where].tolist()
                    file.seek(start)
                    found.append(msgspec.json.decode(file.read(stop - start), type=_Shape).segmentation)
                return found
        except (OSError, *JSON_ERRORS):
            return []

    def drops(self) -> tuple[Drop, ...] | None:
        return read_drops(self.run_folder)

    def close(self) -> None:
        with self._lock:
            for reader in self._readers.values():
                reader.close()
            self._readers.clear()

    def _refresh(self) -> Snapshot:
        plan, plan_id = load_plan(self.run_folder)
        if plan_id != self._plan_id:  # the first look, or the run was started over
            self._plan, self._plan_id = plan, plan_id
            self._chunks, self._known, self._spans = [], set(), {}
            self._snapshot, self._partitions = None, []
            self.close()
            self._originals = _read_originals(plan, self.run_folder, self._progress)
        ledger = Ledger(self.run_folder, plan_id)
        fresh = False
        for group, shards in enumerate(plan.shards_by_group()):
            unknown = [shard for shard in shards if shard.index not in self._known]
            if not unknown:
                continue
            published = self._partition(group).are_there
            done = unknown if published else [shard for shard in unknown if ledger.is_done(shard)]
            if published and done:
                records = list(read_records(self._partition(group).pairs, "pairs", _Pair))
                base = shards[0].start
                for shard in done:
                    self._add(shard, records[shard.start - base : shard.stop - base])
            elif done:
                for shard in done:
                    # Published between the two looks: the next one finds it in its partition.
                    with contextlib.suppress(MissingInputError):
                        self._add(shard, self._shard_records(ledger.shard_path(shard, ".h5"), list[_Pair]))
            fresh = fresh or bool(done)
        if self._snapshot is not None and not fresh:
            return self._snapshot
        self._items, arrays = _joined(self._chunks, self._originals.categories)
        sizes = {shard.index: shard.stop - shard.start for shard in plan.shards()}
        return Snapshot(arrays, plan_id, sum(sizes[index] for index in self._known), plan.items)

    def _add(self, shard: Shard, records: Sequence[_Pair]) -> None:
        if len(records) != shard.stop - shard.start:
            raise AnnotationFileError(
                self.run_folder,
                f"shard {shard.index} has {len(records)} records, planned were {shard.stop - shard.start}",
                hint=_AGAIN,
            )
        self._chunks.append(self._chunk(shard.start, records))
        self._known.add(shard.index)

    def _chunk(self, first_item: int, records: Sequence[_Pair]) -> _Chunk:
        chunk = _Chunk([], [], [], [], [], [], ObjectColumns(*([] for _ in range(6))), [])  # type: ignore[arg-type]
        originals = self._originals
        sizes = self._sizes(first_item, records)
        for offset, (record, size) in enumerate(zip(records, sizes, strict=True)):
            if not record.variants:
                continue
            entries = [entry for entry in record.variants[0].annotations if not entry.iscrowd]
            found = find_positions(originals.object_id, np.array([entry.id for entry in entries], np.int64))
            known = [(entry, int(where)) for entry, where in zip(entries, found, strict=True) if where >= 0]
            first = self._image(chunk, record.image_id, size, record.file_name)
            _extend(
                chunk,
                (
                    (originals.box[where], originals.area[where], entry.category_id, entry.id, np.nan, np.nan)
                    for entry, where in known
                ),
            )
            for variant, view in enumerate(record.variants):
                second = self._image(chunk, record.image_id, size, view.file_name)
                chunk.pairs.append((first, second))
                chunk.items.append((first_item + offset, variant))
                chunk.motions.append(motion_row(view.motion.kind, view.motion.flip, view.motion.matrix, *size))
                _extend(
                    chunk,
                    (
                        (e.bbox, e.area, e.category_id, e.id, e.fidelity, e.visibility)
                        for e in view.annotations
                        if e.is_shown
                    ),
                )
        return _packed(chunk)

    @staticmethod
    def _image(chunk: _Chunk, image_id: int, size: tuple[int, int], name: str) -> int:
        chunk.image_id.append(image_id)
        chunk.image_size.append(size)
        chunk.names.append(name)
        chunk.objects_per_image.append(0)
        return len(chunk.names) - 1

    def _sizes(self, first_item: int, records: Sequence[_Pair]) -> list[tuple[int, int]]:
        found = find_positions(self._originals.image_id, np.array([record.image_id for record in records], np.int64))
        sizes = []
        for offset, (record, where) in enumerate(zip(records, found.tolist(), strict=True)):
            if where >= 0:
                width, height = self._originals.size[where].tolist()
                sizes.append((width, height))
            elif record.variants:
                name = record.variants[0].file_name
                sizes.append(stored_size(self._read_image(first_item + offset, name), name))
            else:
                sizes.append((0, 0))
        return sizes

    def _read_image(self, item: int, name: str) -> bytes:
        # A shard may be taken in by its partition between finding it and opening it: then the partition has it.
        for last in (False, True):
            try:
                return self._reader(self._file_of(item)).read(name)
            except (MissingInputError, ImageError):
                if last:
                    raise
        raise MissingImageError(name, self.run_folder)

    def _file_of(self, item: int) -> Path:
        group, shard = self._where(item)
        files = self._partition(group)
        return files.h5 if files.are_there else self._shard_path(shard)

    def _record(self, item: int) -> PairRecord:
        key = (self._plan_id, item)
        with self._lock:
            record = self._records.pop(key, None)
        if record is None:  # the frames of a clip are asked for one by one
            record = self._read_record(item)
        with self._lock:
            self._records[key] = record
            while len(self._records) > _KEPT_RECORDS:
                self._records.popitem(last=False)
        return record

    def _read_record(self, item: int) -> PairRecord:
        group, shard = self._where(item)
        files = self._partition(group)
        pairs = files.pairs
        if not files.are_there:
            with contextlib.suppress(MissingInputError):
                records: list[PairRecord] = self._shard_records(self._shard_path(shard), list[PairRecord])
                return records[item - shard.start]
        with self._lock:
            if group not in self._spans:
                with AnnotationFile(pairs, {"pairs": _Name}) as file:
                    table = file.table("pairs", _Name)
                    self._spans[group] = table.starts, table.stops
        starts, stops = self._spans[group]
        position = item - self._shards(group)[0].start
        with open(pairs, "rb") as data:
            data.seek(int(starts[position]))
            raw = data.read(int(stops[position] - starts[position]))
        record: PairRecord = _decoded(pairs, raw, PairRecord)
        return record

    def _shard_records(self, path: Path, kind: Any) -> Any:
        try:
            raw = self._reader(path).read(RECORDS)
        except ImageError as error:
            raise AnnotationFileError(path, "has no records that can be read", hint=_AGAIN) from error
        return _decoded(path, raw, kind)

    def _reader(self, path: Path) -> ImageReader:
        with self._lock:
            reader = self._readers.pop(path, None)
            if reader is None or not path.exists():
                reader = ImageReader(path)
            self._readers[path] = reader
            # The oldest are let go, not closed: another thread may be reading.
            while len(self._readers) > _OPEN_FILES:
                self._readers.popitem(last=False)
            return reader

    def _partition(self, group: int) -> PartitionFiles:
        if self._partitions and self._partitions[group].are_there:
            return self._partitions[group]
        self._partitions = find_partitions(self.run_folder, len(self._require_plan().groups) or 1)
        return self._partitions[group]

    def _shards(self, group: int) -> list[Shard]:
        return self._require_plan().shards_by_group()[group]

    def _where(self, item: int) -> tuple[int, Shard]:
        for group, shards in enumerate(self._require_plan().shards_by_group()):
            if shards and shards[0].start <= item < shards[-1].stop:
                return group, next(shard for shard in shards if shard.start <= item < shard.stop)
        raise ImageError(f"image {item}", "is not planned", detail=str(self.run_folder))

    def _shard_path(self, shard: Shard) -> Path:
        return Ledger(self.run_folder, self._plan_id).shard_path(shard, ".h5")

    def _require_plan(self) -> Plan:
        if self._plan is None:
            self._plan, self._plan_id = load_plan(self.run_folder)
        return self._plan


def _read_originals(plan: Plan, folder: Path, progress: Progress) -> _Originals:
    """The originals' boxes are only in the annotation file; without it, the pages do without them."""
    try:
        path = find_input(plan, "annotations", folder)
    except (KeyError, MissingInputError):
        return _Originals()
    progress("annotations", 0, 0)
    try:
        stamp = _stamp(path.stat())
        with open_annotations(
            path,
            images=("width", "height"),
            annotations=("bbox", "area"),
            categories=("name", "synset", "frequency"),
            optional={"categories.name"},
        ) as opened:
            images, objects = opened.images, opened.annotations
        return _Originals(
            categories_of(opened.categories),
            images["id"],
            np.column_stack([images["width"], images["height"]]),
            objects["id"],
            objects["bbox"].astype(np.float32),
            objects["area"].astype(np.float32),
            path,
            stamp,
            np.column_stack([objects.starts, objects.stops]).astype(np.int64),
        )
    except (OSError, OvforgeError):  # another file by now: what the shards hold can be shown all the same
        return _Originals()


def _stamp(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_size, stat.st_mtime_ns


def _extend(chunk: _Chunk, objects: Iterable[tuple[Any, ...]]) -> None:
    """Give the latest image its objects: box, area, class, track, fidelity, visibility."""
    for values in objects:
        for column, value in zip(chunk.objects, values, strict=True):
            column.append(value)  # type: ignore[attr-defined]
        chunk.objects_per_image[-1] += 1


def _packed(chunk: _Chunk) -> _Chunk:
    box, area, category, track, fidelity, visibility = chunk.objects
    measures = np.full((len(area), len(MEASURES)), np.nan, np.float32)
    measures[:, MEASURES.index("visibility")] = visibility
    return chunk._replace(
        objects=ObjectColumns(
            np.array(box, np.float32).reshape(-1, 4),
            np.array(area, np.float32),
            np.array(category, np.int64),
            np.array(track, np.int64),
            np.array(fidelity, np.float32),
            measures,
        )
    )


def _joined(chunks: Sequence[_Chunk], categories: tuple[Category, ...]) -> tuple[NDArray[np.int64], PairArrays]:
    pairs, first = [], 0
    for chunk in chunks:
        pairs.append(np.array(chunk.pairs, np.int64).reshape(-1, 2) + first)
        first += len(chunk.names)
    none, measures = np.zeros(0), np.zeros((0, len(MEASURES)))
    empty = ObjectColumns(np.zeros((0, 4)), none, none, none, none, measures)
    arrays = arrange(
        pairs=np.concatenate([np.zeros((0, 2), np.int64), *pairs]),
        image_id=np.array([number for chunk in chunks for number in chunk.image_id], np.int64),
        image_size=np.array([size for chunk in chunks for size in chunk.image_size], np.int32).reshape(-1, 2),
        names=[name for chunk in chunks for name in chunk.names],
        objects_per_image=np.array([n for chunk in chunks for n in chunk.objects_per_image], np.int64),
        objects=ObjectColumns(
            *(np.concatenate(columns) for columns in zip(empty, *(chunk.objects for chunk in chunks), strict=True))
        ),
        motions=[motion for chunk in chunks for motion in chunk.motions],
    )
    items = [item for chunk in chunks for item in chunk.items]
    return np.array(items, np.int64).reshape(-1, 2), PairArrays(categories=categories, **arrays)


def _decoded(path: Path, raw: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except JSON_ERRORS as error:
        raise AnnotationFileError(
            path,
            "has records that cannot be read",
            detail=str(error),
            hint=_AGAIN,
        ) from None
