"""What a file looks like by its first bytes, where it is not what was asked for.

Failed downloads leave a page of the server under the name of an image or an archive; the message should say so.
"""

from __future__ import annotations

import re

_SIGNATURES = (
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\x00", "xz data"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"version https://git-lfs", "a Git LFS pointer: the file itself was not fetched"),
)
_HTML = re.compile(rb"<(!doctype\s+html|html|head|body|title|script|meta)\b")
_SVG = re.compile(rb"<(!doctype\s+)?svg\b")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def describe_content(head: bytes) -> str:
    """What the file that begins with `head` (some hundred bytes or more) is, for an error message.

    >>> describe_content(b"<!DOCTYPE html><html><title>404</title>")
    'a web page (HTML)'
    """
    if not head:
        return "an empty file"
    if not head.strip(b"\0"):
        return "a file of zeros, as an interrupted download leaves"
    found = next((what for signature, what in _SIGNATURES if head.startswith(signature)), None)
    if found is not None:
        return found
    if len(head) > 262 and head[257:262] == b"ustar":
        return "a tar archive"
    text = head[:1024].removeprefix(_BYTE_ORDER_MARK).lstrip().lower()
    if text.startswith(b"<"):
        if _HTML.search(text):
            return "a web page (HTML)"
        if _SVG.search(text):
            return "an SVG drawing"
        if text.startswith(b"<?xml"):
            return "an XML document"
    if text.startswith((b"{", b"[")) and text.isascii() and b'"' in text:
        return "JSON text"
    return f"a file that begins with {head[:8]!r}"
