"""The videos of a pairs JSON, one after the other, whatever its size and however many frames each has.

Only the ids come into memory; a video's records are read when it is its turn.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.annotation_file import AnnotationFile, RecordTable
from ovforge.annotation_io.record_edit import decode_record
from ovforge.annotation_io.schema import Fields

READ_AS = "a pairs JSON is what `ovforge pairs annotate NAME` writes"
OCCLUDED_BELOW = 0.7
"""An object of which less is visible counts as occluded where nobody says."""

Ints = NDArray[np.int64]
_CLIP_FRAME = re.compile(r"_v\d+_f\d{3,}\.")
"""In the name of a clip's frame, see `records.run_layout.frame_name`."""


class _ImageKeys(msgspec.Struct, frozen=True):
    id: int
    video_id: int
    frame_id: int
    file_name: str


class _ObjectKeys(msgspec.Struct, frozen=True, gc=False):
    image_id: int


class _VideoKeys(msgspec.Struct, frozen=True):
    id: int
    name: str = ""


class VideoObject(msgspec.Struct, frozen=True):
    """An object in one frame."""

    id: int
    category_id: int
    track_id: int
    bbox: tuple[float, float, float, float]
    """x, y, width, height in pixels."""
    area: float
    iscrowd: int = 0
    """1: a region to be ignored."""
    segmentation: Any = None
    visibility: float | None = None
    """0 to 1; None where nobody says."""
    occluded: bool | None = None
    outside: bool = False
    """Whether it is out of sight; it has no box then."""

    @property
    def is_occluded(self) -> bool:
        """Whether something hides it: as noted, or else where less than 70 % of it is visible."""
        if self.occluded is not None:
            return self.occluded
        return self.visibility is not None and self.visibility < OCCLUDED_BELOW


@dataclass(frozen=True)
class Frame:
    """One image of a video."""

    index: int
    """From 0."""
    image_id: int
    file_name: str
    """Its key in the store of images."""
    width: int
    height: int
    record: dict[str, Any]
    """As it stands in the JSON."""
    objects: tuple[VideoObject, ...]
    object_records: tuple[dict[str, Any], ...]
    """As they stand in the JSON."""


@dataclass(frozen=True)
class Video:
    """A pair or a clip."""

    number: int
    """Among those that are exported, from 0."""
    id: int
    name: str
    """Unique, without a slash, fit for a folder."""
    width: int
    height: int
    neg_category_ids: list[int]
    not_exhaustive_category_ids: list[int]
    frames: tuple[Frame, ...]

    def tracks(self) -> dict[int, list[tuple[Frame, VideoObject]]]:
        """Track id -> its objects, frame by frame; in the order in which the tracks appear."""
        tracks: dict[int, list[tuple[Frame, VideoObject]]] = {}
        for frame in self.frames:
            for found in frame.objects:
                tracks.setdefault(found.track_id, []).append((frame, found))
        return tracks


class _ImageFields(msgspec.Struct, frozen=True):
    width: int
    height: int
    neg_category_ids: list[int] = []
    not_exhaustive_category_ids: list[int] = []


def _named(category: dict[str, Any]) -> dict[str, Any]:
    """A class without what is null in it; one without a name is called by its id, as no step before needs a name."""
    known = {field: value for field, value in category.items() if value is not None}
    return known if known.get("name") else {**known, "name": str(known["id"])}


class VideoFile:
    """An open pairs JSON.

    Videos of one frame are no pairs: they are counted in `stills` and not handed out.

    Raises:
        MissingInputError: there is no such file.
        AnnotationFileError: it is not JSON or no pairs JSON; says where.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = AnnotationFile(path, {"videos": _VideoKeys, "images": _ImageKeys, "annotations": _ObjectKeys})
        try:
            videos = self._file.table("videos", _VideoKeys)
            self._images = self._file.table("images", _ImageKeys)
            self._objects = self._file.table("annotations", _ObjectKeys)
            videos.check_unique()
            self._images.check_unique()
            self._images.check_known("video_id", videos["id"], "videos")
            self._objects.check_known("image_id", self._images["id"], "images")
            categories = self._file.table("categories", Fields("categories", ("id",)))
            self.categories = [_named(decode_record(categories.raw(row))) for row in range(len(categories))]
            self._arrange(videos)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self.ids)

    def _arrange(self, videos: RecordTable) -> None:
        """Put the images of each video together by their frames, and the objects of each image."""
        images = self._images
        row_of = {video: row for row, video in enumerate(videos["id"].tolist())}
        video = np.array([row_of[one] for one in images["video_id"].tolist()], np.int64)
        order = np.lexsort((images["frame_id"], video))
        first = np.searchsorted(video[order], np.arange(len(videos)))
        after = np.searchsorted(video[order], np.arange(len(videos)), "right")
        twice = np.flatnonzero(
            (np.diff(video[order]) == 0) & (np.diff(images["frame_id"][order]) == 0)
        )  # two images of one frame
        if len(twice):
            raise images.error(int(order[twice[0] + 1]), "has the frame_id of another image of its video", hint=READ_AS)
        is_video = after - first > 1
        self._shortened: set[int] = set()
        self.stills = int(np.count_nonzero(after - first == 1))
        """How many videos have one frame."""
        self._image_rows = [order[a:b] for a, b in zip(first[is_video], after[is_video], strict=True)]
        self.ids: Ints = videos["id"][is_video]
        """The videos of more than one frame, in the file's order."""
        by_id = np.argsort(images["id"], kind="stable")
        owner = by_id[np.searchsorted(images["id"][by_id], self._objects["image_id"])]
        self._object_rows = np.argsort(owner, kind="stable")
        self._object_edges = np.searchsorted(owner[self._object_rows], np.arange(len(images) + 1))
        self.names = self._names(videos["name"][is_video].tolist())
        """The videos' names."""

    def _names(self, noted: list[str]) -> list[str]:
        names = [
            name or self._images["file_name"][rows[0]].rpartition(".")[0]
            for name, rows in zip(noted, self._image_rows, strict=True)
        ]
        names = [name.replace("/", "-").replace("\\", "-").lstrip(".") or "video" for name in names]
        if len(set(names)) == len(names):
            return names
        return [f"{name}-{video}" for name, video in zip(names, self.ids.tolist(), strict=True)]

    def leave_out(self, rejected: Collection[str], numbers: Ints) -> tuple[Ints, list[str]]:
        """Take rejected second views out of these videos (positions in `ids`); a clip goes as a whole.

        Returns:
            The videos that still have two frames, and the names of the frames that were taken out.
        """
        kept: list[int] = []
        left_out: list[str] = []
        for number in numbers.tolist():
            names = self.file_names(number)
            there = np.array([name not in rejected for name in names[1:]], np.bool_)
            if not there.all():
                if any(_CLIP_FRAME.search(name) for name in names[1:]):
                    there[:] = False
                left_out += [name for name, stays in zip(names[1:], there.tolist(), strict=True) if not stays]
                self._image_rows[number] = self._image_rows[number][np.append(True, there)]
                self._shortened.add(number)
            if there.any():
                kept.append(number)
        return np.array(kept, np.int64), left_out

    def file_names(self, number: int) -> list[str]:
        """The file names of a video's frames."""
        return [str(name) for name in self._images["file_name"][self._image_rows[number]]]

    def videos(self, numbers: NDArray[np.int64]) -> Iterator[Video]:
        """These videos (positions in `ids`), in this order.

        Raises:
            AnnotationFileError: a record lacks a field, or has one of another kind; says where.
        """
        for number, position in enumerate(numbers.tolist()):
            frames = tuple(
                self._frame(index, row, renumbered=position in self._shortened)
                for index, row in enumerate(self._image_rows[position].tolist())
            )
            first = self._fields(self._images, int(self._image_rows[position][0]), frames[0].record, _ImageFields)
            yield Video(
                number=number,
                id=int(self.ids[position]),
                name=self.names[position],
                width=frames[0].width,
                height=frames[0].height,
                neg_category_ids=first.neg_category_ids,
                not_exhaustive_category_ids=first.not_exhaustive_category_ids,
                frames=frames,
            )

    def _frame(self, index: int, row: int, *, renumbered: bool) -> Frame:
        record: dict[str, Any] = decode_record(self._images.raw(row))
        if renumbered:
            record |= {key: index for key in ("frame_id", "frame_index") if key in record}
        size = self._fields(self._images, row, record, _ImageFields)
        rows = self._object_rows[self._object_edges[row] : self._object_edges[row + 1]].tolist()
        records = [decode_record(self._objects.raw(one)) for one in rows]
        objects = [
            self._fields(self._objects, one, fields, VideoObject) for one, fields in zip(rows, records, strict=True)
        ]
        shown = [not one.outside for one in objects]
        return Frame(
            index=index,
            image_id=int(record["id"]),
            file_name=str(record["file_name"]),
            width=size.width,
            height=size.height,
            record=record,
            objects=tuple(one for one, there in zip(objects, shown, strict=True) if there),
            object_records=tuple(one for one, there in zip(records, shown, strict=True) if there),
        )

    @staticmethod
    def _fields(table: RecordTable, row: int, record: dict[str, Any], kind: type[Any]) -> Any:
        try:
            return msgspec.convert(record, kind, strict=False)
        except msgspec.ValidationError as error:
            raise table.error(row, f"does not fit ({error})", hint=READ_AS) from error
