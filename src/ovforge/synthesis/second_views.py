"""What is known of the second views of a merged run: from its records, or from the original scripts' pickle file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ovforge.errors import InputError
from ovforge.records.reporting import Drop, Drops
from ovforge.storage.picture_hdf5 import PictureReader
from ovforge.storage.restricted_pickle import load_list
from ovforge.synthesis.pair_file import read_about, read_pairs
from ovforge.synthesis.pairs import variant_name
from ovforge.synthesis.partitions import PartitionFiles


class Entry(msgspec.Struct):
    """One object in a second view."""

    id: int
    """Of the original annotation."""
    area: float
    bbox: tuple[float, float, float, float]
    image_name: str
    fidelity: float | None = None
    fields: dict[str, Any] = {}
    """All fields as they are to be written: without polygons, which were the original's, but with a mask if there."""


class SecondViews(Protocol):
    """The second views of a run, picture by picture."""

    variants: int
    min_area: float | None
    """The smallest area that the run followed, where it is known."""

    def images(self, drops: Drops) -> Iterator[tuple[int, list[bytes]]]:
        """Position of each picture that the run has, and JSON fields for each of its second views (or an empty list).

        Pictures that it could not use are counted in `drops`.
        """

    def entries(self, used: Sequence[int]) -> Iterator[list[list[Entry]]]:
        """For each of the pictures at the positions `used`, the objects of each second view."""


def open_second_views(merged: PartitionFiles, names: Sequence[str], variants: int | None) -> SecondViews:
    """Open what a merged run knows of its second views.

    Args:
        names: the pictures of the annotation file.
        variants: how many second views of each picture are wanted; None: as many as were merged.

    Raises:
        InputError: the merged files do not belong to each other or to the annotation file.
    """
    with PictureReader(merged.h5) as reader:
        found = max((_count_views(reader, name) for name in names[:1000] if name in reader), default=0)
    if variants is not None and variants > found:
        raise InputError(f"{merged.h5}: has {found} second views per picture, not {variants}")
    variants = found if variants is None else variants
    if merged.pairs.is_file():
        return _Recorded(merged, names, variants)
    return _Pickled(merged.pkl, names, variants)


def _count_views(reader: PictureReader, name: str) -> int:
    count = 0
    while variant_name(name, count) in reader:
        count += 1
    return count


class _ViewNote(msgspec.Struct):
    caption: str
    seed: int
    motion: msgspec.Raw
    keep_mask: msgspec.Raw = msgspec.Raw()
    """Empty where no masks were asked for."""

    def fields(self) -> bytes:
        """JSON fields of the second view's image record."""
        mask = bytes(self.keep_mask)
        kept = b', "keep_mask": ' + mask if mask else b""
        caption = msgspec.json.encode(self.caption)
        return b', "caption": %b, "seed": %d, "motion": %b%b' % (caption, self.seed, bytes(self.motion), kept)


class _PairNote(msgspec.Struct):
    file_name: str
    variants: list[_ViewNote]
    drops: tuple[Drop, ...] = ()


class _ViewObjects(msgspec.Struct):
    annotations: list[msgspec.Raw]


class _PairObjects(msgspec.Struct):
    file_name: str
    variants: list[_ViewObjects]


class _Recorded:
    """A run of ovforge: everything is in `NAME.pairs.json`, read twice, record by record."""

    def __init__(self, merged: PartitionFiles, names: Sequence[str], variants: int) -> None:
        about = read_about(merged.pairs)
        if about.pkl_size != merged.pkl.stat().st_size:
            raise InputError(
                f"{merged.pairs}: belongs to another {merged.pkl.name} than the one beside it",
                hint=f"`ovforge pairs merge {merged.h5.stem} --overwrite` makes them anew",
            )
        if about.pictures > len(names):
            raise InputError(f"{merged.pairs}: has {about.pictures:,} pictures, the annotation file {len(names):,}")
        self._path = merged.pairs
        self._names = names
        self.variants = variants
        min_area = about.options.get("min_area")
        self.min_area = float(min_area) if isinstance(min_area, int | float) else None

    def images(self, drops: Drops) -> Iterator[tuple[int, list[bytes]]]:
        for position, record in enumerate(read_pairs(self._path, _PairNote)):
            self._check_name(position, record.file_name)
            if not record.variants:
                drops.merge([drop for drop in record.drops if drop.kind == "picture"])
                continue
            yield position, [view.fields() for view in record.variants[: self.variants]]

    def entries(self, used: Sequence[int]) -> Iterator[list[list[Entry]]]:
        for record in read_pairs(self._path, _PairObjects):
            if record.variants:
                yield [[_entry(raw) for raw in view.annotations] for view in record.variants[: self.variants]]

    def _check_name(self, position: int, name: str) -> None:
        expected = self._names[position]
        if name != expected:
            raise InputError(
                f"{self._path}: picture {position + 1:,} is {name}, in the annotation file it is {expected}",
                hint="give the annotation file that the pairs were made from with --annotations",
            )


_DECODER = msgspec.json.Decoder(Entry)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _entry(raw: msgspec.Raw) -> Entry:
    entry = _DECODER.decode(raw)
    fields = _FIELDS.decode(raw)
    mask = fields.pop("mask", None)
    if mask is not None:
        fields["segmentation"] = mask
    entry.fields = fields
    return entry


class _Pickled:
    """A run of the original scripts: a list of all entries, loaded whole, without their polygons."""

    min_area: float | None = None

    def __init__(self, path: Path, names: Sequence[str], variants: int) -> None:
        self._names = names
        self.variants = variants
        self._by_name: dict[str, list[Entry]] = {}
        for number, fields in enumerate(load_list(path), start=1):
            try:
                fields.pop("segmentation", None)
                entry = msgspec.convert(fields, Entry)
            except (msgspec.ValidationError, AttributeError) as error:
                raise InputError(f"{path}: entry {number:,} is no annotation of a second view ({error})") from error
            entry.fields = fields
            self._by_name.setdefault(entry.image_name, []).append(entry)

    def images(self, drops: Drops) -> Iterator[tuple[int, list[bytes]]]:
        return ((position, []) for position in range(len(self._names)))

    def entries(self, used: Sequence[int]) -> Iterator[list[list[Entry]]]:
        for position in used:
            name = self._names[position]
            yield [self._by_name.get(variant_name(name, r), []) for r in range(self.variants)]
