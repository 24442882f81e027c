"""The packaged tables, read once per process."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Literal, NamedTuple

Frequency = Literal["r", "c", "f"]


class LvisClass(NamedTuple):
    """One class of LVIS v1."""

    id: int
    """Category id, 1 to 1203."""
    name: str
    synset: str
    """WordNet name, `dog.n.01`. One, `stop_sign.n.01`, is LVIS's own and in no WordNet."""
    wnid: str | None
    """ImageNet's id, `n` and the synset's offset in WordNet 3.0; None for a synset that WordNet 3.0 does not have."""
    frequency: Frequency
    """In LVIS v1 train: `r` in at most 10 images, `c` in 11 to 100, `f` in more."""
    releases: tuple[str, ...]
    """The releases of ImageNet-21K with images of exactly this synset: `fall11`, `winter21`; none for 206 classes."""


class _Synset(NamedTuple):
    synset: str
    wnid: str
    releases: tuple[str, ...]


@functools.cache
def lvis_classes() -> tuple[LvisClass, ...]:
    """The 1,203 classes of LVIS v1, by id."""
    return tuple(
        LvisClass(int(id_), name, synset, wnid or None, frequency, _releases(releases))  # type: ignore[arg-type]
        for id_, name, synset, wnid, frequency, releases in _rows("lvis_v1.tsv")
    )


@functools.cache
def substitute_synsets() -> Mapping[str, tuple[str, ...]]:
    """Synset of a class with too few images -> the related synsets whose images stand in for it, in order.

    43 classes, the choice of the authors of MM-OVOD (Kaul et al. 2023, appendix). A substitute may be an LVIS
    class itself.
    """
    substitutes: dict[str, tuple[str, ...]] = {}
    for synset, substitute, _, _ in _rows("substitutes.tsv"):
        substitutes[synset] = (*substitutes.get(synset, ()), substitute)
    return MappingProxyType(substitutes)


@functools.cache
def class_by_id() -> Mapping[int, LvisClass]:
    """Category id -> class."""
    return MappingProxyType({lvis_class.id: lvis_class for lvis_class in lvis_classes()})


@functools.cache
def class_by_synset() -> Mapping[str, LvisClass]:
    """Synset -> class."""
    return MappingProxyType({lvis_class.synset: lvis_class for lvis_class in lvis_classes()})


@functools.cache
def class_by_wnid() -> Mapping[str, LvisClass]:
    """ImageNet id -> class."""
    return MappingProxyType({lvis_class.wnid: lvis_class for lvis_class in lvis_classes() if lvis_class.wnid})


@functools.cache
def synset_to_wnid() -> Mapping[str, str]:
    """Synset -> ImageNet id, for every class and substitute that WordNet 3.0 has."""
    return MappingProxyType({synset.synset: synset.wnid for synset in _synsets()})


@functools.cache
def wnid_to_synset() -> Mapping[str, str]:
    """ImageNet id -> synset, for every class and substitute that WordNet 3.0 has."""
    return MappingProxyType({synset.wnid: synset.synset for synset in _synsets()})


def releases_of(synset: str) -> tuple[str, ...]:
    """The releases of ImageNet-21K that have images of exactly `synset`; empty for none, or an unknown synset."""
    return _releases_by_synset().get(synset, ())


@functools.cache
def _releases_by_synset() -> dict[str, tuple[str, ...]]:
    return {synset.synset: synset.releases for synset in _synsets()}


@functools.cache
def _synsets() -> tuple[_Synset, ...]:
    classes = {c.synset: _Synset(c.synset, c.wnid, c.releases) for c in lvis_classes() if c.wnid}
    substitutes = {
        substitute: _Synset(substitute, wnid, _releases(releases))
        for _, substitute, wnid, releases in _rows("substitutes.tsv")
    }
    return tuple((substitutes | classes).values())


def _rows(table: str) -> list[list[str]]:
    text = resources.files("ovforge.taxonomy").joinpath(table).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()[1:]]


def _releases(cell: str) -> tuple[str, ...]:
    return tuple(cell.split())
