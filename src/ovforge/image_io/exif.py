"""The orientation in a block of EXIF or XMP, read as Pillow reads it.

EXIF is a TIFF file of its own (CIPA DC-008, 4.5); orientation is tag 274. It says how stored pixels have to be turned
to stand upright: 1 not at all, 2 mirrored, 3 by 180 degrees, 6 by 90 degrees clockwise, 8 anti-clockwise, and so on.
"""

from __future__ import annotations

import re
import struct
from typing import Final

NO_TAG: Final = 0
"""The block has no orientation; elsewhere in the image there may be one."""

_EXIF = b"Exif\0\0"
_MARKS = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"MM\0+")  # the last three are wrong, and read all the same
_ORIENTATION = 274
_NUMBERS = {3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L"}
"""TIFF types that can hold a whole number, as struct's letters: SHORT, LONG, SBYTE, SSHORT, SLONG, IFD."""
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
"""Bytes of a value of every TIFF type; an entry of another type is skipped."""


def exif_orientation(block: bytes) -> int:
    """The orientation in an EXIF block, 1 to 8; 1 where it makes no sense, NO_TAG where there is none.

    Some cameras write the block's mark twice, and some write the tag as LONG instead of SHORT: both are read.
    """
    while block.startswith(_EXIF):
        block = block[6:]
    if block[:4] not in _MARKS:
        return 1 if block else NO_TAG
    order = "<" if block[:2] == b"II" else ">"
    try:
        directory = struct.unpack_from(order + "L", block, 4)[0]
        entries = struct.unpack_from(order + "H", block, directory)[0]
    except struct.error:
        return 1 if len(block) < 8 else NO_TAG
    found = NO_TAG
    for at in range(directory + 2, directory + 2 + 12 * entries, 12):
        if at + 12 > len(block):
            break
        tag, kind, count = struct.unpack_from(order + "HHL", block, at)
        if tag != _ORIENTATION or not count or kind not in _SIZES:
            continue
        if count == 1 and kind in _NUMBERS:
            found = valid_orientation(struct.unpack_from(order + _NUMBERS[kind], block, at + 8)[0])
        else:
            size = count * _SIZES[kind]
            if size <= 4 or struct.unpack_from(order + "L", block, at + 8)[0] + size <= len(block):
                found = 1  # it is there, and makes no sense
    return found


def xmp_orientation(packet: bytes) -> int:
    """The orientation in an XMP packet, 1 where there is none."""
    match = _XMP_ORIENTATION.search(packet)
    return valid_orientation(int(match[1])) if match else 1


def valid_orientation(value: int) -> int:
    """`value` if it is an orientation, else 1."""
    return value if 1 <= value <= 8 else 1
