"""What a step says about itself: counts, drops with reasons, outputs, the next command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

EXAMPLES_KEPT = 20

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total); `total` is 0 where it is not known."""


def no_progress(stage: str, done: int, total: int) -> None:
    """The progress callback that shows nothing."""


def printable(text: str) -> str:
    r"""The text with the bytes of names that are not UTF-8 written as \xNN, so that it can be printed and stored.

    >>> printable("caf\udce9.JPEG")
    'caf\\xe9.JPEG'
    """
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # halves of other characters, from a JSON file
        return text.encode("utf-8", "backslashreplace").decode()


class Drop(msgspec.Struct, frozen=True):
    """One reason for which things of one kind were skipped."""

    kind: str
    """What was skipped: `image`, `annotation`, `class`, `exemplar`, ..."""
    reason: str
    count: int
    examples: tuple[str, ...] = ()
    """The first names, at most EXAMPLES_KEPT."""


class Drops:
    """Counts what a step leaves out, by kind and reason, and remembers the first names of each."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._examples: dict[tuple[str, str], list[str]] = {}

    def add(self, kind: str, reason: str, name: object = None, *, count: int = 1) -> None:
        """Count `count` things of `kind` skipped for `reason`; `name` says which."""
        key = (kind, reason)
        self._counts[key] = self._counts.get(key, 0) + count
        examples = self._examples.setdefault(key, [])
        if name is not None and len(examples) < EXAMPLES_KEPT:
            examples.append(printable(str(name)))

    def merge(self, drops: tuple[Drop, ...] | list[Drop]) -> None:
        """Add what another step, shard or worker counted."""
        for drop in drops:
            self.add(drop.kind, drop.reason, count=drop.count)
            examples = self._examples[(drop.kind, drop.reason)]
            examples.extend(drop.examples[: EXAMPLES_KEPT - len(examples)])

    def count(self, kind: str, reason: str) -> int:
        """How many things of `kind` were skipped for `reason`."""
        return self._counts.get((kind, reason), 0)

    def freeze(self) -> tuple[Drop, ...]:
        """The drops so far, sorted by kind and reason."""
        return tuple(
            Drop(kind, reason, count, tuple(self._examples[(kind, reason)]))
            for (kind, reason), count in sorted(self._counts.items())
        )


class StepSummary(msgspec.Struct, frozen=True):
    """What a step did; every command prints one, `--json` prints it as JSON."""

    step: str
    outputs: dict[str, str] = {}
    """What each output is -> its path."""
    counts: dict[str, Any] = {}
    """What was counted -> the number, in the order to be shown."""
    drops: tuple[Drop, ...] = ()
    notes: tuple[str, ...] = ()
    next_command: str = ""
