"""The review of a run as the pages use it: who may change it, and which pairs a filter of it selects.

A clip is kept, rejected and tagged as a whole, under the name of its frame 1. Where a file says something of its other
frames, that counts for the clip: one rejected frame rejects it, as it does in `pairs annotate` and exports.
"""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.files.review_file import change_review, read_review
from ovforge.records.review import KEEP, REJECT, Changed, Review, ReviewChange, ReviewEntry, Verdict, clean_tags
from ovforge.records.run_layout import clip_of
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
        self._entries: dict[str, ReviewEntry] = {}
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
                self._entries = whole_clips(self._review.pairs)
            return self._review

    def entries(self) -> dict[str, ReviewEntry]:
        """What was decided on each pair and on each clip as a whole.

        Raises:
            InputError: the review is damaged.
        """
        self.current()
        return self._entries

    def change(self, changes: Sequence[ReviewChange]) -> dict[str, Any]:
        """Change entries, and tell what became of them. A change of a clip's frame is one of the clip."""
        clips = _by_clip(self.current().pairs)
        written = [one for change in changes for one in _of_whole_clip(change, clips)]
        review, changed, refused = change_review(self._path, written)
        now, was = whole_clips(review.pairs), _by_clip(review.pairs)
        for one in changed:
            was.setdefault(clip_of(one.name) or one.name, {})[one.name] = one.before
        names = dict.fromkeys(clip_of(one.name) or one.name for one in changed)
        told = [Changed(name, whole_clips(was[name])[name], now.get(name, ReviewEntry())) for name in names]
        left = dict.fromkeys(clip_of(name) or name for name, _ in refused)
        return {
            **totals(review),
            "changed": [_told(one) for one in told],
            "refused": [{"name": name, **entry(now.get(name, ReviewEntry()))} for name in left if name not in names],
        }

    def select(self, snapshot: Snapshot, query: Query, chosen: NDArray[np.int32]) -> NDArray[np.int32]:
        """Those of the chosen pairs that fulfil what the query asks of the review, in the same order."""
        if not query.verdict and not query.tag:
            return chosen
        marked = np.zeros(len(snapshot.arrays), np.bool_)
        first_of = snapshot.arrays.first_of
        wanted_tag = query.tag.casefold()
        for name, one in self.entries().items():
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
                return tagged[marked[first_of[tagged]]]
        return chosen[marked[first_of[chosen]]]

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
    entries = whole_clips(review.pairs).values()
    verdicts = Counter[str](one.verdict for one in entries)
    tags = Counter(tag for one in entries for tag in one.tags)
    return {
        "revision": review.revision,
        "kept": verdicts[KEEP],
        "rejected": verdicts[REJECT],
        "tags": dict(sorted(tags.items())),
    }


def whole_clips(pairs: Mapping[str, ReviewEntry]) -> dict[str, ReviewEntry]:
    """The entries of pairs as they are, those of clips' frames as one for each clip, under its frame 1's name.

    >>> frames = {"a_v0_f002.jpg": ReviewEntry("reject", revision=3), "a_v0_f001.jpg": ReviewEntry("keep", ("odd",), 2)}
    >>> whole_clips(frames)
    {'a_v0_f001.jpg': ReviewEntry(verdict='reject', tags=('odd',), revision=3)}
    """
    found: dict[str, ReviewEntry] = {}
    for name, one in pairs.items():
        clip = clip_of(name) or name
        found[clip] = _both(found[clip], one) if clip in found else one
    return found


def _both(one: ReviewEntry, other: ReviewEntry) -> ReviewEntry:
    verdict = next((v for v in (REJECT, KEEP) if v in (one.verdict, other.verdict)), "")
    tags = clean_tags((*one.tags, *other.tags))
    return ReviewEntry(cast("Verdict", verdict), tags, max(one.revision, other.revision))


def _by_clip(pairs: Mapping[str, ReviewEntry]) -> dict[str, dict[str, ReviewEntry]]:
    """The entries of clips' frames, by clip."""
    found: dict[str, dict[str, ReviewEntry]] = {}
    for name, one in pairs.items():
        if (clip := clip_of(name)) is not None:
            found.setdefault(clip, {})[name] = one
    return found


def _of_whole_clip(change: ReviewChange, clips: Mapping[str, Mapping[str, ReviewEntry]]) -> list[ReviewChange]:
    """The changes that make one of a pair, or of all of a clip; frames that have entries of their own lose them."""
    clip = clip_of(change.name)
    if clip is None:
        return [change]
    frames = {name: one for name, one in clips.get(clip, {}).items() if name != clip}
    if not frames:
        return [msgspec.structs.replace(change, name=clip)]
    own = clips[clip].get(clip, ReviewEntry())
    whole = whole_clips({clip: own, **frames})[clip]
    if change.expect is not None and change.expect != whole.revision:
        return [msgspec.structs.replace(change, name=clip, expect=-1)]  # refused: somebody has changed it since
    verdict = whole.verdict if change.verdict is None else change.verdict
    add = (*change.add_tags, *whole.tags)
    return [
        msgspec.structs.replace(change, name=clip, verdict=verdict, add_tags=add, expect=own.revision),
        *(ReviewChange(name, "", remove_tags=one.tags, expect=one.revision) for name, one in frames.items()),
    ]


def _told(one: Changed) -> dict[str, Any]:
    return {"name": one.name, "before": entry(one.before), "after": entry(one.after)}
