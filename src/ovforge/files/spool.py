"""Bytes that wait for their turn: in memory while they are few, beyond that in a file without a name."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ovforge.files.atomic import temporary_path

KEPT_IN_MEMORY = 1 << 20
"""Bytes."""


class Spool:
    """Pieces of bytes, added one after the other and then read back in the same order.

    What is in it does not outlive the process: the file has no name, so nothing is left behind by a kill.

    Args:
        folder: where the file lies if one is needed; it is there already.
        in_memory: so many bytes are held before one is.

    Raises:
        OSError: the disk is full.
    """

    def __init__(self, folder: Path, in_memory: int = KEPT_IN_MEMORY) -> None:
        # Where the system knows files with names only, it has one for a moment, and one that is cleared away.
        name = temporary_path(folder / "spool").name
        self._file = tempfile.SpooledTemporaryFile(in_memory, dir=os.fspath(folder), prefix=name)  # noqa: SIM115 - see close
        self._sizes: list[int] = []

    def add(self, data: bytes) -> None:
        """Add one piece."""
        self._file.write(data)
        self._sizes.append(len(data))

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        for size in self._sizes:
            yield self._file.read(size)

    def close(self) -> None:
        """Forget everything."""
        self._file.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()
