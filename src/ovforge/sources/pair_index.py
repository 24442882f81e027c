"""An index over a pairs JSON, so that 100,000 pairs open at once and take no memory of their own.

The JSON of `pairs annotate` is read once and laid down as plain arrays that are mapped, not loaded: the viewer
and every DataLoader worker share the same pages. Whatever the arrays do not hold (captions, motions, masks) is
read from the JSON itself, one record at a time, by its byte range.

The index stands beside the JSON, or in the user's cache folder where that one cannot be written, and is made anew
when the JSON changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.errors import AnnotationFileError, MissingInputError, WorkError
from ovforge.records.lvis import Category
from ovforge.records.reporting import Progress, no_progress
from ovforge.storage.annotation_file import AnnotationFile, read_records

VERSION = 1


class _ImageColumns(msgspec.Struct, frozen=True):
    id: int
    width: int
    height: int
    file_name: str
    video_id: int
    frame_id: int


class _AnnotationColumns(msgspec.Struct, frozen=True):
    image_id: int
    category_id: int
    track_id: int
    bbox: tuple[float, float, float, float]
    area: float
    fidelity: float = float("nan")


class _Header(msgspec.Struct, frozen=True):
    version: int
    size: int
    modified_ns: int
    categories: list[Category]


_ARRAYS = (
    "pairs",
    "image_id",
    "image_size",
    "image_record",
    "name_start",
    "names",
    "object_start",
    "box",
    "area",
    "category_id",
    "track_id",
    "fidelity",
    "object_record",
)


@dataclass(frozen=True)
class PairIndex:
    """The pairs of one JSON, as mapped arrays.

    Attributes:
        path: the JSON.
        categories: the classes, in the file's order.
        pairs: int64 (pairs, 2): rows of the original and of its second view in the image arrays.
        image_id: int64 (images,).
        image_size: int32 (images, 2): width, height in pixels.
        object_start: int64 (images + 1,): image row i has the objects object_start[i]:object_start[i + 1].
        box: float32 (objects, 4): x, y, width, height in pixels.
        area: float32 (objects,), square pixels. category_id, track_id: int64 (objects,).
        fidelity: float32 (objects,), NaN where the run has none.
    """

    path: Path
    categories: tuple[Category, ...]
    pairs: NDArray[np.int64]
    image_id: NDArray[np.int64]
    image_size: NDArray[np.int32]
    image_record: NDArray[np.int64]
    name_start: NDArray[np.int64]
    names: NDArray[np.uint8]
    object_start: NDArray[np.int64]
    box: NDArray[np.float32]
    area: NDArray[np.float32]
    category_id: NDArray[np.int64]
    track_id: NDArray[np.int64]
    fidelity: NDArray[np.float32]
    object_record: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pairs)

    def file_name(self, row: int) -> str:
        """The HDF5 key of image row `row`."""
        return bytes(self.names[self.name_start[row] : self.name_start[row + 1]]).decode()

    def objects(self, row: int) -> slice:
        """Where the objects of image row `row` stand in the object arrays."""
        return slice(int(self.object_start[row]), int(self.object_start[row + 1]))

    def image_fields(self, row: int) -> dict[str, Any]:
        """The JSON record of image row `row`, whole: caption, seed and motion stand in it."""
        return self._fields(self.image_record[row])

    def object_fields(self, position: int) -> dict[str, Any]:
        """The JSON record of one object, whole: its mask, where masks were kept, stands in it."""
        return self._fields(self.object_record[position])

    def _fields(self, span: NDArray[np.int64]) -> dict[str, Any]:
        start, stop = int(span[0]), int(span[1])
        with open(self.path, "rb") as file:
            file.seek(start)
            fields: dict[str, Any] = msgspec.json.decode(file.read(stop - start), type=dict[str, Any])
        return fields


def open_pair_index(path: Path, *, progress: Progress = no_progress) -> PairIndex:
    """Open the index of a pairs JSON; make it first where it is missing or older than the JSON.

    Raises:
        MissingInputError: there is no such JSON.
        AnnotationFileError: it is not a pairs JSON, or is damaged.
    """
    if not path.is_file():
        raise MissingInputError(path, what="pairs JSON", hint="`ovforge pairs annotate NAME` writes it")
    for folder in _index_folders(path):
        if (index := _load(path, folder)) is not None:
            return index
    for folder in _index_folders(path):
        with contextlib.suppress(OSError):
            _build(path, folder, progress)
            if (index := _load(path, folder)) is not None:
                return index
    raise WorkError(
        f"{path}: its index can be written neither beside it nor in the cache folder",
        hint="make one of the two writable; XDG_CACHE_HOME names the cache folder",
    )


def _index_folders(path: Path) -> tuple[Path, Path]:
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return path.parent / f".{path.name}.index", cache / "ovforge" / f"{path.name}-{key}.index"


def _load(path: Path, folder: Path) -> PairIndex | None:
    stat = path.stat()
    try:
        header = msgspec.json.decode((folder / "header.json").read_bytes(), type=_Header)
        if (header.version, header.size, header.modified_ns) != (VERSION, stat.st_size, stat.st_mtime_ns):
            return None
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
    except (OSError, ValueError, msgspec.DecodeError):
        return None
    return PairIndex(path=path, categories=tuple(header.categories), **arrays)


def _build(path: Path, folder: Path, progress: Progress) -> None:
    stat = path.stat()
    arrays = _arrays(path, progress)
    header = _Header(VERSION, stat.st_size, stat.st_mtime_ns, list(read_records(path, "categories", Category)))
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f"{folder.name}.part-{os.getpid()}-{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        (temporary / "header.json").write_bytes(msgspec.json.encode(header))
        shutil.rmtree(folder, ignore_errors=True)
        # Another process may have published the same index meanwhile; theirs is as good as ours.
        with contextlib.suppress(FileExistsError):
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _arrays(path: Path, progress: Progress) -> dict[str, NDArray[Any]]:
    progress("index", 0, 0)
    with AnnotationFile(path, {"images": _ImageColumns, "annotations": _AnnotationColumns}) as file:
        if "videos" not in file.sections:
            raise AnnotationFileError(
                path, 'has no "videos": not a pairs JSON', hint="`ovforge pairs annotate NAME` writes one"
            )
        images, objects = file.table("images", _ImageColumns), file.table("annotations", _AnnotationColumns)
    video, frame = images["video_id"], images["frame_id"]
    # A pair's video has a frame 0, the original, and one frame more per variant; one-frame videos are no pairs.
    first, second = np.flatnonzero(frame == 0), np.flatnonzero(frame > 0)
    place = _place(video[first], video[second])
    if len(place) and place.min() < 0:
        raise images.error(int(second[place.argmin()]), "is a second view in a video without a frame 0")
    pairs = np.column_stack([first[place], second]).astype(np.int64)

    rows = np.unique(pairs)
    names = [str(name).encode() for name in images["file_name"][rows]]
    owner = _place(images["id"][rows], objects["image_id"])
    order = np.argsort(owner, kind="stable")[int(np.count_nonzero(owner < 0)) :]
    counts = np.bincount(owner[order], minlength=len(rows))

    def column(name: str, kind: Any) -> NDArray[Any]:
        return np.ascontiguousarray(objects[name][order], dtype=kind)

    return {
        "pairs": np.searchsorted(rows, pairs),
        "image_id": images["id"][rows].astype(np.int64),
        "image_size": np.column_stack([images["width"], images["height"]]).astype(np.int32)[rows],
        "image_record": np.column_stack([images.starts, images.stops]).astype(np.int64)[rows],
        "name_start": np.cumsum([0, *(len(name) for name in names)]).astype(np.int64),
        "names": np.frombuffer(b"".join(names), dtype=np.uint8),
        "object_start": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        "box": column("bbox", np.float32).reshape(-1, 4),
        "area": column("area", np.float32),
        "category_id": column("category_id", np.int64),
        "track_id": column("track_id", np.int64),
        "fidelity": column("fidelity", np.float32),
        "object_record": np.column_stack([objects.starts, objects.stops]).astype(np.int64)[order],
    }


def _place(keys: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.int64]:
    """For each of `wanted` its position in `keys`, or -1."""
    if not len(keys):
        return np.full(len(wanted), -1, dtype=np.int64)
    sorter = np.argsort(keys, kind="stable")
    found = sorter[np.minimum(np.searchsorted(keys, wanted, sorter=sorter), len(keys) - 1)]
    return np.where(keys[found] == wanted, found, -1).astype(np.int64)
