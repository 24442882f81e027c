"""The pages over an exemplar file."""

from __future__ import annotations

from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from ovforge.errors import ImageError
from ovforge.image_io.codec import apply_orientation
from ovforge.image_io.header import read_header
from ovforge.records.exemplar import DATASETS, LVIS, VISUAL_GENOME, Exemplar
from ovforge.viewer.answers import BadAddressError, data, image, make_app, number, page
from ovforge.viewer.exemplar_source import ExemplarClass, ExemplarSource
from ovforge.viewer.images import ByteCache, as_jpeg, decode_reduced, reduction_for, thumbnail
from ovforge.viewer.security import Access

CONTEXT = 1.4
"""Boxes are shown with as much around them as crops have (OVMR)."""
SIDE = 288
SHOWN = 60
"""Images of one source that are handed out at once."""
SOURCES = {LVIS: "LVIS", "imagenet21k": "ImageNet-21K", VISUAL_GENOME: "Visual Genome"}


def exemplars_app(source: ExemplarSource, access: Access | None = None) -> Starlette:
    """The application over one exemplar file. Addresses hold the places of classes and exemplars, never file names."""
    pages = ExemplarPages(source)
    return make_app(
        {"/": pages.index, "/api/class/{place:int}": pages.one, "/crop/{place:int}/{index:int}": pages.crop},
        title=source.name,
        access=access,
    )


class ExemplarPages:
    """What each address answers with."""

    def __init__(self, source: ExemplarSource) -> None:
        self._source = source
        self._crops = ByteCache()

    def index(self, request: Request) -> Response:
        """The list of classes."""
        source = self._source
        rows = [
            {
                "name": entry.name,
                "synset": entry.synset,
                "frequency": entry.frequency,
                "counts": entry.counts,
                "distinct": entry.distinct,
                "total": entry.total,
                "short": source.is_short(entry),
            }
            for entry in source.classes
        ]
        return page(
            "exemplars.html",
            name=source.name,
            sources=SOURCES,
            enough=source.enough,
            total=len(rows),
            short=sum(1 for row in rows if row["short"]),
            exemplars=sum(entry.total for entry in source.classes),
            data={"name": source.name, "classes": rows, "sources": SOURCES, "enough": source.enough, "shown": SHOWN},
        )

    def one(self, request: Request) -> Response:
        """One class's exemplars of one source, a part of them."""
        entry = self._class(request)
        offset = number(request, "offset", 0, 1 << 40)
        wanted = request.query_params.get("source", "")
        if wanted not in DATASETS:
            raise BadAddressError(f"source={wanted[:40]!r}: not one of {', '.join(DATASETS)}")
        chosen = [
            (index, exemplar)
            for index, exemplar in enumerate(self._source.exemplars(entry.position))
            if exemplar.dataset == wanted
        ]
        return data(
            {
                "total": len(chosen),
                "why": entry.why,
                "exemplars": [_describe_images(index, one, entry) for index, one in chosen[offset : offset + SHOWN]],
            }
        )

    def crop(self, request: Request) -> Response:
        """One exemplar, cut out of its image where it lies."""
        entry = self._class(request)
        index: int = request.path_params["index"]
        exemplars = self._source.exemplars(entry.position)
        if index >= len(exemplars):
            raise BadAddressError(f"class {entry.synset} has no exemplar {index}")
        exemplar = exemplars[index]
        content = self._crops.get((entry.position, index), lambda: crop(self._source.image(exemplar), exemplar))
        return image(content, "image/jpeg")

    def _class(self, request: Request) -> ExemplarClass:
        place: int = request.path_params["place"]
        if place >= len(self._source.classes):
            raise BadAddressError(f"there is no class {place}")
        return self._source.classes[place]


def crop(content: bytes, exemplar: Exemplar) -> bytes:
    """A small JPEG of an exemplar: its box with some of what is around it, or the whole image.

    Boxes are in the pixels as stored; what is cut out is turned upright, as `exemplars crop` does.

    Raises:
        ImageError: no image, a damaged one, or a box outside it.
    """
    box = exemplar.box
    if box is None:
        return thumbnail(content, exemplar.file_name, SIDE)
    header = read_header(content, exemplar.file_name)
    width, height = header.size
    x, y, w, h = box
    side = max(w, h) * CONTEXT
    left, top = max(0.0, x + w / 2 - side / 2), max(0.0, y + h / 2 - side / 2)
    right, bottom = min(float(width), x + w / 2 + side / 2), min(float(height), y + h / 2 + side / 2)
    if not (right - left >= 1 and bottom - top >= 1 and w > 0 and h > 0):
        raise ImageError(exemplar.file_name, "has the box outside the image")
    reduction = reduction_for(max(right - left, bottom - top), SIDE)
    pixels = decode_reduced(content, exemplar.file_name, reduction)
    rows = slice(int(top / reduction), max(int(top / reduction) + 1, round(bottom / reduction)))
    columns = slice(int(left / reduction), max(int(left / reduction) + 1, round(right / reduction)))
    cut = np.ascontiguousarray(pixels[rows, columns])
    if not cut.size:
        raise ImageError(exemplar.file_name, "has the box outside the image")
    upright = apply_orientation(cut, header.orientation)
    return thumbnail(as_jpeg(upright, exemplar.file_name, 95), exemplar.file_name, SIDE)


def _describe_images(index: int, exemplar: Exemplar, entry: ExemplarClass) -> dict[str, Any]:
    box = exemplar.box
    return {
        "index": index,
        "name": exemplar.file_name,
        "box": None if box is None else [round(float(side)) for side in box],
        "substitute": exemplar.synset if exemplar.synset not in ("", entry.synset) else "",
    }
