"""The records of an annotation file of pairs: those of the annotation file and of the run, with their new fields.

Everything is computed in columns; the worker processes copy the records and change them (see
`annotation_io.edited_records`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.edited_records import KEEP, Choice, Conversion, EditedRecords
from ovforge.records.reporting import Progress
from ovforge.records.run_layout import view_name
from ovforge.synthesis.annotated_columns import Classes, ImageColumns, ObjectColumns
from ovforge.synthesis.box_masks import box_mask
from ovforge.synthesis.clear_objects import clear_objects
from ovforge.synthesis.followed_objects import Tracks
from ovforge.synthesis.image_table import LISTS
from ovforge.synthesis.rle_text import compressed
from ovforge.synthesis.second_views import SecondViews

NOT_MOVED = b', "caption": "", "seed": null, "motion": {"kind": "none"}'
"""What an image that is not a second view says of itself, so that all images have the same keys: mmdet's loaders for
videos turn the frames' dictionaries into a dictionary of lists."""
_NO_MASK = b', "keep_mask": null'
_TOGETHER = 5000  # records written at once

Ints = NDArray[np.int64]


ClassLists = dict[str, list[bytes]]
"""LVIS's lists of classes of each image of the run, by the new ids, as JSON."""


@dataclass(frozen=True)
class PairRecords:
    """What the records are made from.

    Attributes:
        path: the annotation file.
        classes, lists: None in OVTrack's own file, which copies the annotation file's; without these, no field is
            added that OVTrack's script does not add.
    """

    path: Path
    images: ImageColumns
    objects: ObjectColumns
    views: SecondViews
    tracks: Tracks
    classes: Classes | None
    lists: ClassLists | None
    masks: bool
    """Whether objects have their masks, as compressed RLE."""
    progress: Progress
    tail: bytes = b""
    """More fields of an image that is not a second view."""
    tails: list[bytes] = field(default_factory=list)
    """More fields of each second view of the run; empty if nothing is known of them."""
    first_track: int = 0
    first_video: int = 0
    box_masks: bool = False
    """Whether objects without a mask have their rounded box, as the run has moved it."""
    score_tails: list[bytes] = field(default_factory=list)
    """More fields of each second view's object: its scores; empty if there are none."""

    @property
    def is_full(self) -> bool:
        """Whether it is more than OVTrack's own file."""
        return self.classes is not None

    def stills(self, *, with_pairs: bool) -> Iterator[EditedRecords]:
        """Every image as a video's only frame.

        Args:
            with_pairs: whether the file has pairs, too, whose images say how they were made.
        """
        table, used = self.images.table, self.views.used
        numbers = np.arange(len(used))
        noted = table["file_name"][used].tolist()
        names = [self.images.names[position] for position in used.tolist()]
        texts = {"file_name": [None if n == old else _quoted(n) for n, old in zip(names, noted, strict=True)]}
        appended = {"video_id": self.first_video + numbers, "frame_id": np.zeros(len(used), np.int64)}
        if self.is_full:
            appended["frame_index"] = appended["frame_id"]
        yield EditedRecords(
            (self.path,),
            np.zeros(len(used), np.int8),
            table.starts[used],
            table.stops[used],
            texts={**texts, **self._list_texts(numbers)},
            appended=appended,
            tails=[self.tail] * len(used) if with_pairs and self.tail else None,
            stage="images",
            progress=self.progress,
        )

    def pair_images(self) -> EditedRecords:
        """Every image with its second views."""
        table, variants, kept = self.images.table, self.views.variants, self.tracks.kept
        frames = variants + 1
        number, frame = np.repeat(kept, frames), np.tile(np.arange(frames), len(kept))
        there = np.column_stack([np.ones(len(kept), np.bool_), self.views.is_live[kept]])
        place = (np.cumsum(there, axis=1) - 1)[there]  # frames are counted without those that are left out
        number, frame = number[there.ravel()], frame[there.ravel()]
        position = self.views.used[number]
        names = [
            view_name(self.images.names[p], f - 1, self.views.frames) if f else self.images.names[p]
            for p, f in zip(position.tolist(), frame.tolist(), strict=True)
        ]
        texts: dict[str, list[bytes | None]] = {"file_name": [_quoted(name) for name in names]}
        appended = {"video_id": self.first_video + len(self.views.used) + number, "frame_id": place}
        if self.is_full:
            appended["frame_index"] = place
            texts["coco_url"] = [
                _quoted(f"{url.rpartition('/')[0]}/{name}") if f and url else None
                for url, name, f in zip(table["coco_url"][position], names, frame.tolist(), strict=True)
            ]
            texts.update(self._list_texts(number))
        tails = None
        if self.tails:
            tails = [
                self.tails[n * variants + f - 1] if f else self.tail
                for n, f in zip(number.tolist(), frame.tolist(), strict=True)
            ]
        return EditedRecords(
            (self.path,),
            np.zeros(len(position), np.int8),
            table.starts[position],
            table.stops[position],
            numbers={"id": self.images.largest_id + 1 + number * frames + frame},
            texts=texts,
            appended=appended,
            tails=tails,
            stage="images of pairs",
            progress=self.progress,
        )

    def still_objects(self, *, with_pairs: bool) -> EditedRecords:
        """The objects of the videos of one frame.

        Args:
            with_pairs: whether the file has pairs, too, whose encoding of masks theirs follows.
        """
        objects = self.objects
        track = self.first_track + np.arange(len(objects.rows))
        more: dict[str, Any] = {}
        appended = {"instance_id": track, "track_id": track, "video_id": self.first_video + objects.number}
        if self.is_full:
            appended["iscrowd"] = np.zeros(len(track), np.int64)
            more = self._full_fields(objects.rows, objects.column("bbox"), objects.number)
            if with_pairs:
                more |= self._masks(objects.number, np.ones(len(objects.rows), np.bool_))
        return EditedRecords(
            (self.path,),
            np.zeros(len(track), np.int8),
            objects.table.starts[objects.rows],
            objects.table.stops[objects.rows],
            texts=objects.file.filled_in(objects.rows),
            appended=appended,
            stage="videos of one frame",
            progress=self.progress,
            **more,
        )

    def pair_objects(self) -> EditedRecords:
        """The objects of the videos of pairs."""
        table, entries, tracks = self.objects.table, self.views.entries, self.tracks
        is_original = tracks.is_original

        def column(of_originals: NDArray[Any], of_entries: NDArray[Any]) -> NDArray[Any]:
            values = np.empty((len(tracks.row), *of_originals.shape[1:]), of_originals.dtype)
            values[is_original] = of_originals[tracks.row[is_original]]
            values[~is_original] = of_entries[tracks.row[~is_original]]
            return values

        appended = {
            "ori_ann_id": column(table["id"], np.full(len(entries.id), KEEP)),
            "instance_id": tracks.track,
            "track_id": tracks.track,
            "video_id": tracks.video,
        }
        more: dict[str, Any] = {"renamed": {1: {"mask": "segmentation"}}}
        numbers = {"id": tracks.id, "image_id": tracks.image_id}
        if self.is_full:
            appended["ori_ann_id"] = table["id"][tracks.original_row]
            appended["iscrowd"] = tracks.is_region.astype(np.int64)
            full = self._full_fields(
                tracks.original_row, column(table["bbox"], entries.box), tracks.image_id, tracks.is_region
            )
            numbers |= full.pop("numbers")
            more |= full
            masks = self._masks(tracks.number, is_original)
            more |= masks
            more["removed"] = (*masks.get("removed", ()), "image_name")
            if not self.masks:
                more["renamed"] = {}
        texts = {
            name: _scattered(values, is_original)
            for name, values in self.objects.file.filled_in(tracks.row[is_original]).items()
        }
        if self.box_masks and self.masks:
            masks_of = [box_mask(table.raw(row)) for row in tracks.row[is_original].tolist()]
            texts["segmentation"] = _scattered(masks_of, is_original)
        if self.score_tails:
            rows = zip(tracks.row.tolist(), is_original.tolist(), strict=True)
            more["tails"] = [b"" if original else self.score_tails[row] for row, original in rows]
        return EditedRecords(
            (self.path, self.views.records),
            (~is_original).astype(np.int8),
            column(table.starts, entries.start),
            column(table.stops, entries.stop),
            numbers=numbers,
            texts=texts,
            appended=appended,
            stage="pairs",
            progress=self.progress,
            **more,
        )

    def videos(self, numbers: Ints, first: int, prefix: str = "") -> Iterator[bytes]:
        """The videos of these images of the run; ids are those that the images carry."""
        used = self.views.used[numbers]
        widths, heights = (self.images.table[side][used].tolist() for side in ("width", "height"))
        ids = (first + numbers).tolist()
        if self.lists is None:
            form = b'{"id": %d, "width": %d, "height": %d}'
            records = [form % video for video in zip(ids, widths, heights, strict=True)]
        else:
            form = b'{"id": %d, "name": %b, "width": %d, "height": %d, "neg_category_ids": %b, '
            form += b'"not_exhaustive_category_ids": %b}'
            names = self._video_names(numbers, prefix)
            lists = [[self.lists[name][number] for number in numbers.tolist()] for name in LISTS]
            records = [form % video for video in zip(ids, names, widths, heights, *lists, strict=True)]
        return _together(records)

    def track_records(self, *, stills: bool, pairs: bool) -> Iterator[bytes]:
        """TAO's list of tracks."""
        records: list[bytes] = []
        if stills:
            ids = self.first_track + np.arange(len(self.objects.rows))
            records += self._tracks(ids, self.objects.rows, self.first_video + self.objects.number)
        if pairs:
            first = self.tracks.is_original
            records += self._tracks(self.tracks.track[first], self.tracks.original_row[first], self.tracks.video[first])
        return _together(records)

    def _tracks(self, ids: Ints, rows: Ints, videos: Ints) -> list[bytes]:
        classes = self._class_ids(rows)
        form = b'{"id": %d, "category_id": %d, "video_id": %d}'
        return [form % track for track in zip(ids.tolist(), classes.tolist(), videos.tolist(), strict=True)]

    def _class_ids(self, rows: Ints) -> Ints:
        ids: Ints = self.objects.table["category_id"][rows]
        return ids if self.classes is None or self.classes.keeps_ids else self.classes.renumbered(ids)

    def _full_fields(
        self, rows: Ints, boxes: NDArray[np.float64], image: Ints, is_region: NDArray[np.bool_] | None = None
    ) -> dict[str, Any]:
        """What is added to objects: their class's new id and `clear`. Ignore regions are not clear and hide none."""
        numbers = {} if self.classes is None or self.classes.keeps_ids else {"category_id": self._class_ids(rows)}
        which = np.zeros(len(rows), np.int8)
        judged = np.ones(len(rows), np.bool_) if is_region is None else ~is_region
        which[judged] = clear_objects(boxes[judged], image[judged])
        return {"numbers": numbers, "chosen": {"clear": Choice(which, (b"false", b"true"))}}

    def _masks(self, number: Ints, is_original: NDArray[np.bool_]) -> dict[str, Any]:
        """How the masks of the annotation file's objects are written; those of second views are compressed already."""
        if not self.masks:
            return {"removed": ("segmentation", "mask")}
        used = self.views.used[number]
        size = np.column_stack([self.images.table[side][used] for side in ("height", "width")])
        size[~is_original] = KEEP
        return {"converted": {"segmentation": Conversion(compressed, size)}}

    def _list_texts(self, number: Ints) -> dict[str, list[bytes | None]]:
        if self.lists is None:
            return {}
        return {name: [self.lists[name][one] for one in number.tolist()] for name in LISTS}

    def _video_names(self, numbers: Ints, prefix: str) -> list[bytes]:
        """Unique names: the images' without their suffix, or with it where two would be the same."""
        names = [self.images.names[position] for position in self.views.used.tolist()]
        stems = [name.rpartition(".")[0] or name for name in names]
        chosen = stems if len(set(stems)) == len(stems) else names
        return [_quoted(prefix + chosen[number]) for number in numbers.tolist()]


def class_lists(images: ImageColumns, used: Ints, classes: Classes) -> ClassLists:
    """LVIS's lists of classes for the images at the positions `used`; an image without one gets an empty one."""
    new_id = classes.new_id
    return {
        name: [str([new_id[one] for one in old if one in new_id]).encode() for old in images.table[name][used].tolist()]
        for name in LISTS
    }


def image_tails(views: SecondViews, extras: Sequence[bytes] = ()) -> tuple[bytes, list[bytes]]:
    """What images of a full file say of how they were made: one that is not a second view, and each second view.

    Args:
        extras: per second view what a detector found besides, as a JSON field; empty where there was none.
    """
    if extras:
        tail, tails = image_tails(views)
        return tail + b', "extra": null', [mine + extra for mine, extra in zip(tails, extras, strict=True)]
    if views.extras is None:
        return b"", []
    has_mask = [_NO_MASK[:-4] in extra for extra in views.extras]
    if not any(has_mask):
        return NOT_MOVED, views.extras
    tails = [extra if there else extra + _NO_MASK for extra, there in zip(views.extras, has_mask, strict=True)]
    return NOT_MOVED + _NO_MASK, tails


def _scattered(values: list[bytes | None], where: NDArray[np.bool_]) -> list[bytes | None]:
    """The values at the places of `where` that are true, in order; None at the others."""
    remaining = iter(values)
    return [next(remaining) if is_there else None for is_there in where.tolist()]


def _together(records: Sequence[bytes]) -> Iterator[bytes]:
    for start in range(0, len(records), _TOGETHER):
        yield b", ".join(records[start : start + _TOGETHER])


def _quoted(text: str) -> bytes:
    return msgspec.json.encode(text)
