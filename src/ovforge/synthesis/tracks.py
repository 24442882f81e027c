"""Write a run's annotation file: COCO video JSON in which an object and its second views carry one `track_id`.

First every picture is a video of one frame with all its annotations but crowds (small objects are only there), then
every picture is a video again: itself and its second views, with the objects that were followed. Order and ids are
OVTrack's: annotation ids go on from the file's largest and are used up by objects that are left out, too, so that
files compare whatever the filters.

Static records are copied byte for byte with their new fields appended; nothing is decoded but the few columns that
decide. So a file of LVIS size takes seconds, and memory is that of the columns.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.errors import MissingInputError
from ovforge.options.tracks import AnnotateOptions
from ovforge.records.reporting import Drops, Progress, StepSummary, no_progress
from ovforge.runs.plan import MANIFEST, load_plan
from ovforge.storage.annotation_file import AnnotationFile, FileRange, RecordTable, write_annotation_file
from ovforge.storage.atomic import check_output
from ovforge.synthesis.merge import merged_files, planned_annotations
from ovforge.synthesis.pairs import variant_name
from ovforge.synthesis.second_views import Entry, SecondViews, open_second_views

PAIR_MIN_AREA = 64.0 * 64.0
"""Square pixels; objects of a pair have to be larger (OVTrack)."""
MIN_MOVED_AREA = 32.0 * 32.0
"""Square pixels; a second view's object has to be at least so large, and its box a pixel wide and high (OVTrack)."""
_TOGETHER = 500  # records written at once
_LAST = 1 << 62


class _Image(msgspec.Struct, frozen=True):
    id: int
    width: int
    height: int
    file_name: str = ""
    coco_url: str = ""


class _Object(msgspec.Struct, frozen=True, gc=False):
    id: int
    image_id: int
    area: float
    iscrowd: int = 0


def annotate_pairs(options: AnnotateOptions, *, progress: Progress = no_progress) -> StepSummary:
    """Write the annotation file of a merged run.

    Raises:
        MissingInputError: the merged files or the annotation file are not there.
        InputError: they do not belong together; says why.
        OutputExistsError: the file is there and `overwrite` is false.
    """
    out = options.out or options.folder / "annotations" / f"{options.name}.json"
    check_output(out, overwrite=options.overwrite)
    run_folder = options.folder / options.name
    plan = load_plan(run_folder)[0] if (run_folder / MANIFEST).is_file() else None
    path = planned_annotations(options.annotations, plan)
    merged = merged_files(options.folder, options.name)
    for file, what in ((merged.h5, "the merged pictures"), (merged.pkl, "the merged annotations")):
        if not file.is_file():
            raise MissingInputError(file, what=what, hint=f"`ovforge pairs merge {options.name}` makes them")
    drops = Drops()
    with AnnotationFile(path, {"images": _Image, "annotations": _Object}) as annotations, _mapped(path) as data:
        pictures = _pictures(annotations.table("images", _Image))
        views = open_second_views(merged, pictures.names, options.variants)
        min_area = options.min_area if options.min_area is not None else views.min_area or PAIR_MIN_AREA
        objects = _objects(annotations.table("annotations", _Object), pictures)
        rules = _Rules(min_area, options.min_fidelity if options.min_fidelity is not None else float("-inf"))
        writer = _TrackWriter(data, pictures, objects, views, rules=rules, drops=drops, progress=progress)
        sections: dict[str, bytes | FileRange | Iterable[bytes | FileRange]] = {
            "images": _joined(writer.images()),
            "annotations": writer.annotations(),
            "videos": _joined(writer.videos()),
            "categories": annotations.whole("categories"),
        }
        write_annotation_file(out, sections, overwrite=options.overwrite)
    return StepSummary("pairs annotate", outputs={"annotations": str(out)}, counts=writer.counts, drops=drops.freeze())


@dataclass(frozen=True)
class _Pictures:
    """The annotation file's pictures, in file order."""

    table: RecordTable
    names: list[str]


@dataclass(frozen=True)
class _Objects:
    """The annotation file's objects without crowds, by picture and within it in file order."""

    table: RecordTable
    order: NDArray[np.int64]
    """Record numbers."""
    first: list[int]
    """(pictures + 1,) where in `order` each picture's objects start."""
    largest_id: int


def _pictures(table: RecordTable) -> _Pictures:
    table.check_unique()
    names = []
    for index, (name, url) in enumerate(zip(table["file_name"], table["coco_url"], strict=True)):
        bare = (name or url).rpartition("/")[2]
        if not bare:
            raise table.error(index, "has neither file_name nor coco_url")
        names.append(bare)
    return _Pictures(table, names)


def _objects(table: RecordTable, pictures: _Pictures) -> _Objects:
    ids = pictures.table["id"]
    table.check_unique()
    table.check_known("image_id", ids, "images")
    by_id = np.argsort(ids)
    position = by_id[np.searchsorted(ids, table["image_id"], sorter=by_id)]
    kept = np.flatnonzero(table["iscrowd"] == 0)
    order = kept[np.argsort(position[kept], kind="stable")]
    first = np.searchsorted(position[order], np.arange(len(ids) + 1))
    return _Objects(table, order, first.tolist(), int(table["id"].max(initial=0)))


class _Rules(NamedTuple):
    """Which objects are followed."""

    min_area: float
    min_fidelity: float


class _TrackWriter:
    """Makes the records of each section, in the order in which they are written: images, annotations, videos."""

    def __init__(
        self,
        data: mmap.mmap,
        pictures: _Pictures,
        objects: _Objects,
        views: SecondViews,
        *,
        rules: _Rules,
        drops: Drops,
        progress: Progress,
    ) -> None:
        self._data = data
        self._pictures = pictures
        self._objects = objects
        self._views = views
        self._rules = rules
        self._drops = drops
        self._progress = progress
        self._used: list[int] = []
        """Positions of the pictures that the run has; the others are in no file of pictures."""
        self.counts = {"videos": 0, "images": 0, "annotations": 0, "tracks": 0}

    def images(self) -> Iterator[bytes]:
        """Every picture as a video's only frame, then every picture with its second views."""
        table, names = self._pictures.table, self._pictures.names
        raw = _RawRecords(self._data, table)
        extras = []
        for position, extra in self._views.images(self._drops):
            self._used.append(position)
            extras.append(extra)
            place = b', "video_id": %d, "frame_id": 0}' % (len(self._used) - 1)
            if table["file_name"][position] == names[position]:
                yield raw[position][:-1] + place
            else:
                named = _changed(_FIELDS.decode(raw[position]), file_name=_text(names[position]))
                yield named[:-1] + place
        image_id = int(table["id"].max(initial=0))
        for number, (position, extra) in enumerate(zip(self._used, extras, strict=True)):
            fields = _FIELDS.decode(raw[position])
            for frame in range(self._views.variants + 1):
                image_id += 1
                fields["id"] = _raw(image_id)
                name = names[position] if frame == 0 else variant_name(names[position], frame - 1)
                fields["file_name"] = _text(name)
                place = b', "video_id": %d, "frame_id": %d' % (len(self._used) + number, frame)
                yield msgspec.json.encode(fields)[:-1] + place + (extra[frame - 1] if frame and extra else b"") + b"}"
        self.counts["images"] = len(self._used) * (self._views.variants + 2)

    def annotations(self) -> Iterator[bytes]:
        """All annotations of the videos of one frame, then those of the pairs."""
        yield from self._static_annotations()
        yield from _joined(self._pair_annotations(self.counts["annotations"]))

    def videos(self) -> Iterator[bytes]:
        """All videos: their ids are those that the images carry."""
        widths, heights = self._pictures.table["width"].tolist(), self._pictures.table["height"].tolist()
        for video, position in enumerate([*self._used, *self._used]):
            yield b'{"id": %d, "width": %d, "height": %d}' % (video, widths[position], heights[position])
        self.counts["videos"] = 2 * len(self._used)

    def _static_annotations(self) -> Iterator[bytes]:
        """Many records at a time: there are a million of them, and nothing is done but to append three numbers."""
        data, order, first = self._data, self._objects.order, self._objects.first
        starts = self._objects.table.starts[order].tolist()
        ends = (self._objects.table.stops[order] - 1).tolist()  # before the closing brace
        instance = 0
        batch: list[bytes] = []
        for video, position in enumerate(self._used):
            begin, end = first[position], first[position + 1]
            shift = instance - begin
            batch += [
                b'%b, "instance_id": %d, "track_id": %d, "video_id": %d}'
                % (data[starts[k] : ends[k]], k + shift, k + shift, video)
                for k in range(begin, end)
            ]
            instance += end - begin
            if len(batch) >= _TOGETHER:
                yield b", ".join(batch)
                batch.clear()
                self._progress("videos of one frame", video, len(self._used))
        if batch:
            yield b", ".join(batch)
        self.counts["annotations"] += instance

    def _pair_annotations(self, instance: int) -> Iterator[bytes]:
        table, order, first = self._objects.table, self._objects.order, self._objects.first
        raw = _RawRecords(self._data, table)
        large = table["area"] > self._rules.min_area
        next_image = int(self._pictures.table["id"].max(initial=0)) + 1
        next_id = self._objects.largest_id + 1
        for number, (position, frames) in enumerate(zip(self._used, self._views.entries(self._used), strict=True)):
            video = len(self._used) + number
            records = order[first[position] : first[position + 1]]
            followed = records[large[records]]
            instances = {}
            for record, original in zip(followed.tolist(), table["id"][followed].tolist(), strict=True):
                instances[original] = instance
                fields = _changed(_FIELDS.decode(raw[record]), id=_raw(next_id), image_id=_raw(next_image))
                yield fields[:-1] + b', "ori_ann_id": %d' % original + _track(instance, video)
                instance += 1
                next_id += 1
            self.counts["annotations"] += len(instances)
            for frame, entries in enumerate(frames, start=1):
                if instances and not entries:
                    name = variant_name(self._pictures.names[position], frame - 1)
                    self._drops.add("second view", "nothing is noted of its objects: it has no boxes", name)
                    next_id += len(instances)  # the original put the picture's own boxes here
                for this_id, entry in enumerate(_in_order(entries, instances), start=next_id):
                    if self._is_kept(entry, instances):
                        fields = _changed(entry.fields, id=_raw(this_id), image_id=_raw(next_image + frame))
                        yield fields[:-1] + _track(instances[entry.id], video)
                        self.counts["annotations"] += 1
                next_id += len(entries)
            next_image += len(frames) + 1
            if number % _TOGETHER == 0:
                self._progress("pairs", number, len(self._used))
        self.counts["tracks"] = instance

    def _is_kept(self, entry: Entry, instances: dict[int, int]) -> bool:
        if entry.id not in instances:
            reason = f"its original is no object larger than {self._rules.min_area:g} square pixels"
        elif entry.area <= 0:
            reason = "it left the picture"
        elif entry.bbox[2] < 1 or entry.bbox[3] < 1 or entry.area < MIN_MOVED_AREA:
            reason = f"smaller than {MIN_MOVED_AREA:g} square pixels in the second view"
        elif entry.fidelity is not None and entry.fidelity < self._rules.min_fidelity:
            reason = f"fidelity below {self._rules.min_fidelity:g}"
        else:
            return True
        self._drops.add("object", reason, f"annotation {entry.id} in {entry.image_name}")
        return False


def _in_order(entries: list[Entry], instances: dict[int, int]) -> list[Entry]:
    """The entries in the order of their originals; those without one come last."""
    return sorted(entries, key=lambda entry: instances.get(entry.id, _LAST))


class _RawRecords:
    """The bytes of records in any order: LVIS's own files list annotations at random."""

    def __init__(self, data: mmap.mmap, table: RecordTable) -> None:
        self._data = data
        self._starts, self._stops = table.starts.tolist(), table.stops.tolist()

    def __getitem__(self, index: int) -> bytes:
        return self._data[self._starts[index] : self._stops[index]]


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    # A call to the system for each of a million records takes longer than all the rest.
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _track(instance: int, video: int) -> bytes:
    return b', "instance_id": %d, "track_id": %d, "video_id": %d}' % (instance, instance, video)


def _raw(number: int) -> msgspec.Raw:
    return msgspec.Raw(b"%d" % number)


def _text(text: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(text))


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _changed(fields: dict[str, Any], **values: msgspec.Raw) -> bytes:
    """A record with some fields' values replaced in their places; all other values keep their bytes."""
    fields.update(values)
    return msgspec.json.encode(fields)


def _joined(records: Iterable[bytes]) -> Iterator[bytes]:
    """Many records at a time, with the commas between them."""
    batch: list[bytes] = []
    for record in records:
        batch.append(record)
        if len(batch) == _TOGETHER:
            yield b", ".join(batch)
            batch.clear()
    if batch:
        yield b", ".join(batch)
