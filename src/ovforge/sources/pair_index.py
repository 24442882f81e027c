"""An index over a pairs JSON, so that 100,000 pairs open at once and take no memory of their own.

The JSON of `pairs annotate` is read once and laid down as plain arrays that are mapped, not loaded: the viewer
and every DataLoader worker share the same pages. Whatever the arrays do not hold (captions, matrices, masks) is
read from the JSON itself, one record at a time, by its byte range.

The index stands beside the JSON, or in the user's cache folder where that one cannot be written, and is made again
when the JSON changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.annotation_file import RecordTable
from ovforge.annotation_io.door import categories_of, open_annotations
from ovforge.annotation_io.ordering import find_positions
from ovforge.errors import AnnotationFileError, MissingInputError, WorkError
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.lvis import Category
from ovforge.records.reporting import Progress, no_progress
from ovforge.records.scores import SCORES
from ovforge.sources.pair_arrays import ARRAYS, MEASURES, ObjectColumns, PairArrays, arrange, motion_row

VERSION = 5
_TRIES, _PAUSE_SECONDS = 20, 0.05
_READ_AS = "a pairs JSON is what `ovforge pairs annotate NAME` writes"


class _Motion(msgspec.Struct, frozen=True):
    kind: str = ""
    flip: bool = False
    matrix: list[list[float]] = []


_IMAGES = ("frame_name", "width", "height", "video_id", "frame_id", "motion", "extra")
_ANNOTATIONS = ("track_id", "bbox", "area", "fidelity", "iscrowd", "occluded", *MEASURES)


class _Header(msgspec.Struct, frozen=True):
    version: int
    size: int
    modified_ns: int
    categories: list[Category]


_SPANS = ("image_record", "object_record", "object_occluded", "region_start", "region_box")


@dataclass(frozen=True)
class PairIndex(PairArrays):
    """The pairs of one JSON.

    Attributes:
        path: the JSON.
        stamp: its size and its time of change, when it was read.
        image_record, object_record: int64 (images, 2), (objects, 2): byte ranges of the records in the JSON.
        object_occluded: bool (objects,): whether others cover some of it, where the JSON says so.
        region_start: int64 (images + 1,): image row i has the ignore regions region_start[i]:region_start[i + 1]
            (`iscrowd` 1). They are not objects.
        region_box: float32 (regions, 4): x, y, width, height in pixels.
    """

    path: Path
    stamp: tuple[int, int]
    image_record: NDArray[np.int64]
    object_record: NDArray[np.int64]
    object_occluded: NDArray[np.bool_]
    region_start: NDArray[np.int64]
    region_box: NDArray[np.float32]

    def regions(self, row: int) -> NDArray[np.float32]:
        """The boxes of the ignore regions of image row `row`, (n, 4)."""
        return self.region_box[int(self.region_start[row]) : int(self.region_start[row + 1])]

    def scores(self, objects: slice) -> dict[str, NDArray[np.float32]]:
        """What `pairs score` said of some objects, by the score's name; NaN where nothing was measured.

        Scores that no object of the JSON has are not in it.
        """
        return {name: self.measure(name)[objects] for name in SCORES if name in self.measured}

    def visibility(self, objects: slice) -> NDArray[np.float32]:
        """How much is visible of some objects, 0 to 1, float32 (n,); 1 where the JSON says nothing, as of originals."""
        seen = np.asarray(self.measure("visibility")[objects])
        return np.where(np.isnan(seen), np.float32(1), seen).astype(np.float32)

    def image_fields(self, row: int) -> dict[str, Any]:
        """The JSON record of image row `row`, whole: caption, seed and motion stand in it."""
        return self._fields(self.image_record[row])

    def object_fields(self, position: int) -> dict[str, Any]:
        """The JSON record of one object, whole: its mask, where masks were kept, stands in it."""
        return self._fields(self.object_record[position])

    def _fields(self, span: NDArray[np.int64]) -> dict[str, Any]:
        start, stop = int(span[0]), int(span[1])
        try:
            with open(self.path, "rb") as file:
                stat = os.fstat(file.fileno())
                if (stat.st_size, stat.st_mtime_ns) != self.stamp:
                    raise AnnotationFileError(self.path, "has changed since it was opened", hint="open it again")
                file.seek(start)
                fields: dict[str, Any] = msgspec.json.decode(file.read(stop - start), type=dict[str, Any])
        except (OSError, *JSON_ERRORS) as error:
            raise AnnotationFileError(self.path, f"cannot be read at byte {start:,} ({error})") from error
        return fields


def open_pair_index(path: Path, *, progress: Progress = no_progress) -> PairIndex:
    """Open the index of a pairs JSON; make it first where it is missing or older than the JSON.

    Raises:
        MissingInputError: there is no such JSON.
        AnnotationFileError: it is not a pairs JSON, or is damaged; names the record.
        WorkError: the index can be written nowhere.
    """
    if not path.is_file():
        raise MissingInputError(path, what="pairs JSON", hint="`ovforge pairs annotate NAME` writes it")
    folders = _index_folders(path)
    for folder in folders:
        if (index := _load(path, folder)) is not None:
            return index
    stamp = _stamp(path)
    arrays, categories = _read(path, progress)
    header = _Header(VERSION, *stamp, categories)
    problem: OSError | None = None
    for folder in folders:
        if (index := _load(path, folder)) is not None:  # another process has made it meanwhile
            return index
        try:
            _write(folder, arrays, header)
        except OSError as error:
            problem = error
            continue
        for _ in range(_TRIES):
            if (index := _load(path, folder)) is not None:
                return index
            time.sleep(_PAUSE_SECONDS)  # another process may be putting the same index there at this moment
    if _stamp(path) != stamp:
        raise AnnotationFileError(path, "changed while it was read", hint="run the same command again")
    raise WorkError(
        f"{path}: its index can be written neither beside it nor in the cache folder ({problem})",
        hint="make room, or make one of the two writable; XDG_CACHE_HOME names the cache folder",
    )


def _index_folders(path: Path) -> tuple[Path, Path]:
    key = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    cache = _cache_folder()
    return path.parent / f".{path.name}.index", cache / "ovforge" / f"{path.name}-{key}.index"


def _cache_folder() -> Path:
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given)
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # no HOME and no such user, as in many containers
        return Path(tempfile.gettempdir()) / f"ovforge-cache-{os.getuid()}"


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _load(path: Path, folder: Path) -> PairIndex | None:
    try:
        header = msgspec.json.decode((folder / "header.json").read_bytes(), type=_Header)
        if (header.version, header.size, header.modified_ns) != (VERSION, *_stamp(path)):
            return None
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in (*ARRAYS, *_SPANS)
        }
    except (OSError, ValueError, *JSON_ERRORS):
        return None
    stamp = header.size, header.modified_ns
    return PairIndex(path=path, stamp=stamp, categories=tuple(header.categories), **arrays)


def _write(folder: Path, arrays: dict[str, NDArray[Any]], header: _Header) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f"{folder.name}.part-{os.getpid()}-{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        (temporary / "header.json").write_bytes(msgspec.json.encode(header))
        # An old index goes in one step, too: a reader sees it whole or not at all, and keeps what it has mapped.
        with contextlib.suppress(FileNotFoundError):
            old = temporary.with_name(f"{temporary.name}-old")
            folder.rename(old)
            _remove(old)
        # Another process may have published the same index meanwhile, which is as good as this one.
        if not (folder / "header.json").exists():
            temporary.rename(folder)
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):  # a file that stood in the way
        path.unlink()


def _read(path: Path, progress: Progress) -> tuple[dict[str, NDArray[Any]], list[Category]]:
    progress("index", 0, 0)
    fields = {"images": _IMAGES, "annotations": _ANNOTATIONS, "categories": ("name", "synset", "frequency")}
    try:
        with open_annotations(path, **fields, optional={"categories.name"}) as opened:
            opened.require_section("videos", "no pairs JSON")
            images, objects = opened.images, opened.annotations
            categories = list(categories_of(opened.categories))
    except AnnotationFileError as error:
        raise error if error.hint else error.with_hint(_READ_AS) from None
    rows, pairs = _pairs(images)
    owner = find_positions(images["id"][rows], objects["image_id"])
    is_region = (objects["iscrowd"] > 0) & (owner >= 0)
    regions = np.flatnonzero(is_region)
    regions = regions[np.argsort(owner[regions], kind="stable")]
    per_image = np.bincount(owner[regions], minlength=len(rows))
    owner[is_region] = -1
    order = np.argsort(owner, kind="stable")[int(np.count_nonzero(owner < 0)) :]
    named = ("bbox", "area", "category_id", "track_id", "fidelity")
    measures = np.column_stack([np.asarray(objects[name], np.float32)[order] for name in MEASURES])
    columns = ObjectColumns(*(*(np.asarray(objects[name])[order] for name in named), measures))
    arrays = arrange(
        pairs=np.searchsorted(rows, pairs).reshape(-1, 2),
        image_id=images["id"][rows],
        image_size=np.column_stack([images["width"], images["height"]])[rows],
        names=images["frame_name"][rows].tolist(),
        objects_per_image=np.bincount(owner[order], minlength=len(rows)),
        objects=columns,
        motions=[_motion(images, int(row)) for row in pairs[:, 1]],
        extra=[math.nan if found is None else len(found) for found in images["extra"][pairs[:, 1]].tolist()],
    )
    spans: dict[str, NDArray[Any]] = {
        "image_record": np.column_stack([images.starts, images.stops]).astype(np.int64)[rows],
        "object_occluded": np.asarray(objects["occluded"] > 0)[order],
        "object_record": np.column_stack([objects.starts, objects.stops]).astype(np.int64)[order],
        "region_start": np.concatenate([[0], np.cumsum(per_image)]).astype(np.int64),
        "region_box": np.ascontiguousarray(objects["bbox"][regions], np.float32).reshape(-1, 4),
    }
    return {**arrays, **spans}, categories


def _pairs(images: RecordTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the images that belong to a pair, ascending, and the pairs, (n, 2).

    A pair's video has a frame 0, the original, and one frame more per variant; one-frame videos are not pairs.
    """
    video, frame = images["video_id"], images["frame_id"]
    first, second = np.flatnonzero(frame == 0), np.flatnonzero(frame > 0)
    found = find_positions(video[first], video[second])
    if len(found) and found.min() < 0:
        raise images.error(int(second[found.argmin()]), "is a second view in a video without a frame 0", hint=_READ_AS)
    pairs = np.column_stack([first[found], second]).astype(np.int64) if len(second) else np.zeros((0, 2), np.int64)
    return np.unique(pairs), pairs


def _motion(images: RecordTable, row: int) -> tuple[float, ...]:
    if images["motion"][row] is None:
        return motion_row("", False, (), 0, 0)
    try:
        motion = msgspec.convert(images["motion"][row], _Motion)
    except msgspec.ValidationError as error:
        raise images.error(row, "has a motion that cannot be read", hint=str(error)) from None
    width, height = int(images["width"][row]), int(images["height"][row])
    return motion_row(motion.kind, motion.flip, motion.matrix, width, height)
