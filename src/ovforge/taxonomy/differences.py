"""Where a data set's categories and the packaged table disagree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ovforge.taxonomy.tables import class_by_id, synset_to_wnid


class CategoryFacts(Protocol):
    """What is compared of a category; `records.lvis.Category` has it all."""

    @property
    def id(self) -> int:
        """Category id."""

    @property
    def name(self) -> str:
        """Class name."""

    @property
    def synset(self) -> str | None:
        """WordNet synset."""

    @property
    def frequency(self) -> str | None:
        """`r`, `c` or `f`."""


def category_differences(categories: Iterable[CategoryFacts]) -> tuple[str, ...]:
    """Say in what `categories` differ from LVIS v1, one line a difference; empty for the same classes.

    The data set's own id, name, synset and frequency are the ones to use: this is for reporting. A frequency may
    differ for a good reason, because it was recounted on other annotations. The lines come in the order of
    `categories`, the table's missing classes last, in one line.
    """
    differences: list[str] = []
    table = class_by_id()
    seen: set[int] = set()
    for category in categories:
        seen.add(category.id)
        known = table.get(category.id)
        where = f"category {category.id} ({category.name})"
        if known is None:
            differences.append(f"{where} is not an id of LVIS v1")
        else:
            differences += [
                f"{where}: {field} is {_shown(here)}, in LVIS v1 {_shown(in_lvis)}"
                for field, here, in_lvis in (
                    ("name", category.name, known.name),
                    ("synset", category.synset, known.synset),
                    ("frequency", category.frequency, known.frequency),
                )
                if here != in_lvis
            ]
        is_known_synset = category.synset in synset_to_wnid() or (known is not None and category.synset == known.synset)
        if category.synset and not is_known_synset:
            differences.append(f"{where}: synset {category.synset} is in no packaged table, so it has no ImageNet id")
    missing = [known for id_, known in table.items() if id_ not in seen]
    if missing:
        names = ", ".join(known.name for known in missing[:3])
        differences.append(
            f"{len(missing)} classes of LVIS v1 are missing ({names}{', ...' if len(missing) > 3 else ''})"
        )
    return tuple(differences)


def _shown(value: str | None) -> str:
    return "missing" if value is None else value
