"""The review of a run as the pages use it: who may change it, and which pairs a filter of it selects."""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.files.review_file import change_review, read_review
from ovforge.records.review import KEEP, REJECT, Changed, Review, ReviewChange, ReviewEntry
from ovforge.viewer.query import Query
from ovforge.viewer.source import Snapshot

MOST_CHANGES = 100_000
"""Pairs that one request may change."""
TOKEN_HEADER = "x-ovforge-token"


class ReviewRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a page asks for: changes of single pairs, or one change of all pairs in a range of a filter."""

    changes: list[ReviewChange] = []
    query: dict[str, str] = {}
    first: int | None = None
    last: int | None = None
    verdict: str | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()


class ReviewPages:
    """One run's review."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = secrets.token_urlsafe(32)
        self._lock = Lock()
        self._stamp: tuple[int, ...] | None = None
        self._review = Review()
        self._places: tuple[tuple[str, int], dict[str, int | None]] = (("", -1), {})

    @property
    def token(self) -> str:
        """What a page has to show with every write; pages get it from this process only."""
        return self._token

    def may_write(self, token: str) -> bool:
        """Whether this is the token that the pages were given."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())

    def current(self) -> Review:
        """The review as it is on disk.

        Raises:
            InputError: it is damaged.
        """
        with self._lock:
            stamp = self._look()
            if stamp != self._stamp:
                self._review, self._stamp = read_review(self._path), stamp
            return self._review

    def change(self, changes: Sequence[ReviewChange]) -> dict[str, Any]:
        """Change entries, and tell what became of them."""
        review, changed, refused = change_review(self._path, changes)
        return {
            **totals(review),
            "changed": [_told(one) for one in changed],
            "refused": [{"name": name, **entry(now)} for name, now in refused],
        }

    def select(self, snapshot: Snapshot, query: Query, chosen: NDArray[np.int32]) -> NDArray[np.int32]:
        """Those of the chosen pairs that fulfil what the query asks of the review, in the same order."""
        if not query.verdict and not query.tag:
            return chosen
        review = self.current()
        marked = np.zeros(len(snapshot.arrays), np.bool_)
        wanted_tag = query.tag.casefold()
        for name, one in review.pairs.items():
            if query.verdict == "none":
                fits = bool(one.verdict)
            else:
                fits = not query.verdict or one.verdict == query.verdict
                fits &= not wanted_tag or any(tag.casefold() == wanted_tag for tag in one.tags)
            if fits and (place := self._place(snapshot, name)) is not None:
                marked[place] = True
        if query.verdict == "none":
            marked = ~marked
            if wanted_tag:
                tagged = self.select(snapshot, Query(tag=query.tag), chosen)
                return tagged[marked[tagged]]
        return chosen[marked[chosen]]

    def _place(self, snapshot: Snapshot, name: str) -> int | None:
        key = (snapshot.generation, len(snapshot.arrays))
        if self._places[0] != key:
            self._places = (key, {})
        places = self._places[1]
        if name not in places:
            places[name] = snapshot.arrays.find(name)
        return places[name]

    def _look(self) -> tuple[int, ...]:
        try:
            stat = self._path.stat()
        except OSError:
            return ()
        return stat.st_ino, stat.st_size, stat.st_mtime_ns


def entry(one: ReviewEntry) -> dict[str, Any]:
    """An entry for a page."""
    return {"verdict": one.verdict, "tags": list(one.tags), "revision": one.revision}


def totals(review: Review) -> dict[str, Any]:
    """How many pairs are kept, rejected and tagged."""
    verdicts = Counter[str](one.verdict for one in review.pairs.values())
    tags = Counter(tag for one in review.pairs.values() for tag in one.tags)
    return {
        "revision": review.revision,
        "kept": verdicts[KEEP],
        "rejected": verdicts[REJECT],
        "tags": dict(sorted(tags.items())),
    }


def _told(one: Changed) -> dict[str, Any]:
    return {"name": one.name, "before": entry(one.before), "after": entry(one.after)}
