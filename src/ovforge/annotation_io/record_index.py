"""The records of one section of an annotation file, by image: byte ranges now, bytes when they are asked for.

A plan over a hundred thousand images goes to every worker; their million annotations stay in the file. A worker
gets 16 bytes of index for each and reads the few of an image when it comes to it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.ordering import stable_order
from ovforge.errors import AnnotationFileError


class RecordIndex:
    """Records grouped by image. Picklable; the file is opened where it is first read, once per process."""

    def __init__(
        self,
        path: Path,
        keys: NDArray[np.int64],
        record_keys: NDArray[np.int64],
        starts: NDArray[np.int64],
        stops: NDArray[np.int64],
    ) -> None:
        """Group records by key.

        Args:
            path: the annotation file.
            keys: (images,) the images' ids, each once.
            record_keys: (records,) the id of each record's image; records of other images are skipped.
            starts, stops: (records,) each record's byte range in the file.
        """
        self.path = path.absolute()  # worker processes on other machines have another current folder
        self.size = path.stat().st_size
        order = stable_order(keys)
        places = np.searchsorted(keys, record_keys, sorter=order)
        places[places == len(keys)] = 0
        groups = order[places] if len(keys) else np.zeros(len(record_keys), np.int64)
        known = keys[groups] == record_keys if len(keys) else np.zeros(len(record_keys), np.bool_)
        self.orphans = int(len(record_keys) - np.count_nonzero(known))
        """How many records belong to none of the images."""
        rows = np.flatnonzero(known)
        rows = rows[stable_order(groups[rows])]
        self._first = np.concatenate([[0], np.cumsum(np.bincount(groups[rows], minlength=len(keys)))])
        self._starts, self._stops = starts[rows], stops[rows]
        self._descriptor: int | None = None
        self._process = 0

    @property
    def empty(self) -> int:
        """How many of the images have no record."""
        return int(np.count_nonzero(np.diff(self._first) == 0))

    def records(self, image: int) -> list[bytes]:
        """The raw records of the image at position `image`, in file order.

        Raises:
            AnnotationFileError: the file has changed since it was indexed.
        """
        descriptor = self._open()
        found = []
        for row in range(int(self._first[image]), int(self._first[image + 1])):
            start, stop = int(self._starts[row]), int(self._stops[row])
            record = os.pread(descriptor, stop - start, start)
            if len(record) != stop - start or record[:1] != b"{" or record[-1:] != b"}":
                raise self._changed()
            found.append(record)
        return found

    def close(self) -> None:
        """Close the file; it opens again when it is read again."""
        if self._descriptor is not None and self._process == os.getpid():
            os.close(self._descriptor)
        self._descriptor = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None, "_process": 0}

    def _open(self) -> int:
        if self._descriptor is None or self._process != os.getpid():
            self._descriptor = os.open(self.path, os.O_RDONLY)
            self._process = os.getpid()
            if os.fstat(self._descriptor).st_size != self.size:
                raise self._changed()
        return self._descriptor

    def _changed(self) -> AnnotationFileError:
        return AnnotationFileError(
            self.path, "has changed since the run was started", hint="start the run again with --overwrite"
        )
