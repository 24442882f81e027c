"""What the annotation file says of an image as far as its second views' pixels depend on it, in 16 digits."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from ovforge.annotation_io.record_edit import decode_record
from ovforge.synthesis.pairs import SourceImage
from ovforge.synthesis.repaint import Engine


def reads_prompts(engine: Engine) -> bool:
    """Whether an image's pixels depend on its prompt."""
    return engine.name not in ("warp", "fill")


class _Geometry(msgspec.Struct):
    id: int
    area: Any = None
    iscrowd: Any = 0
    category_id: int = -1
    segmentation: Any = None
    bbox: Any = None


def fingerprint(source: SourceImage, class_names: dict[int, str], *, reads_prompts: bool) -> str:
    """16 hexadecimal digits that change with whatever of the annotation file decides an image's pixels."""
    objects = [_geometry(record) for record in source.annotations]
    parts: list[Any] = [source.image_id, source.file_name, source.width, source.height]
    # Without a mask, the box is what is known of where an object is.
    parts += [
        [o.id, _number(o.area), bool(o.iscrowd), _numbers(o.segmentation if o.segmentation else o.bbox)]
        for o in objects
    ]
    if reads_prompts:
        parts += list(source.captions) or [class_names.get(o.category_id, "") for o in objects]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]


def _geometry(record: bytes | memoryview) -> _Geometry:
    try:
        return msgspec.json.decode(record, type=_Geometry)
    except (msgspec.ValidationError, RecursionError):  # a number that no float can hold
        return msgspec.convert(decode_record(record), _Geometry)


def _numbers(value: Any) -> Any:
    """A segmentation with all its numbers as decimals: 640 and 640.0 are the same point."""
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    if isinstance(value, dict):
        return {key: _numbers(value[key]) for key in sorted(value)}
    return _number(value)


def _number(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    except OverflowError:
        return str(value)
