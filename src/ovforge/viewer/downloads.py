"""What a page's filter exports: a list of files, a COCO file, an HTML file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ovforge.sources.pair_arrays import PairArrays
from ovforge.viewer.source import PairSource

HTML_IMAGES = 400
"""An HTML file carries its images: more would be hundreds of megabytes."""


def html_count(arrays: PairArrays) -> int:
    """How many pairs or clips of a filter go into one HTML file."""
    each = 1 + len(arrays) // len(arrays.firsts) if len(arrays) else 2
    return max(1, HTML_IMAGES // each)


def file_list(arrays: PairArrays, pairs: Sequence[int]) -> Iterator[str]:
    """The second views' file names, one a line, as `pairs export --only` takes them; of a clip, one frame's."""
    for pair in pairs:
        yield arrays.file_name(int(arrays.pairs[pair, 1])) + "\n"


def coco(source: PairSource, arrays: PairArrays, pairs: Sequence[int], about: dict[str, Any]) -> Iterator[bytes]:
    """A COCO file of the images of these pairs, originals once each; an object has one `track_id` in all its views.

    Of a clip, all frames.
    """
    frames = (frame for pair in pairs for frame in arrays.frames_of(pair))
    rows = list(dict.fromkeys(int(row) for frame in frames for row in arrays.pairs[frame]))
    yield b'{"info": ' + msgspec.json.encode(about) + b', "licenses": [], "images": ['
    for place, row in enumerate(rows):
        yield (b", " if place else b"") + msgspec.json.encode(_image(arrays, row, place + 1))
    yield b'], "annotations": ['
    number = 0
    for place, row in enumerate(rows):
        for record in _objects(source, arrays, row):
            number += 1
            text = msgspec.json.encode({**record, "id": number, "image_id": place + 1})
            yield (b", " if number > 1 else b"") + text
    categories = [{"id": one.id, "name": one.name, "supercategory": ""} for one in arrays.categories]
    yield b'], "categories": ' + msgspec.json.encode(categories) + b"}\n"


def _image(arrays: PairArrays, row: int, number: int) -> dict[str, Any]:
    width, height = arrays.image_size[row].tolist()
    return {"id": number, "file_name": arrays.file_name(row), "width": width, "height": height}


def _objects(source: PairSource, arrays: PairArrays, row: int) -> Iterator[dict[str, Any]]:
    notes = source.notes(row)
    span = arrays.objects(row)
    for place, position in enumerate(range(span.start, span.stop)):
        record: dict[str, Any] = {
            "category_id": int(arrays.category_id[position]),
            "track_id": int(arrays.track_id[position]),
            "bbox": [round(float(side), 2) for side in arrays.box[position]],
            "area": round(float(arrays.area[position]), 2),
            "iscrowd": 0,
        }
        if place < len(notes) and notes[place].segmentation:
            record["segmentation"] = notes[place].segmentation
        yield record
