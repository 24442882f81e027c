"""The pages over a run of pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from ovforge.errors import InputError
from ovforge.viewer import describe
from ovforge.viewer.answers import BadAddressError, data, image, make_app, number, page
from ovforge.viewer.images import ByteCache, as_shown, shade_png, thumbnail
from ovforge.viewer.query import SORTS, Query, Selector
from ovforge.viewer.source import PairSource, Snapshot
from ovforge.viewer.statistics import statistics

PAGE = 120
"""Most tiles that are handed out at once."""
FIRST_TILES = 60


def pairs_app(source: PairSource) -> Starlette:
    """The application over one run. Nothing but this run is reached through it: addresses hold positions, never names
    of files."""
    pages = PairPages(source)
    return make_app(
        {
            "/": pages.index,
            "/statistics": pages.statistics,
            "/api/pairs": pages.pairs,
            "/api/pair": pages.pair,
            "/api/state": pages.state,
            "/thumb/{row:int}": pages.thumb,
            "/image/{row:int}": pages.image,
            "/mask/{pair:int}": pages.mask,
        },
        title=source.name,
    )


def first_page(source: PairSource) -> dict[str, Any]:
    """What the first page of a run is made from."""
    return PairPages(source).first()


class PairPages:
    """What each address answers with."""

    def __init__(self, source: PairSource) -> None:
        self._source = source
        self._selector = Selector()
        self._thumbnails = ByteCache()
        self._classes: tuple[tuple[str, int], list[dict[str, Any]]] = (("", -1), [])

    def index(self, request: Request) -> Response:
        """The grid."""
        return page("pairs.html", **self.first())

    def first(self) -> dict[str, Any]:
        """What the grid's page is made from."""
        snapshot = self._source.snapshot()
        return {
            "name": self._source.name,
            "sorts": SORTS,
            "data": {
                "name": self._source.name,
                "file": False,
                **self._listed(snapshot, Query(), 0, FIRST_TILES),
                "classes": self._class_list(snapshot),
                "state": _state(snapshot),
            },
        }

    def pairs(self, request: Request) -> Response:
        """Tiles of the pairs that fulfil a query."""
        snapshot, query = self._source.snapshot(), _query(request)
        offset, limit = number(request, "offset", 0, 1 << 40), number(request, "limit", PAGE, PAGE)
        return data(self._listed(snapshot, query, offset, limit))

    def pair(self, request: Request) -> Response:
        """One pair, by the file name of its second view, and its place among those that fulfil the query."""
        snapshot, query = self._source.snapshot(), _query(request)
        name = request.query_params.get("pair", "")
        found = snapshot.arrays.find(name)
        if found is None:
            raise BadAddressError(f"{self._source.name} has no pair {name[:200]!r} (yet)")
        selected = self._selector.select(snapshot, query)
        place = np.flatnonzero(selected == found)
        described = describe.pair(snapshot.arrays, found, self._source.details(found))
        return data({**described, "place": int(place[0]) if len(place) else None, "among": len(selected)})

    def state(self, request: Request) -> Response:
        """How far the run is."""
        snapshot = self._source.snapshot()
        return data({**_state(snapshot), "generation": snapshot.generation, "total": len(snapshot.arrays)})

    def statistics(self, request: Request) -> Response:
        """The statistics page."""
        snapshot = self._source.snapshot()
        return page(
            "statistics.html",
            name=self._source.name,
            snapshot=snapshot,
            total=len(snapshot.arrays),
            statistics=statistics(snapshot.arrays),
            drops=self._source.drops(),
        )

    def thumb(self, request: Request) -> Response:
        """A small image."""
        row, snapshot = self._row(request)
        name = snapshot.arrays.file_name(row)
        key = (snapshot.generation, row)
        size = _size(snapshot, row)
        content = self._thumbnails.get(key, lambda: thumbnail(self._source.image(row), name, size=size))
        return image(content, "image/jpeg")

    def image(self, request: Request) -> Response:
        """An image as its boxes are drawn."""
        row, snapshot = self._row(request)
        return image(*as_shown(self._source.image(row), snapshot.arrays.file_name(row), _size(snapshot, row)))

    def mask(self, request: Request) -> Response:
        """What was repainted, as a shade."""
        arrays = self._source.snapshot().arrays
        pair: int = request.path_params["pair"]
        if pair >= len(arrays):
            raise BadAddressError(f"there is no pair {pair}")
        kept = self._source.details(pair).keep_mask
        if kept is None:
            raise BadAddressError("no mask was noted", hint="`ovforge pairs generate --masks` notes them")
        return image(shade_png(kept, arrays.file_name(int(arrays.pairs[pair, 1]))), "image/png")

    def _row(self, request: Request) -> tuple[int, Snapshot]:
        snapshot = self._source.snapshot()
        row: int = request.path_params["row"]
        if row >= len(snapshot.arrays.image_id):
            raise BadAddressError(f"there is no image {row}")
        return row, snapshot

    def _listed(self, snapshot: Snapshot, query: Query, offset: int, limit: int) -> dict[str, Any]:
        chosen = self._selector.select(snapshot, query)
        return {
            "total": len(chosen),
            "generation": snapshot.generation,
            "offset": offset,
            "items": [describe.item(snapshot.arrays, pair) for pair in chosen[offset : offset + limit].tolist()],
        }

    def _class_list(self, snapshot: Snapshot) -> list[dict[str, Any]]:
        key = (snapshot.generation, len(snapshot.arrays))
        if self._classes[0] != key:
            self._classes = (key, describe.classes(snapshot.arrays))
        return self._classes[1]


def _size(snapshot: Snapshot, row: int) -> tuple[int, int]:
    width, height = (int(side) for side in snapshot.arrays.image_size[row])
    return width, height


def _state(snapshot: Snapshot) -> dict[str, Any]:
    return {"done": snapshot.done, "planned": snapshot.planned, "unfinished": snapshot.unfinished}


def _query(request: Request) -> Query:
    try:
        return Query.parse(request.query_params)
    except InputError as error:
        raise BadAddressError(error.message, hint=error.hint) from None
