"""The fields of annotation files that ovforge knows: what each has to be, and what it is where a record has none.

This is the one place that says so. A step names the fields that it uses (`Fields("images", ("id", "width"))`); others
are neither checked nor changed. For the fields that are used:

- `null` in a field is the same as no field.
- A whole number may be written as `640.0`, a flag as `false`.
- Ids lie within +-2**62, so that new ones can be counted on from the largest.

Reading is quick where records are as LVIS and COCO write them: a decoder of exactly these types does it. Records that
it refuses are read again field by field by the rules here, which also say what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.record_edit import put_together, take_apart
from ovforge.records.scores import SCORES

MAX_ID = 2**62 - 1
LONGEST_SIDE = 2**31 - 1
_EXACT = 2**53
"""Up to here a float says which whole number it is."""
_SHOWN = 40


class RecordProblem(Exception):
    """What is wrong with a record, to be put after its place."""


class _UnfitError(ValueError):
    """A value that is not what its field needs; the text says what it is, where that is not plain."""


@dataclass(frozen=True)
class Kind:
    """What a field has to be."""

    type: Any
    """Of the quick decoder: what is written in the usual way."""
    needs: str
    convert: Callable[[Any], Any]
    """From any JSON value but null to `type`; raises `_UnfitError`."""
    bounds: tuple[int, int] | None = None
    """The smallest and the largest whole number that it may be."""


def _whole(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    raise _UnfitError


def _id(value: Any) -> int:
    number = _whole(value)
    if abs(number) > MAX_ID:
        raise _UnfitError
    return number


def _size(value: Any) -> int:
    number = _whole(value)
    if not 1 <= number <= LONGEST_SIDE:
        raise _UnfitError
    return number


def _flag(value: Any) -> int:
    return int(value) if type(value) is bool else _whole(value)


def _number(value: Any) -> float:
    if type(value) is not int and type(value) is not float:
        raise _UnfitError
    try:
        return float(value)
    except OverflowError:
        raise _UnfitError from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _UnfitError
    return value


def _ids(value: Any) -> list[int]:
    if not isinstance(value, list):
        raise _UnfitError
    for place, item in enumerate(value):
        if item is None or isinstance(item, bool) or not isinstance(item, int | float):
            raise _UnfitError(f"a list with {_shown(item)} at place {place + 1}")
    return list(map(_id, value))


def _box(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != 4:
        raise _UnfitError
    return tuple(map(_number, value))


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _UnfitError
    return value


def _objects(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise _UnfitError
    return list(map(_object, value))


ID = Kind(int, "a whole number", _id, (-MAX_ID, MAX_ID))
SIZE = Kind(int, "a whole number of pixels, 1 or more", _size, (1, LONGEST_SIDE))
FLAG = Kind(int, "0 or 1, or false or true", _flag)
NUMBER = Kind(float, "a number", _number)
TEXT = Kind(str, "text", _text)
IDS = Kind(list[int], "a list of whole numbers", _ids)
BOX = Kind(tuple[float, float, float, float], "four numbers: x, y, width, height in pixels", _box)
OBJECT = Kind(dict[str, Any] | None, "an object", _object)
OBJECTS = Kind(list[dict[str, Any]] | None, "a list of objects", _objects)

REQUIRED: Any = object()
NAN = float("nan")
NO_BOX = (NAN, NAN, NAN, NAN)


@dataclass(frozen=True)
class Field:
    """A field of a record."""

    name: str
    kind: Kind
    default: Any
    """What counts where a record has none or null; REQUIRED if it has to have one."""
    example: str
    """As it stands in a file."""


def _table(*fields: Field) -> dict[str, Field]:
    return {field.name: field for field in fields}


ID_LISTS = ("neg_category_ids", "not_exhaustive_category_ids", "pos_category_ids")
"""The lists of category ids that images, videos and annotations may have."""
_ID_LIST_FIELDS = tuple(Field(name, IDS, (), "[3, 18]") for name in ID_LISTS)

SECTIONS: dict[str, dict[str, Field]] = {
    "images": _table(
        Field("id", ID, REQUIRED, "391895"),
        Field("width", SIZE, REQUIRED, "640"),
        Field("height", SIZE, REQUIRED, "360"),
        Field("file_name", TEXT, "", '"000000391895.jpg"'),
        Field("coco_url", TEXT, "", '"http://images.cocodataset.org/train2017/000000391895.jpg"'),
        *_ID_LIST_FIELDS,
        Field("video_id", ID, REQUIRED, "7"),
        Field("frame_id", ID, REQUIRED, "0"),
        Field("motion", OBJECT, None, '{"kind": "affine", "matrix": [...]}'),
        Field("extra", OBJECTS, None, '[{"category_id": 18, "bbox": [10, 20, 30, 40], "score": 0.6}]'),
    ),
    "annotations": _table(
        Field("id", ID, REQUIRED, "156"),
        Field("image_id", ID, REQUIRED, "391895"),
        Field("category_id", ID, REQUIRED, "18"),
        Field("bbox", BOX, NO_BOX, "[10.5, 20, 100, 80.25]"),
        Field("area", NUMBER, NAN, "5120.75"),
        Field("iscrowd", FLAG, 0, "0"),
        Field("caption", TEXT, "", '"A dog on a bench."'),
        Field("track_id", ID, REQUIRED, "12"),
        Field("fidelity", NUMBER, NAN, "0.93"),
        Field("visibility", NUMBER, NAN, "0.8"),
        Field("occluded", FLAG, 0, "false"),
        *(Field(score, NUMBER, NAN, "0.97") for score in SCORES),
    ),
    "categories": _table(
        Field("id", ID, REQUIRED, "18"),
        Field("name", TEXT, REQUIRED, '"dog"'),
        Field("synset", TEXT, "", '"dog.n.01"'),
        Field("frequency", TEXT, "", '"f"'),
    ),
    "videos": _table(*_ID_LIST_FIELDS),
    "tracks": _table(Field("category_id", ID, REQUIRED, "18")),
}
"""Every field that some step uses. Sections other than these are copied through."""


@dataclass(frozen=True)
class Fields:
    """The fields of a section that a step uses. Stands where a record type may stand; picklable."""

    section: str
    names: tuple[str, ...]
    optional: frozenset[str] = frozenset()
    """Fields that others need, but this step can do without: sizes are 0, names empty, ids -1 where there are none."""

    def __iter__(self) -> Iterator[Field]:
        known = SECTIONS[self.section]
        for name in self.names:
            yield _without_need(known[name]) if name in self.optional else known[name]


def _without_need(field: Field) -> Field:
    if field.default is not REQUIRED:
        return field
    nothing: dict[Kind, Any] = {SIZE: 0, TEXT: "", ID: -1, IDS: ()}
    return replace(field, default=nothing[field.kind])


RecordType = Any
"""A msgspec struct, or `Fields`: what is wanted of each record of a section."""


class RecordDecoder:
    """Decodes lists of records to structs of the fields that are used."""

    def __init__(self, fields: Fields) -> None:
        self._fields: Sequence[Field] = tuple(fields)
        self.struct = msgspec.defstruct(
            "Record",
            [
                (field.name, field.kind.type)
                if field.default is REQUIRED
                else (field.name, field.kind.type, _default(field))
                for field in sorted(self._fields, key=lambda field: field.default is not REQUIRED)
            ],
            frozen=True,
            gc=any(field.kind in (IDS, OBJECT, OBJECTS) for field in self._fields),
        )
        self._quick = msgspec.json.Decoder(list[self.struct])  # type: ignore[name-defined]
        self._quick_record = msgspec.json.Decoder(self.struct)

    def decode(self, data: bytes | memoryview) -> list[Any]:
        """The records of a JSON list.

        Raises:
            msgspec.DecodeError: not JSON, or no list of objects.
            RecordProblem: a field is missing or is not what it has to be.
        """
        try:
            return self._quick.decode(data)
        except msgspec.ValidationError:
            return [self.struct(**self._converted(fields)) for fields in _list_of_fields.decode(data)]

    def canonical(self, record: bytes) -> bytes:
        """The record with the fields that are used as LVIS and COCO write them, its other bytes as they are.

        What is null goes; `640.0` becomes 640 and `false` 0. A record that is so already is returned as it is.
        """
        try:
            self._quick_record.decode(record)
        except msgspec.ValidationError:
            raw = take_apart(record)
            converted = self._converted(raw)
            for field in self._fields:
                if field.name not in raw:
                    continue
                if bytes(raw[field.name]) == b"null":
                    del raw[field.name]
                elif field.kind is not NUMBER and field.kind is not BOX:
                    raw[field.name] = converted[field.name]
            return put_together(raw)
        return record

    def _converted(self, raw: Mapping[str, msgspec.Raw | bytes]) -> dict[str, Any]:
        return {field.name: _converted(field, raw.get(field.name)) for field in self._fields}


@lru_cache(maxsize=256)
def record_decoder(fields: Fields) -> RecordDecoder:
    """The decoder of these fields."""
    return RecordDecoder(fields)


def struct_of(record: RecordType) -> type[Any]:
    """The struct that records of this type become."""
    return record_decoder(record).struct if isinstance(record, Fields) else record


def decoder_of(record: RecordType) -> Any:
    """A decoder of lists of records."""
    return record_decoder(record) if isinstance(record, Fields) else msgspec.json.Decoder(list[record])


def problem_of(record: RecordType, name: str, value: Any) -> str:
    """What is wrong with a value that does not fit its column."""
    if isinstance(record, Fields):
        return _problem(SECTIONS[record.section][name], msgspec.json.encode(value))
    return f"has {value} as its {name}, which does not fit 64 bits"


def check_values(record: RecordType, columns: Mapping[str, NDArray[Any]]) -> tuple[int, str] | None:
    """The first record whose numbers are out of bounds, which the quick decoder does not see, and what is wrong."""
    for field in record if isinstance(record, Fields) else ():
        values = columns[field.name]
        if field.kind is IDS:
            for index, ids in enumerate(values):
                if ids and (max(ids) > MAX_ID or min(ids) < -MAX_ID):
                    return index, _problem(field, msgspec.json.encode(ids))
        elif field.kind.bounds is not None and len(values):
            low, high = field.kind.bounds
            if field.default is not REQUIRED:
                low = min(low, field.default)
            if int(values.min()) < low or int(values.max()) > high:
                index = int(np.flatnonzero((values < low) | (values > high))[0])
                return index, _problem(field, b"%d" % values[index])
    return None


def needed(section: str, name: str) -> str:
    """What a field needs, with an example, for an error: `a whole number, such as 640`."""
    field = SECTIONS[section][name]
    return f"{field.kind.needs}, such as {field.example}"


_list_of_fields = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def _default(field: Field) -> Any:
    return msgspec.field(default_factory=list) if field.kind is IDS else field.default


def _converted(field: Field, raw: msgspec.Raw | bytes | None) -> Any:
    if raw is None or bytes(raw) == b"null":
        if field.default is REQUIRED:
            found = f"has no {field.name}" if raw is None else f"has null as its {field.name}"
            raise RecordProblem(f"{found}: it needs {field.kind.needs}, such as {field.example}")
        return list(field.default) if field.kind is IDS else field.default
    try:
        return field.kind.convert(msgspec.json.decode(raw))
    except (_UnfitError, msgspec.DecodeError):
        raise RecordProblem(_problem(field, bytes(raw))) from None


def _problem(field: Field, raw: bytes) -> str:
    found = _cut(raw.decode())
    try:
        field.kind.convert(msgspec.json.decode(raw))
    except (_UnfitError, msgspec.DecodeError) as error:
        if isinstance(error, _UnfitError) and str(error):
            found = str(error)
    needs = f"{field.kind.needs}, such as {field.example}"
    if field.kind in (ID, IDS) and any(len(digits) > 18 for digits in re.findall(r"\d+", raw.decode())):
        needs += f"; ids reach from {-MAX_ID} to {MAX_ID}"
    return f"has {found} as its {field.name}: it needs {needs}"


def _shown(value: Any) -> str:
    return _cut(json.dumps(value))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]} ..."
