"""The pages over a run of pairs or clips."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlencode

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from ovforge.errors import InputError
from ovforge.records.reporting import Drop, Drops, no_progress
from ovforge.records.review import KEEP, REJECT, ReviewChange, ReviewEntry, Verdict
from ovforge.sources.pair_arrays import PairArrays
from ovforge.viewer import describe
from ovforge.viewer.answers import BadAddressError, data, download, image, make_app, number, page
from ovforge.viewer.downloads import coco, file_list, html_count
from ovforge.viewer.images import ByteCache, as_shown, shade_png, thumbnail
from ovforge.viewer.query import Query, Selector, sorts
from ovforge.viewer.review import MOST_CHANGES, TOKEN_HEADER, ReviewPages, ReviewRequest, entry, totals
from ovforge.viewer.security import Access
from ovforge.viewer.skipped import SkippedThings
from ovforge.viewer.source import PairSource, Snapshot
from ovforge.viewer.statistics import statistics

SKIPPED_PAGE = 60
"""Skipped things on one page."""
PAGE = 120
"""Most tiles that are handed out at once."""
FIRST_TILES = 60
_KEPT_SECONDS = 5.0


def pairs_app(source: PairSource, review: ReviewPages, access: Access, *, read_only: bool = False) -> Starlette:
    """The application over one run. Nothing but this run is reached through it: addresses hold positions, never names
    of files."""
    pages = PairPages(source, review)
    return make_app(
        {
            "/": pages.index,
            "/statistics": pages.statistics,
            "/skipped": pages.skipped,
            "/still": pages.still,
            "/api/pairs": pages.pairs,
            "/api/pair": pages.pair,
            "/api/state": pages.state,
            "/thumb/{row:int}": pages.thumb,
            "/image/{row:int}": pages.image,
            "/mask/{pair:int}": pages.mask,
            "/export/list.txt": pages.export_list,
            "/export/coco.json": pages.export_coco,
            "/export/pairs.html": pages.export_html,
        },
        title=source.name,
        writes={} if read_only else {"/api/review": pages.change_review},
        access=access,
    )


def first_page(source: PairSource, review: ReviewPages) -> dict[str, Any]:
    """What the first page of a run is made from."""
    return PairPages(source, review).first(may_write=False)


class PairPages:
    """What each address answers with."""

    def __init__(self, source: PairSource, review: ReviewPages) -> None:
        self._source = source
        self._review = review
        self._selector = Selector()
        self._skipped = SkippedThings(source.run_folder)
        self._rows: tuple[str, dict[str, int]] = ("", {})
        self._drops: tuple[float, tuple[Drop, ...]] = (float("-inf"), ())
        self._thumbnails = ByteCache()
        self._classes: tuple[tuple[str, int], list[dict[str, Any]]] = (("", -1), [])

    def index(self, request: Request) -> Response:
        """The grid."""
        return page("pairs.html", **self.first(may_write=bool(request.scope.get("ovforge.may_write"))))

    def first(self, *, may_write: bool) -> dict[str, Any]:
        """What the grid's page is made from."""
        snapshot = self._source.snapshot()
        return {
            "name": self._source.name,
            **page_of(snapshot.arrays),
            "data": {
                "name": self._source.name,
                "file": False,
                "clips": snapshot.arrays.has_clips,
                "measured": measured(snapshot.arrays),
                **self._listed(snapshot, Query(), 0, FIRST_TILES),
                "classes": self._class_list(snapshot),
                "state": _state(snapshot),
                "review": {
                    "writable": may_write,
                    "token": self._review.token if may_write else "",
                    **totals(self._review.current()),
                },
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
        selected = self._select(snapshot, query)
        place = np.flatnonzero(snapshot.arrays.first_of[selected] == snapshot.arrays.first_of[found])
        # A clip has many masks: their outlines come when they are to be drawn.
        outlines = not snapshot.arrays.frame[found] or request.query_params.get("outlines") == "1"
        described = describe.pair(self._source, snapshot.arrays, found, outlines=outlines)
        reviewed = entry(self._review.entries().get(described["name"], ReviewEntry()))
        return data(
            {**described, "review": reviewed, "place": int(place[0]) if len(place) else None, "among": len(selected)}
        )

    def state(self, request: Request) -> Response:
        """How far the run is."""
        snapshot = self._source.snapshot()
        return data(
            {
                **_state(snapshot),
                "generation": snapshot.generation,
                "total": len(snapshot.arrays.firsts),
                "review": totals(self._review.current()),
            }
        )

    def change_review(self, request: Request, body: bytes) -> Response:
        """Keep, reject and tag pairs."""
        if not self._review.may_write(request.headers.get(TOKEN_HEADER, "")):
            return data({"error": "this page may not write", "hint": "load it again from this server"}, 403)
        try:
            asked = msgspec.json.decode(body, type=ReviewRequest)
        except msgspec.MsgspecError as error:
            raise BadAddressError(f"no change of a review ({error})") from None
        snapshot = self._source.snapshot()
        changes = list(asked.changes)
        if asked.first is not None and asked.last is not None:
            if asked.verdict not in (None, "", KEEP, REJECT):
                raise BadAddressError(f"verdict={asked.verdict[:40]!r}: not one of keep, reject")
            try:
                query = Query.parse(asked.query)
            except InputError as error:
                raise BadAddressError(error.message) from None
            first, last = sorted((max(asked.first, 0), max(asked.last, 0)))
            if last - first >= MOST_CHANGES:
                raise BadAddressError(f"{last - first + 1:,} pairs at once", hint=f"at most {MOST_CHANGES:,}")
            for pair in self._select(snapshot, query)[first : last + 1].tolist():
                name = snapshot.arrays.file_name(int(snapshot.arrays.pairs[pair, 1]))
                verdict = cast("Verdict | None", asked.verdict)
                changes.append(ReviewChange(name, verdict, asked.add_tags, asked.remove_tags))
        unknown = [change.name for change in asked.changes if snapshot.arrays.find(change.name) is None]
        if unknown:
            raise BadAddressError(f"{self._source.name} has no pair {unknown[0][:200]!r}")
        if len(changes) > MOST_CHANGES:
            raise BadAddressError(f"{len(changes):,} pairs at once", hint=f"at most {MOST_CHANGES:,}")
        return data(self._review.change(changes))

    def export_list(self, request: Request) -> Response:
        """The file names of a filter's pairs."""
        snapshot, pairs, _ = self._exported(request)
        return download(
            "".join(file_list(snapshot.arrays, pairs)).encode("utf-8", "surrogateescape"),
            f"{self._source.name}.txt",
            "text/plain; charset=utf-8",
        )

    def export_coco(self, request: Request) -> Response:
        """The images and objects of a filter's pairs."""
        snapshot, pairs, rejected = self._exported(request)
        about = {"description": self._source.name, "contributor": "ovforge pairs view", "rejected_left_out": rejected}
        content = coco(self._source, snapshot.arrays, pairs, about)
        return download(content, f"{self._source.name}-coco.json", "application/json")

    def export_html(self, request: Request) -> Response:
        """A filter's first pairs in one file."""
        from ovforge.viewer.export import html_of

        snapshot, pairs, _ = self._exported(request)
        html, _ = html_of(self._source, pairs[: html_count(snapshot.arrays)], Drops(), no_progress)
        return download(html, f"{self._source.name}.html", "text/html; charset=utf-8")

    def _exported(self, request: Request) -> tuple[Snapshot, list[int], int]:
        """The pairs of a filter, one of each clip, without the rejected ones unless they are what is asked for."""
        snapshot, query = self._source.snapshot(), _query(request)
        pairs = self._select(snapshot, query)
        if query.verdict == REJECT:
            return snapshot, pairs.tolist(), 0
        rejected = self._review.select(snapshot, Query(verdict=REJECT), pairs)
        stay = pairs[~np.isin(pairs, rejected)]
        if not len(stay):
            raise BadAddressError(f"{self._source.name}: no pair of this filter is left to export")
        return snapshot, stay.tolist(), len(rejected)

    def _select(self, snapshot: Snapshot, query: Query) -> NDArray[np.int32]:
        chosen = self._selector.select(snapshot, replace(query, verdict="", tag=""))
        return self._review.select(snapshot, query, chosen)

    def statistics(self, request: Request) -> Response:
        """The statistics page."""
        snapshot = self._source.snapshot()
        return page(
            "statistics.html",
            name=self._source.name,
            snapshot=snapshot,
            total=len(snapshot.arrays.firsts),
            clips=snapshot.arrays.has_clips,
            statistics=statistics(snapshot.arrays),
            drops=self._source.drops(),
            address=_skipped_address,
        )

    def skipped(self, request: Request) -> Response:
        """Everything that was skipped for one reason, page by page, with its images."""
        snapshot, drop = self._source.snapshot(), self._drop(request)
        total = self._skipped.count(drop)
        first = min(number(request, "first", 0, 1 << 40), max(total - 1, 0))
        first -= first % SKIPPED_PAGE
        things = self._skipped.page(drop, first, SKIPPED_PAGE)
        rows = self._originals(snapshot)
        return page(
            "skipped.html",
            name=self._source.name,
            clips=snapshot.arrays.has_clips,
            drop=drop,
            things=[(thing, rows.get(thing.image)) for thing in things],
            first=first,
            total=total,
            page_size=SKIPPED_PAGE,
            address=lambda start: _skipped_address(drop, start),
            still=lambda place: "still?" + _skipped_query(drop, first + place),
            pairs_of=lambda image: "./#" + urlencode({"name": image}),
        )

    def still(self, request: Request) -> Response:
        """A small image of one thing that was skipped: from the run, or from where the run took its images."""
        snapshot, drop = self._source.snapshot(), self._drop(request)
        things = self._skipped.page(drop, number(request, "first", 0, 1 << 40), 1)
        if not things or not things[0].image:
            raise BadAddressError("no image is known of this")
        thing = things[0]
        row = self._originals(snapshot).get(thing.image)
        content = self._source.image(row) if row is not None else self._skipped.still(thing.image)
        size = thing.size if row is None else _size(snapshot, row)
        return image(thumbnail(content, thing.image, size=size), "image/jpeg")

    def _drop(self, request: Request) -> Drop:
        asked = request.query_params
        key = asked.get("kind", ""), asked.get("reason", ""), asked.get("kept") == "1"
        # A page of them asks for sixty images: the reports of all shards are not read for each.
        if time.monotonic() - self._drops[0] > _KEPT_SECONDS:
            self._drops = time.monotonic(), self._source.drops() or ()
        for drop in self._drops[1]:
            if (drop.kind, drop.reason, drop.kept) == key:
                return drop
        raise BadAddressError(f"{self._source.name} skipped nothing for this reason", hint="look at its statistics")

    def _originals(self, snapshot: Snapshot) -> dict[str, int]:
        """The image rows by their file names."""
        key = f"{snapshot.generation} {len(snapshot.arrays)}"
        if self._rows[0] != key:
            arrays = snapshot.arrays
            self._rows = key, {arrays.file_name(row): row for row in range(len(arrays.image_id))}
        return self._rows[1]

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
        chosen = self._select(snapshot, query)
        reviewed = self._review.entries()
        items = [describe.item(snapshot.arrays, pair) for pair in chosen[offset : offset + limit].tolist()]
        return {
            "total": len(chosen),
            "generation": snapshot.generation,
            "offset": offset,
            "items": [{**one, "review": entry(reviewed.get(one["name"], ReviewEntry()))} for one in items],
        }

    def _class_list(self, snapshot: Snapshot) -> list[dict[str, Any]]:
        key = (snapshot.generation, len(snapshot.arrays))
        if self._classes[0] != key:
            self._classes = (key, describe.classes(snapshot.arrays))
        return self._classes[1]


def page_of(arrays: PairArrays) -> dict[str, Any]:
    """What the form of the grid's page has fields for."""
    return {
        "sorts": sorts(arrays),
        "clips": arrays.has_clips,
        "html_count": html_count(arrays),
        "has_frequencies": any(category.frequency for category in arrays.categories),
        "has_fidelity": bool(np.isfinite(arrays.pair_fidelity).any()),
        "measured": measured(arrays),
    }


def measured(arrays: PairArrays) -> list[str]:
    """What can be filtered by besides fidelity."""
    return [*arrays.measured, *(["extra"] if np.isfinite(arrays.pair_extra).any() else [])]


def _skipped_query(drop: Drop, first: int = 0) -> str:
    query = {"kind": drop.kind, "reason": drop.reason}
    return urlencode(query | ({"kept": 1} if drop.kept else {}) | ({"first": first} if first else {}))


def _skipped_address(drop: Drop, first: int = 0) -> str:
    """Where what was skipped for a reason is listed."""
    return "skipped?" + _skipped_query(drop, first)


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
