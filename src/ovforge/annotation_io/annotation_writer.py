"""Writing annotation files from raw records: ranges of other files, bytes, and records that are edited on the way."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

from ovforge import parallel
from ovforge.annotation_io.edited_records import EditedRecords, edited
from ovforge.errors import AnnotationFileError
from ovforge.files.atomic import atomic_path
from ovforge.files.byte_file import FileRange
from ovforge.parallel import Workers

Records = bytes | FileRange | EditedRecords
"""Some records of a list, as they are written."""
Section = bytes | FileRange | Iterable[Records]
"""The value of a top-level key: raw JSON, or the records of a list."""

_COPY_BY_KERNEL = 256 << 10
"""Shorter ranges are quicker through a buffer."""


def write_annotation_file(path: Path, sections: Mapping[str, Section], *, overwrite: bool = False) -> None:
    """Write an annotation file, whole or not at all, laid out as `json.dump` does: one line, `", "` and `": "`.

    A section is a raw JSON value, or an iterable of records (each item one record or several with their commas),
    which is written as a list while it is drawn. Edited records are computed by several processes.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is false.
    """
    with atomic_path(path, overwrite=overwrite) as temporary, open(temporary, "wb", buffering=1 << 20) as out:
        out.write(b"{")
        for number, (section, value) in enumerate(sections.items()):
            out.write(b", " if number else b"")
            out.write(msgspec.json.encode(section) + b": ")
            if isinstance(value, bytes | FileRange):
                _write_piece(out, value)
                continue
            out.write(b"[")
            empty = True
            for piece in value:
                if isinstance(piece, EditedRecords) and not len(piece):
                    continue
                out.write(b"" if empty else b", ")
                empty = False
                if isinstance(piece, EditedRecords):
                    _write_edited(out, temporary, piece)
                else:
                    _write_piece(out, piece)
            out.write(b"]")
        out.write(b"}")


def _write_edited(out: BinaryIO, path: Path, records: EditedRecords) -> None:
    with Workers() as workers:
        if records.bytes_in < parallel.SMALL_BYTES:
            for batch in records.batches():
                out.writelines(edited(*batch))
            return
        out.flush()
        out.seek(workers.write_in_order(path, out.tell(), edited, records.batches))


def _write_piece(out: BinaryIO, piece: bytes | FileRange) -> None:
    if isinstance(piece, bytes):
        out.write(piece)
        return
    source, start, stop = piece
    if stop - start >= _COPY_BY_KERNEL and hasattr(os, "copy_file_range"):
        out.flush()
        # Not every pair of file systems can do it; what is left is copied through a buffer.
        with contextlib.suppress(OSError):
            while start < stop:
                copied = os.copy_file_range(source.descriptor, out.fileno(), stop - start, start)
                if not copied:
                    break
                start += copied
    while start < stop:
        data = source.read(start, min(stop, start + (4 << 20)))
        if not data:
            raise AnnotationFileError(source.path, "changed while it was read", hint="run the same command again")
        out.write(data)
        start += len(data)
