"""What is wrong with a file that is not JSON, in words that help: web pages, archives, other encodings, NaN."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ovforge.errors import AnnotationFileError

EXPECTED = 'an annotation file is {"images": [...], "annotations": [...], "categories": [...], ...}'
_AGAIN = "download or unpack it again, and compare its size with the original's"
_SAVE_AS_UTF8 = "save it as UTF-8 without byte order mark, as `iconv -f {} -t utf-8` does"

_STEP = 4 << 20
_COMPRESSED = (
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf", "7-Zip"),
)
_MARKS = (  # the longer ones first: UTF-32's begins with UTF-16's
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


class Problem(NamedTuple):
    """What is wrong with a file, to be put after its name, and what to do."""

    text: str
    hint: str


def opening_problem(head: bytes) -> Problem | None:
    """What is wrong with a file that begins with `head` (64 bytes or more), if it is not JSON; None if it may be."""
    if not head.strip():
        return Problem("is empty" if not head else "is empty but for white space", _AGAIN)
    for magic, name in _COMPRESSED:
        if head.startswith(magic):
            return Problem(f"is compressed ({name}), not JSON", "unpack it first")
    if head.startswith(b"\xef\xbb\xbf"):
        return Problem("starts with a byte order mark (byte 0)", "save it as UTF-8 without byte order mark")
    for mark, name in _MARKS:
        if head.startswith(mark):
            return Problem(
                f"is {name}, not UTF-8: it starts with a byte order mark (byte 0)", _SAVE_AS_UTF8.format(name)
            )
    if b"\x00" in head[:4]:
        wide = "UTF-32" if head[:4].count(0) == 3 else "UTF-16"
        return Problem(f"is {wide}, not UTF-8: byte {head.index(0)} is 0", _SAVE_AS_UTF8.format(wide))
    text = head.lstrip()
    if re.match(rb"<(!doctype html|html|head|body|!--)", text, re.IGNORECASE):
        return Problem(
            f"is a web page (HTML), not JSON, from byte {len(head) - len(text)}: the download failed",
            "open the address in a browser: it may ask for a login, or have moved",
        )
    if text.startswith(b"<"):
        return Problem(f"is XML or HTML, not JSON, from byte {len(head) - len(text)}", EXPECTED)
    if head.startswith(b"version https://git-lfs"):
        return Problem("is a Git LFS pointer, not the file itself", "`git lfs pull` fetches the file")
    return None


def decode_json(path: Path, data: bytes | memoryview, kind: Any, *, reason: str, hint: str = "") -> Any:
    """A whole JSON file as `kind`; for files that are not annotation files, as Visual Genome's lists.

    Args:
        data: all of the file.
        reason: what to say of a file that is something else: `is not a list of images`.

    Raises:
        AnnotationFileError: not UTF-8, not JSON, or something else; says what and where.
    """
    if problem := opening_problem(bytes(data[:512])):
        raise AnnotationFileError(path, problem.text, hint=problem.hint)
    for start in range(0, len(data), _STEP):
        # The first bytes of a character may end a step.
        stop = start + _STEP
        while stop < len(data) and data[stop] & 0xC0 == 0x80:
            stop += 1
        check_utf8(path, data[_first_of_character(data, start) : stop], _first_of_character(data, start))
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise AnnotationFileError(path, reason, detail=str(error), hint=hint) from None
    except (msgspec.DecodeError, RecursionError) as error:
        cut = "truncated" in str(error)
        detail = f"it is cut short at byte {len(data):,}" if cut else f"not JSON: {json_problem(error, data, 0)}"
        raise AnnotationFileError(path, reason, detail=detail, hint=_AGAIN if cut else hint) from None


def _first_of_character(data: bytes | memoryview, start: int) -> int:
    while start < len(data) and start and data[start] & 0xC0 == 0x80:
        start += 1
    return start


def check_utf8(path: Path, data: bytes | memoryview, start: int, inside: str = "") -> None:
    """Refuse bytes of a file, which start at `start`, that are not UTF-8.

    Raises:
        AnnotationFileError: names the first byte that is not.
    """
    if is_ascii(data):
        return
    try:
        str(data, "utf-8")
    except UnicodeDecodeError as error:
        byte = bytes(data[error.start : error.start + 1])
        raise AnnotationFileError(
            path,
            f"is not UTF-8: byte {start + error.start:,} is 0x{byte[0]:02x}" + (f", in {inside}" if inside else ""),
            hint="if it was written in another encoding, convert it, as `iconv -f LATIN1 -t utf-8` does; or download "
            "it again",
        ) from None


def is_ascii(data: bytes | memoryview) -> bool:
    """Whether no byte is above 127; quicker than decoding."""
    return not len(data) or int(np.frombuffer(data, np.uint8).max()) < 128


_NULL = "write null, or leave the field out"
_NOT_JSON = (
    (re.compile(rb"[-+]?(NaN|Infinity)\b"), f"JSON has no such number (Python's json module writes it): {_NULL}"),
    (re.compile(rb"[-+]?(nan|inf)\b"), f"JSON has no such number: {_NULL}"),
    (re.compile(rb"(None|True|False)\b"), "this is Python's, not JSON's: write the file with `json.dump`, not `str`"),
    (re.compile(rb"(undefined)\b"), f"this is JavaScript's, not JSON's: {_NULL}"),
    (re.compile(rb"(')"), "strings stand in double quotes in JSON"),
)


def json_problem(error: Exception, data: bytes | memoryview, start: int) -> str:
    """The decoder's message in words, with byte positions counted in the file.

    Args:
        error: of a decoder that was given `data`.
        start: where `data` starts in the file.
    """
    text = str(error) or "nested too deeply"
    if isinstance(error, RecursionError):
        text = "nested too deeply"
    text = text.removeprefix("JSON is malformed: ")
    if "truncated" in text and b"\\u" in bytes(data):
        return "a \\u escape that is half of a surrogate pair, or the text ends too early"
    found = re.search(r" \(byte (\d+)\)", text)
    if not found:
        return text
    position = int(found[1])
    for place in range(max(position - 2, 0), position + 2):
        for pattern, words in _NOT_JSON:
            if match := pattern.match(bytes(data[place : place + 16])):
                return f"{match[0].decode()} at byte {place + start:,}: {words}"
    return f"{text[: found.start()]} (byte {position + start:,})"
