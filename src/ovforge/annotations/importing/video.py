"""Releases that list videos: YouTube-VIS and LV-VIS (an annotation a track), BURST (a sequence a record).

Every annotated frame becomes an image, every mask in it an annotation with the `track_id` of its object; `videos` and
`tracks` are written as in TAO. Masks are compressed RLE.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ovforge.annotation_io.annotation_file import read_records, read_value
from ovforge.annotation_io.door import read_table
from ovforge.annotations.importing.imported import Imported, NotAMaskError, box_and_area, compressed_rle, encode
from ovforge.errors import AnnotationFileError
from ovforge.records.reporting import require_some


class _Video(msgspec.Struct, frozen=True):
    id: int
    width: int
    height: int
    file_names: list[str]


class _Track(msgspec.Struct, frozen=True):
    id: int
    video_id: int
    category_id: int
    segmentations: list[Any]
    iscrowd: int | bool = 0


class _Sequence(msgspec.Struct, frozen=True):
    id: int
    width: int
    height: int
    seq_name: str
    dataset: str
    annotated_image_paths: list[str]
    segmentations: list[dict[str, Any]]
    track_category_ids: dict[str, int]
    neg_category_ids: list[int] = []
    not_exhaustive_category_ids: list[int] = []


def read_youtube_vis(path: Path) -> Imported:
    """Read YouTube-VIS or LV-VIS. Images are numbered from 1 in the order of videos and frames.

    Raises:
        MissingInputError, AnnotationFileError: no such file, not JSON, or no `videos` and `annotations` of this form.
    """
    imported = Imported()
    classes = _class_ids(path)
    videos: dict[int, tuple[_Video, int]] = {}
    first = 1
    for video in read_records(path, "videos", _Video):
        if video.id in videos:
            raise AnnotationFileError(path, f"two videos have the id {video.id}")
        videos[video.id] = (video, first)
        first += len(video.file_names)
    imported.counts["videos"] = len(videos)

    def images() -> Iterator[bytes]:
        for video, first_id in videos.values():
            for index, name in enumerate(video.file_names):
                imported.counts["images"] += 1
                yield encode(
                    _image(first_id + index, name, size=(video.width, video.height), video_id=video.id, index=index)
                )

    def tracks() -> Iterator[bytes]:
        seen: set[int] = set()
        for track in read_records(path, "annotations", _Track):
            if track.video_id not in videos:
                raise AnnotationFileError(
                    path,
                    f'annotation {track.id} has video_id {track.video_id}, which is not in "videos"',
                    hint="take the annotation file and its videos from one release",
                )
            _check_class(path, f"annotation {track.id}", track.category_id, classes)
            if track.id in seen:
                raise AnnotationFileError(path, f"two annotations have the id {track.id}")
            seen.add(track.id)
            imported.counts["tracks"] += 1
            yield encode({"id": track.id, "category_id": track.category_id, "video_id": track.video_id})

    def annotations() -> Iterator[bytes]:
        for track in read_records(path, "annotations", _Track):
            video, first_id = videos[track.video_id]
            if len(track.segmentations) != len(video.file_names):
                raise AnnotationFileError(
                    path,
                    f"annotation {track.id} has {len(track.segmentations)} masks, "
                    f"its video {video.id} has {len(video.file_names)} frames",
                )
            for index, mask in enumerate(track.segmentations):
                if mask is None:
                    continue
                place = f"annotation {track.id}, frame {index}"
                if (record := _annotation(path, place, mask, video.height, video.width)) is None:
                    imported.drops.add("mask", "is empty", place)
                    continue
                imported.counts["annotations"] += 1
                yield encode(
                    {
                        "id": imported.counts["annotations"],
                        "image_id": first_id + index,
                        "category_id": track.category_id,
                        **record,
                        "iscrowd": int(track.iscrowd),
                        "track_id": track.id,
                        "video_id": track.video_id,
                    }
                )

    imported.counts["classes"] = len(classes)
    imported.sections = {
        "videos": (
            encode({"id": v.id, "name": _folder(v), "width": v.width, "height": v.height}) for v, _ in videos.values()
        ),
        "images": images(),
        "tracks": tracks(),
        "annotations": annotations(),
        "categories": read_value(path, "categories"),
    }
    return imported


def read_burst(path: Path) -> Imported:
    """Read BURST. Image names are `DATASET/SEQUENCE/FRAME`, as they lie below the folder of a split's frames.

    Raises:
        MissingInputError, AnnotationFileError: no such file, not JSON, or no `sequences` of this form.
    """
    imported = Imported()
    classes = _class_ids(path)

    def videos() -> Iterator[bytes]:
        seen: set[int] = set()
        for sequence in read_records(path, "sequences", _Sequence):
            _check_sequence(path, sequence, classes)
            if sequence.id in seen:
                raise AnnotationFileError(path, f"two sequences have the id {sequence.id}")
            seen.add(sequence.id)
            imported.counts["videos"] += 1
            name = f"{sequence.dataset}/{sequence.seq_name}"
            yield encode({"id": sequence.id, "name": name, "width": sequence.width, "height": sequence.height})

    def images() -> Iterator[bytes]:
        for sequence in read_records(path, "sequences", _Sequence):
            for index, frame in enumerate(sequence.annotated_image_paths):
                imported.counts["images"] += 1
                name = f"{sequence.dataset}/{sequence.seq_name}/{frame}"
                record = _image(
                    imported.counts["images"],
                    name,
                    size=(sequence.width, sequence.height),
                    video_id=sequence.id,
                    index=index,
                )
                record["neg_category_ids"] = sequence.neg_category_ids
                record["not_exhaustive_category_ids"] = sequence.not_exhaustive_category_ids
                yield encode(record)

    def tracks() -> Iterator[bytes]:
        for sequence in read_records(path, "sequences", _Sequence):
            for category in sequence.track_category_ids.values():
                imported.counts["tracks"] += 1
                yield encode({"id": imported.counts["tracks"], "category_id": category, "video_id": sequence.id})

    def annotations() -> Iterator[bytes]:
        first_image = first_track = 1
        for sequence in read_records(path, "sequences", _Sequence):
            ids = {name: first_track + i for i, name in enumerate(sequence.track_category_ids)}
            for index, frame in enumerate(sequence.segmentations):
                for name, entry in frame.items():
                    place = f"sequence {sequence.id}, frame {index}, track {name}"
                    if name not in ids:
                        raise AnnotationFileError(path, f"{place}: it is not in track_category_ids")
                    if not isinstance(entry, dict):
                        raise AnnotationFileError(path, f'{place}: it needs {{"rle": "..."}}, an object')
                    mask = {"size": [sequence.height, sequence.width], "counts": entry.get("rle")}
                    if (record := _annotation(path, place, mask, sequence.height, sequence.width)) is None:
                        imported.drops.add("mask", "is empty", place)
                        continue
                    imported.counts["annotations"] += 1
                    more = {"is_gt": entry["is_gt"]} if "is_gt" in entry else {}
                    yield encode(
                        {
                            "id": imported.counts["annotations"],
                            "image_id": first_image + index,
                            "category_id": sequence.track_category_ids[name],
                            **record,
                            "iscrowd": 0,
                            "track_id": ids[name],
                            "video_id": sequence.id,
                            **more,
                        }
                    )
            first_image += len(sequence.annotated_image_paths)
            first_track += len(ids)

    imported.counts["classes"] = len(classes)
    imported.sections = {
        "videos": videos(),
        "images": images(),
        "tracks": tracks(),
        "annotations": annotations(),
        "categories": read_value(path, "categories"),
    }
    return imported


def _class_ids(path: Path) -> frozenset[int]:
    """The ids of the classes, checked as for every step."""
    categories = read_table(path, "categories", "name")
    require_some(len(categories), "class", path)
    return frozenset(categories["id"].tolist())


def _check_class(path: Path, place: str, category_id: int, classes: frozenset[int]) -> None:
    if category_id not in classes:
        raise AnnotationFileError(
            path,
            f'{place} has category_id {category_id}, which is not in "categories"',
            hint="the file is probably cut from another release",
        )


def _check_sequence(path: Path, sequence: _Sequence, classes: frozenset[int]) -> None:
    for name, category_id in sequence.track_category_ids.items():
        _check_class(path, f"sequence {sequence.id}, track {name}", category_id, classes)
    if len(sequence.segmentations) != len(sequence.annotated_image_paths):
        raise AnnotationFileError(
            path,
            f"sequence {sequence.id} has masks for {len(sequence.segmentations)} frames "
            f"and names of {len(sequence.annotated_image_paths)}",
        )


def _image(image_id: int, name: str, *, size: tuple[int, int], video_id: int, index: int) -> dict[str, Any]:
    return {
        "id": image_id,
        "file_name": name,
        "width": size[0],
        "height": size[1],
        "video_id": video_id,
        "frame_id": index,
        "frame_index": index,
    }


def _annotation(path: Path, place: str, mask: Any, height: int, width: int) -> dict[str, Any] | None:
    try:
        rle = compressed_rle(mask, height, width)
    except NotAMaskError as error:
        raise AnnotationFileError(path, f"{place}: not a mask: {error}") from None
    if rle is None:
        return None
    box, area = box_and_area(rle)
    return {"bbox": box, "area": area, "segmentation": rle}


def _folder(video: _Video) -> str:
    """The folder of a video's frames, which names it; its number where they lie in none."""
    return video.file_names[0].rpartition("/")[0] if video.file_names else str(video.id)
