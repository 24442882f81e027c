"""FiftyOne's own format: a grouped data set, one group per video and one slice per frame.

    metadata.json   the data set and its fields
    samples.json    one sample per frame, its objects in the field `ground_truth`
    data/<file name>

    dataset = fiftyone.Dataset.from_dir(FOLDER, dataset_type=fiftyone.types.FiftyOneDataset)

An object's `index` is its track, so FiftyOne draws it in one colour in all frames. The ids that FiftyOne gives itself
follow from the run's name and the pairs JSON's ids here: equal pairs give equal files.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import zlib
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.exports.json_sections import JsonSections
from ovforge.exports.masks import decoded
from ovforge.exports.run import ExportRun
from ovforge.exports.videos import Frame, Video, VideoObject

VERSION = "1.0.0"
"""The oldest release that reads this; newer ones bring what they read up to date themselves."""
_MADE = {"$date": "2024-01-01T00:00:00Z"}  # FiftyOne puts the time of the import in its place
_KEPT = ("fidelity", "visibility", "occluded", "clear")
_FIELDS = "fiftyone.core.fields."


def write(run: ExportRun) -> dict[str, int]:
    """Write the images, the samples and the description of the data set."""
    names = {category["id"]: str(category["name"]) for category in run.categories}
    folder = run.folder_for("data")
    objects = slices = 0
    with JsonSections(run.folder / "samples.json", ("samples",)) as out:
        for video in run.videos():
            for frame in video.frames:
                run.copy_image(frame, folder / frame.file_name)
                out.add("samples", _sample(run, video, frame, names))
                objects += len(frame.objects)
            slices = max(slices, len(video.frames))
        images = out.counts["samples"]
    (run.folder / "metadata.json").write_bytes(msgspec.json.encode(_data_set(run, slices)))
    return {"images": images, "annotations": objects}


def _id(*parts: object) -> dict[str, str]:
    return {"$oid": hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:24]}


def _slice(frame: int) -> str:
    return f"frame_{frame}"


def _sample(run: ExportRun, video: Video, frame: Frame, names: dict[int, str]) -> dict[str, Any]:
    sample = _id(run.name, "image", frame.image_id)
    detections = [
        _detection(run, frame, found, record, names)
        for found, record in zip(frame.objects, frame.object_records, strict=True)
    ]
    return {
        "_id": sample,
        "filepath": f"data/{frame.file_name}",
        "tags": [],
        "metadata": {"_cls": "ImageMetadata", "width": frame.width, "height": frame.height},
        "_media_type": "image",
        "_rand": int(sample["$oid"][:12], 16) / 16**12,
        "group": {"_id": _id(run.name, "video", video.id), "_cls": "Group", "name": _slice(frame.index)},
        "video": video.name,
        "frame_index": frame.index,
        "image_id": frame.image_id,
        "caption": str(frame.record.get("caption") or ""),
        "ground_truth": {"_cls": "Detections", "detections": detections},
        "_dataset_id": _id(run.name, "data set"),
        "created_at": _MADE,
        "last_modified_at": _MADE,
    }


def _detection(
    run: ExportRun, frame: Frame, found: VideoObject, record: dict[str, Any], names: dict[int, str]
) -> dict[str, Any]:
    x, y, width, height = found.bbox
    detection = {
        "_id": _id(run.name, "annotation", found.id),
        "_cls": "Detection",
        "attributes": {},
        "tags": [],
        "label": names.get(found.category_id, str(found.category_id)),
        "bounding_box": [x / frame.width, y / frame.height, width / frame.width, height / frame.height],
        "index": found.track_id,
        "iscrowd": found.iscrowd,
        "area": found.area,
        "annotation_id": found.id,
        **{name: record[name] for name in _KEPT if record.get(name) is not None},
    }
    if found.segmentation:
        mask = decoded(frame, found)
        top, left = max(math.floor(y), 0), max(math.floor(x), 0)
        inside = mask[top : math.ceil(y + height), left : math.ceil(x + width)]
        if inside.size:
            detection["mask"] = _array(inside.astype(np.bool_))
    return detection


def _array(values: NDArray[np.bool_]) -> dict[str, Any]:
    """An array as FiftyOne's database has it: numpy's file, compressed."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(values), allow_pickle=False)
    return {"$binary": {"base64": base64.b64encode(zlib.compress(file.getvalue())).decode(), "subType": "00"}}


def _data_set(run: ExportRun, slices: int) -> dict[str, Any]:
    data_set = _id(run.name, "data set")
    return {
        "_id": data_set,
        "name": run.name,
        "slug": run.name,
        "version": VERSION,
        "created_at": _MADE,
        "last_modified_at": _MADE,
        "last_loaded_at": _MADE,
        "sample_collection_name": f"samples.{data_set['$oid']}",
        "persistent": False,
        "media_type": "group",
        "group_field": "group",
        "group_media_types": {_slice(frame): "image" for frame in range(slices)},
        "default_group_slice": _slice(0),
        "tags": [],
        "info": {},
        "app_config": {"grid_media_field": "filepath", "media_fields": ["filepath"], "modal_media_field": "filepath"},
        "classes": {},
        "default_classes": [str(category["name"]) for category in run.categories],
        "mask_targets": {},
        "default_mask_targets": {},
        "skeletons": {},
        "sample_fields": _sample_fields(),
        "frame_fields": [],
        "saved_views": [],
        "workspaces": [],
        "annotation_runs": {},
        "brain_methods": {},
        "evaluations": {},
        "runs": {},
    }


def _sample_fields() -> list[dict[str, Any]]:
    identity = _field("id", "ObjectIdField", stored="_id")
    size = [_field(name, "IntField") for name in ("size_bytes", "width", "height", "num_channels")]
    metadata = [*size[:1], _field("mime_type", "StringField"), *size[1:]]
    group = [identity, _field("name", "StringField")]
    detection = [
        identity,
        _field("tags", "ListField", subfield="StringField"),
        _field("attributes", "DictField", document="labels.Attribute", subfield="EmbeddedDocumentField"),
        _field("label", "StringField"),
        _field("bounding_box", "ListField", subfield="FloatField"),
        _field("mask", "ArrayField"),
        _field("mask_path", "StringField"),
        _field("confidence", "FloatField"),
        _field("index", "IntField"),
        _field("iscrowd", "IntField"),
        _field("area", "FloatField"),
        _field("annotation_id", "IntField"),
        _field("fidelity", "FloatField"),
        _field("visibility", "FloatField"),
        _field("occluded", "BooleanField"),
        _field("clear", "BooleanField"),
    ]
    detections = _field(
        "detections", "ListField", document="labels.Detection", subfield="EmbeddedDocumentField", fields=detection
    )
    return [
        identity,
        _field("_media_type", "StringField"),
        _field("filepath", "StringField"),
        _field("tags", "ListField", subfield="StringField"),
        _field("metadata", "EmbeddedDocumentField", document="metadata.ImageMetadata", fields=metadata),
        _field("_dataset_id", "ObjectIdField"),
        _field("_rand", "FloatField"),
        _field("created_at", "DateTimeField"),
        _field("last_modified_at", "DateTimeField"),
        _field("group", "EmbeddedDocumentField", document="groups.Group", fields=group),
        _field("video", "StringField"),
        _field("frame_index", "IntField"),
        _field("image_id", "IntField"),
        _field("caption", "StringField"),
        _field("ground_truth", "EmbeddedDocumentField", document="labels.Detections", fields=[detections]),
    ]


def _field(
    name: str,
    kind: str,
    *,
    stored: str | None = None,
    document: str | None = None,
    subfield: str | None = None,
    fields: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """How FiftyOne describes a field."""
    return {
        "name": name,
        "ftype": _FIELDS + kind,
        "embedded_doc_type": f"fiftyone.core.{document}" if document else None,
        "subfield": _FIELDS + subfield if subfield else None,
        "fields": fields or [],
        "db_field": stored or name,
        "description": None,
        "info": None,
        "read_only": name in ("created_at", "last_modified_at"),
        "created_at": _MADE,
    }
