"""The review of a run: which of its pairs somebody keeps, rejects or tags. `NAME.review.json` beside the run.

A pair is named by the file name of its second view. Pairs that nobody has judged are not in the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

FORMAT = "ovforge review 1"
KEEP, REJECT = "keep", "reject"
REJECTED = "was rejected in the review"
"""Why a second view is skipped."""
MOST_TAGS, LONGEST_TAG = 50, 80

Verdict = Literal["", "keep", "reject"]


class ReviewEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was decided on one pair."""

    verdict: Verdict = ""
    tags: tuple[str, ...] = ()
    """Sorted, each once."""
    revision: int = 0
    """The file's revision that changed it last; 0: never."""


class Review(msgspec.Struct, frozen=True):
    """The whole file."""

    format: Literal["ovforge review 1"] = "ovforge review 1"
    revision: int = 0
    """Counts the writes."""
    pairs: dict[str, ReviewEntry] = {}
    """File name of the second view -> what was decided."""

    @property
    def rejected(self) -> frozenset[str]:
        """The file names of the rejected second views."""
        return frozenset(name for name, entry in self.pairs.items() if entry.verdict == REJECT)


class ReviewChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change of one pair's entry. What is not given stays as it is, whoever wrote it."""

    name: str
    verdict: Verdict | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    expect: int | None = None
    """Change the entry only if this is still its revision."""


class Changed(msgspec.Struct, frozen=True):
    """One entry before and after a change."""

    name: str
    before: ReviewEntry
    after: ReviewEntry


def clean_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags in their one spelling: without spaces around them, sorted, each once.

    >>> clean_tags([" blurred", "odd  colour", "blurred", ""])
    ('blurred', 'odd colour')
    """
    return tuple(sorted({" ".join(tag.split())[:LONGEST_TAG] for tag in tags} - {""}))[:MOST_TAGS]


def apply_changes(
    review: Review, changes: Iterable[ReviewChange]
) -> tuple[Review, list[Changed], list[tuple[str, ReviewEntry]]]:
    """The review with the changes, what they changed, and the entries that were not as expected and stay as they are.

    >>> review, changed, _ = apply_changes(Review(), [ReviewChange("a_v0.jpg", "reject", add_tags=("dark",))])
    >>> review.pairs["a_v0.jpg"]
    ReviewEntry(verdict='reject', tags=('dark',), revision=1)
    >>> undo = ReviewChange("a_v0.jpg", verdict="", remove_tags=("dark",), expect=changed[0].after.revision)
    >>> apply_changes(review, [undo])[0].pairs
    {}
    """
    pairs, revision = dict(review.pairs), review.revision + 1
    changed: list[Changed] = []
    refused: list[tuple[str, ReviewEntry]] = []
    for change in changes:
        before = pairs.get(change.name, ReviewEntry())
        if change.expect is not None and change.expect != before.revision:
            refused.append((change.name, before))
            continue
        verdict = before.verdict if change.verdict is None else change.verdict
        tags = clean_tags({*before.tags, *clean_tags(change.add_tags)} - set(clean_tags(change.remove_tags)))
        if (verdict, tags) == (before.verdict, before.tags):
            continue
        after = ReviewEntry(verdict, tags, revision)
        if verdict or tags:
            pairs[change.name] = after
        else:
            after = ReviewEntry()
            pairs.pop(change.name, None)
        changed.append(Changed(change.name, before, after))
    return (Review(revision=revision, pairs=pairs) if changed else review), changed, refused
