"""How the images of an annotation file are named, for every step.

`file_name` counts, or where there is none the `coco_url` (LVIS v1 has no `file_name`). Both may have folders, in a
Windows path with backslashes, and both may be web addresses, of which a query or fragment is no part of the name.
"""

from __future__ import annotations

import re

from ovforge.records.flat_names import flattened

_SEPARATORS = re.compile(r"[/\\]")
_COCO_NAME = re.compile(r"(?:COCO_\w+?_)?(\d{12}\.\w+)")
_DRIVE = re.compile(r"[A-Za-z]:")


def bare_name(file_name: str, coco_url: str = "") -> str:
    """The name without folders: the key of an image in every store; empty where an image has no name.

    >>> bare_name("", "http://images.cocodataset.org/train2017/000000391895.jpg")
    '000000391895.jpg'
    >>> bare_name("train2017\\\\000000391895.jpg"), bare_name("", "https://host/train2017/000000391895.jpg?size=full")
    ('000000391895.jpg', '000000391895.jpg')
    """
    return _parts(file_name, coco_url)[-1]


def flat_name(file_name: str, coco_url: str = "") -> str:
    """The name with all its folders, as one plain name: where images of several folders have the same bare name.

    >>> flat_name("shop a/front.jpg"), flat_name("front.jpg")
    ('shop a__front.jpg', 'front.jpg')
    """
    return flattened(_parts(file_name, coco_url))


def name_with_folder(file_name: str, coco_url: str = "") -> str:
    """The name with its last folder, as exemplars are kept: `train2017/000000391895.jpg`."""
    return "/".join(_parts(file_name, coco_url)[-2:])


def coco_name(file_name: str, coco_url: str = "") -> str:
    """The name by which LVIS and COCO files of any year know an image: without `COCO_train2014_`.

    >>> coco_name("COCO_train2014_000000391895.jpg")
    '000000391895.jpg'
    """
    name = bare_name(file_name, coco_url)
    match = _COCO_NAME.fullmatch(name)
    return match[1] if match else name


def _parts(file_name: str, coco_url: str) -> list[str]:
    name = file_name or coco_url
    if "://" in name:
        name = name.partition("?")[0].partition("#")[0]
    parts = [part for part in _SEPARATORS.split(name) if part != "."]
    return [_DRIVE.sub("", part, count=1) if number == 0 else part for number, part in enumerate(parts)] or [""]


LONGEST_NAME = 255
"""Bytes of a file name."""


def is_usable_name(name: str) -> bool:
    """Whether an image can be kept under `name`: a file name without control characters, and none of our own data sets.

    A last folder before it is fine. File systems take no more than 255 bytes.
    """
    bare = name.rpartition("/")[2]
    return (
        len(bare.encode("utf-8", "surrogateescape")) <= LONGEST_NAME
        and bare not in ("", ".", "..")
        and not bare.startswith("__")
        and all(ord(c) >= 32 for c in name)
    )
