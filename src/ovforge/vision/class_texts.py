"""What a model is told of a class: its name in templates, or descriptions from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ovforge.annotation_io.annotation_file import read_records
from ovforge.errors import AnnotationFileError, InputError, MissingInputError
from ovforge.records.json_errors import JSON_ERRORS

NAMED = 20
"""How many classes an error names."""


class TextCategory(msgspec.Struct, frozen=True):
    """A category as texts are made from it."""

    id: int
    name: str
    synset: str = ""
    synonyms: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The name with spaces for underscores, as Detic's `fix_space`."""
        return self.name.replace("_", " ")


def read_categories(path: Path) -> list[TextCategory]:
    """The categories of an annotation file, by their ids.

    Raises:
        MissingInputError, AnnotationFileError: it is not there, or has no categories.
    """
    categories = sorted(read_records(path, "categories", TextCategory), key=lambda category: category.id)
    if not categories:
        raise AnnotationFileError(path, '"categories" is empty')
    return categories


def class_texts(
    categories: Sequence[TextCategory], templates: Sequence[str], descriptions: Path | None
) -> list[list[str]]:
    """The texts of every class.

    Descriptions are found by the name, the first synonym (as MM-OVOD's file has them), or the synset.

    Raises:
        InputError: the file is malformed, or lacks a class; names the classes.
    """
    if descriptions is None:
        return [[template.replace("{}", category.words) for template in templates] for category in categories]
    table = _read_descriptions(descriptions)
    found = [_described(category, table) for category in categories]
    lacking = [category.name for category, texts in zip(categories, found, strict=True) if not texts]
    if lacking:
        more = ", ..." if len(lacking) > NAMED else ""
        raise InputError(
            f"{descriptions}: describes {len(categories) - len(lacking):,} of {len(categories):,} classes, "
            f"not {', '.join(lacking[:NAMED])}{more}",
            hint="add them, under their name or synset, or leave out --descriptions=FILE to use the templates",
        )
    return found


def _described(category: TextCategory, table: dict[str, list[str]]) -> list[str]:
    first = category.synonyms[:1]
    keys = (category.name, category.words, *first, *(each.replace("_", " ") for each in first), category.synset)
    return next((table[key] for key in keys if table.get(key)), [])


def _read_descriptions(path: Path) -> dict[str, list[str]]:
    if not path.is_file():
        raise MissingInputError(path, what="descriptions")
    try:
        table = msgspec.json.decode(path.read_bytes(), type=dict[str, list[str] | str])
    except JSON_ERRORS as error:
        raise InputError(
            f"{path}: is not a JSON object from class name to a list of texts ({error})",
            hint='write {"cat": ["a cat is a small animal", ...], ...}',
        ) from None
    return {name: [texts] if isinstance(texts, str) else texts for name, texts in table.items()}
