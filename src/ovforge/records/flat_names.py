"""How an image in a folder of folders is known by one plain name."""

from __future__ import annotations

from collections.abc import Iterable

FOLDER_MARK = "__"
"""Stands for the separator of folders."""


def flattened(parts: Iterable[str]) -> str:
    """Folders and file name as one name.

    >>> flattened(["shop a", "front.jpg"]), flattened(["front.jpg"])
    ('shop a__front.jpg', 'front.jpg')
    """
    return FOLDER_MARK.join(part for part in parts if part)
