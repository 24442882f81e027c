"""What a step says about itself: counts, what it skipped and why, warnings, outputs, the next command."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ovforge.errors import InputError, NothingDoneError, Place
from ovforge.wording import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXAMPLES_KEPT = 20

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total); `total` is 0 where it is not known."""


def no_progress(stage: str, done: int, total: int) -> None:
    """The progress callback that shows nothing."""


class Drop(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reason for which things of one kind were skipped, or were kept with a warning."""

    kind: str
    """What it is about: `image`, `annotation`, `class`, `exemplar`, ..."""
    reason: str
    """A sentence without its subject, of one thing: `is missing`, `has no box`, `its box is empty`."""
    count: int
    examples: tuple[str, ...] = ()
    """The first names, at most EXAMPLES_KEPT; all of them in the report of a shard."""
    places: tuple[str, ...] = ()
    """Where or how, for each of `examples`; empty where there is nothing more to say."""
    kept: bool = False
    """A warning: the things were not skipped."""

    def __str__(self) -> str:
        return f"{self.count:,} {sentence(self.count, self.kind, self.reason)}"


class SkippedItem(msgspec.Struct, frozen=True):
    """One thing that was skipped, or kept with a warning."""

    kind: str
    reason: str
    item: str
    place: str
    kept: bool


class Drops:
    """Counts what a step skips or warns of, by kind and reason, and remembers the first names of each.

    Within `list_skipped` every name goes to the list as well. A shard of a run counts with `keep_names`: all its
    names, few enough to be kept, travel in its report and are listed when that is merged.

    >>> drops = Drops()
    >>> drops.add("image", "is missing", "a.jpg")
    >>> drops.add("image", "is missing", "b.jpg")
    >>> drops.warn("image", "has no usable object", "c.jpg")
    >>> [str(drop) for drop in drops.freeze()]
    ['1 image has no usable object', '2 images are missing']
    """

    def __init__(self, *, keep_names: bool = False) -> None:
        self._kept_names = None if keep_names else EXAMPLES_KEPT
        self._counts: dict[tuple[str, str, bool], int] = {}
        self._examples: dict[tuple[str, str, bool], list[tuple[str, str]]] = {}

    def add(self, kind: str, reason: str, name: object = None, *, count: int = 1, place: object = "") -> None:
        """Count `count` things of `kind` skipped for `reason`; `name` says which, `place` where or how."""
        self._add(kind, reason, () if name is None else ((str(name), str(place)),), count, kept=False)

    def add_all(self, kind: str, reason: str, names: Collection[Any] | NDArray[Any], *, place: object = "") -> None:
        """Count things of `kind` skipped for `reason`, one for each of `names`; a numpy array will do."""
        if len(names):
            self._add(kind, reason, ((str(name), str(place)) for name in names), len(names), kept=False)

    def warn(self, kind: str, reason: str, name: object = None, *, count: int = 1, place: object = "") -> None:
        """Count things of `kind` that are kept, but with a remark."""
        self._add(kind, reason, () if name is None else ((str(name), str(place)),), count, kept=True)

    def merge(self, drops: Sequence[Drop] | Drops, *, listed: bool = False) -> None:
        """Add what another step, shard or worker counted. `listed`: its names are in the list already."""
        if isinstance(drops, Drops):
            drops, listed = drops.freeze(), True
        for drop in drops:
            places = drop.places or ("",) * len(drop.examples)
            names = tuple(zip(drop.examples, places, strict=False))
            self._add(drop.kind, drop.reason, names, drop.count, kept=drop.kept, listed=listed)

    def count(self, kind: str, reason: str) -> int:
        """How many things of `kind` were skipped for `reason`."""
        return self._counts.get((kind, reason, False), 0)

    def freeze(self) -> tuple[Drop, ...]:
        """The drops so far, sorted by kind and reason."""
        found = []
        for (kind, reason, kept), count in sorted(self._counts.items()):
            examples = self._examples[(kind, reason, kept)]
            places = tuple(place for _, place in examples)
            names = tuple(name for name, _ in examples)
            found.append(Drop(kind, reason, count, names, places if any(places) else (), kept))
        return tuple(found)

    def _add(
        self,
        kind: str,
        reason: str,
        names: Any,
        count: int,
        *,
        kept: bool,
        listed: bool = False,
    ) -> None:
        key = (kind, reason, kept)
        self._counts[key] = self._counts.get(key, 0) + count
        examples = self._examples.setdefault(key, [])
        # The names of a shard are listed by the process that merges its report.
        write = None if listed or self._kept_names is None else _writer()
        for item, where in names:
            name, place = printable(item), printable(where)
            if self._kept_names is None or len(examples) < self._kept_names:
                examples.append((name, place))
            elif write is None:
                break
            if write is not None:
                write(SkippedItem(kind, reason, name, place, kept))


_list: tuple[int, Callable[[SkippedItem], None]] | None = None


def _writer() -> Callable[[SkippedItem], None] | None:
    # Forked workers have inherited the list: what they skip comes back in their reports.
    return _list[1] if _list is not None and _list[0] == os.getpid() else None


@contextlib.contextmanager
def list_skipped(write: Callable[[SkippedItem], None]) -> Iterator[None]:
    """Hand everything that steps skip or warn of to `write`, one by one, while the block lasts."""
    global _list  # noqa: PLW0603  (steps count in many places; like warnings, the list is the process's)
    before, _list = _list, (os.getpid(), write)
    try:
        yield
    finally:
        _list = before


def require_some(count: int, what: str, source: Path | str, which: str = "", *, hint: str = "") -> None:
    """Refuse to end with nothing: a step that would make an empty result has failed, whatever the reason.

    Every step asks this before it publishes its output, so that nothing empty is left behind.

    Args:
        count: of what the result is made of.
        what: one of them, as `image`, `annotation`, `class`.
        source: where they should have come from.
        which: more words on what was looked for.

    Raises:
        NothingDoneError: `count` is 0.
    """
    if not count:
        reason = f"there is no {what}{f' {which}' if which else ''}, so nothing would be done"
        raise NothingDoneError(reason, place=Place(str(source)), hint=hint)


def shell_command(*words: object, **options: object) -> str:
    """A command as it can be pasted into a shell. Options that are None are left out; their names may have underscores.

    >>> shell_command("ovforge", "pairs", "merge", "my pairs", folder="a b", out=None)
    "ovforge pairs merge 'my pairs' --folder 'a b'"
    """
    given = [(f"--{name.replace('_', '-')}", str(value)) for name, value in options.items() if value is not None]
    return shlex.join([*map(str, words), *(word for pair in given for word in pair)])


class StepSummary(msgspec.Struct, frozen=True):
    """What a step did; every command prints one, `--json` prints it as JSON."""

    step: str
    outputs: dict[str, str] = {}
    """What each output is -> its path."""
    counts: dict[str, Any] = {}
    """What was counted -> the number, in the order to be shown."""
    drops: tuple[Drop, ...] = ()
    """What was skipped, and what was kept with a warning."""
    notes: tuple[str, ...] = ()
    next_command: str = ""
    parts: tuple[StepSummary, ...] = ()
    """The steps of a whole procedure, in order; `drops` and `outputs` hold theirs as well."""

    @property
    def skipped(self) -> tuple[Drop, ...]:
        """What was skipped."""
        return tuple(drop for drop in self.drops if not drop.kept)

    @property
    def warnings(self) -> tuple[Drop, ...]:
        """What was kept, but with a remark."""
        return tuple(drop for drop in self.drops if drop.kept)

    @property
    def paths(self) -> dict[str, Path]:
        """What each output is -> its path."""
        return {what: Path(path) for what, path in self.outputs.items()}

    def __str__(self) -> str:
        """The summary as the command line prints it, in Python's words."""
        from ovforge.records.summary_text import as_text

        return as_text(self, python=True).rstrip("\n")

    def to_dataframe(self) -> Any:
        """What was skipped and warned of as a pandas data frame, one row per reason.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise InputError(
                "to_dataframe() needs pandas, which is not installed",
                hint="`pip install pandas`, or read `drops`, which has the same",
            ) from None
        columns = ("outcome", "kind", "reason", "count", "examples")
        rows = [("warning" if d.kept else "skipped", d.kind, d.reason, d.count, d.examples) for d in self.drops]
        return pd.DataFrame(rows, columns=list(columns))


_VERBS = {"is": "are", "has": "have", "was": "were", "does": "do"}
_REGULAR_VERBS = frozenset({"lies", "names", "holds", "needs", "belongs", "marks", "ends", "comes", "stays", "leaves"})
_UNCHANGED = frozenset({"cannot", "could", "will", "had", "left"})


def sentence(count: int, kind: str, reason: str) -> str:
    """A kind of things and a reason as the rest of a sentence that begins with their number.

    >>> sentence(10, "image", "is missing")
    'images are missing'
    >>> sentence(1, "image", "is missing")
    'image is missing'
    >>> sentence(2, "exemplar", "its image is missing")
    'exemplars: their image is missing'
    >>> sentence(3, "class", "no usable folder")
    'classes: no usable folder'
    >>> sentence(2, "file", "is not a readable image")
    'files: not a readable image'
    """
    first, _, rest = reason.partition(" ")
    is_verb = first in _VERBS or first in _REGULAR_VERBS or first in _UNCHANGED
    if count == 1:
        return f"{kind} {reason}" if is_verb else f"{kind}: {reason}"
    verb = _VERBS.get(first, first[:-1] if first in _REGULAR_VERBS else first)
    words = " ".join("their" if word == "its" else word for word in rest.split(" "))
    if is_verb and not (first == "is" and rest.removeprefix("not ").startswith(("a ", "an "))):
        return f"{plural(kind)} {verb} {words}".rstrip()
    if is_verb:  # several of them are not *a* thing
        return f"{plural(kind)}: {words}"
    return f"{plural(kind)}: {'their' if first == 'its' else first} {words}".rstrip()


def plural(noun: str) -> str:
    """The plural of a kind of things.

    >>> [plural(noun) for noun in ("image", "class", "entry", "mask", "box", "second view", "id in neg_category_ids")]
    ['images', 'classes', 'entries', 'masks', 'boxes', 'second views', 'ids in neg_category_ids']
    """
    noun, preposition, rest = noun.partition(" in ")
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        noun = f"{noun[:-1]}ies"
    else:
        noun = f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"
    return noun + preposition + rest
