"""Reads exemplar dictionaries and sampled exemplars; their records may hold polygons, so they stay raw bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ovforge.annotation_io.json_text import decode_json
from ovforge.errors import AnnotationFileError
from ovforge.files.mapped_file import map_file
from ovforge.options.layout import exemplars_of
from ovforge.records.exemplar import Exemplar
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.reporting import shell_command

_decode_key = msgspec.json.Decoder(Exemplar).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(frozen=True)
class ExemplarRecord:
    """One record: the fields to decide by, and its bytes."""

    key: Exemplar
    raw: msgspec.Raw

    def fields(self) -> dict[str, Any]:
        """All fields of the record, in their order."""
        fields: dict[str, Any] = msgspec.json.decode(self.raw)
        return fields


class ExemplarDictionary:
    """An exemplar dictionary: synset -> records. A gigabyte opens in a second; records are decoded by class."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            MissingInputError, AnnotationFileError: it is not there, or no exemplar dictionary.
        """
        self.path = path
        view = map_file(path, what="exemplar dictionary", hint="`ovforge exemplars collate` makes it")
        self._classes = decode_json(
            path,
            view,
            dict[str, msgspec.Raw],
            reason="is not an exemplar dictionary, a JSON object from synset to a list of records",
            hint="make it again with `ovforge exemplars collate`; sampled exemplars go to `ovforge exemplars crop`",
        )

    def __contains__(self, synset: str) -> bool:
        return synset in self._classes

    def __len__(self) -> int:
        return len(self._classes)

    @property
    def synsets(self) -> tuple[str, ...]:
        """The synsets, in file order."""
        return tuple(self._classes)

    def records(self, synset: str) -> list[ExemplarRecord]:
        """The records of one class, in file order.

        Raises:
            AnnotationFileError: a malformed record; names the class and the place in its list.
        """
        return _records(self.path, f'class "{synset}"', self._classes[synset])


@dataclass(frozen=True)
class DrawnClass:
    """The exemplars drawn for one class."""

    position: int
    """Place in the file, from 0: the rank of the category id."""
    synset: str | None
    """The class's synset, where the file says it."""
    records: list[ExemplarRecord]

    @property
    def category_id(self) -> int | None:
        """The class's id, as its first record says; None for a class without records."""
        return self.records[0].key.category_id if self.records else None


def read_drawn(path: Path) -> Iterator[DrawnClass]:
    """Read what `sample` writes, class by class: a list of lists, or a dictionary from synset to list.

    Raises:
        MissingInputError, AnnotationFileError: it is not there, or malformed; names the class and the record.
    """
    view = map_file(path, what="sampled exemplars", hint=f"`{_sample_command(path)}` makes them")
    classes: list[Any] | dict[str, Any] = decode_json(
        path,
        view,
        list[msgspec.Raw] | dict[str, msgspec.Raw],
        reason="holds no sampled exemplars, a list of one list per class",
        hint="make them again with `ovforge exemplars sample`",
    )
    named = classes.items() if isinstance(classes, dict) else ((None, raw) for raw in classes)
    for position, (synset, raw) in enumerate(named):
        where = f"class {position}" if synset is None else f'class "{synset}"'
        yield DrawnClass(position, synset, _records(path, where, raw))


def _sample_command(path: Path) -> str:
    """The command that writes a list of sampled exemplars to `path`."""
    found = re.search(r"_K-(\d+)_own\.json$", path.name)
    if found and path == exemplars_of(int(found[1])):
        return shell_command("ovforge", "exemplars", "sample", "-k", int(found[1]))
    return shell_command("ovforge", "exemplars", "sample", out=path)


def _records(path: Path, where: str, raw: msgspec.Raw) -> list[ExemplarRecord]:
    try:
        entries = _decode_list(raw)
    except JSON_ERRORS as error:
        raise AnnotationFileError(path, f"{where} is not a list of records ({error})") from None
    records = []
    for place, entry in enumerate(entries):
        try:
            key = _decode_key(entry)
        except JSON_ERRORS as error:
            raise AnnotationFileError(path, f"{where}, exemplar {place}: {error}") from None
        if problem := key.problem():
            raise AnnotationFileError(path, f"{where}, exemplar {place}: {problem}")
        records.append(ExemplarRecord(key, entry))
    return records
