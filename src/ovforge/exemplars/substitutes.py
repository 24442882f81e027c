"""Which synsets' images may stand in for a class that has too few of its own."""

from __future__ import annotations

from collections.abc import Mapping

from ovforge.taxonomy import substitute_synsets

STAND_INS: Mapping[str, tuple[str, ...]] = {"stop_sign.n.01": ("street_sign.n.01",)}
"""Beyond the published 43: LVIS's own stop_sign.n.01 is in no WordNet, so ImageNet has no images of it."""


def substitutes_of(synset: str) -> tuple[str, ...]:
    """The related synsets of a class, in the order in which they are used; most classes have none."""
    return substitute_synsets().get(synset) or STAND_INS.get(synset, ())
