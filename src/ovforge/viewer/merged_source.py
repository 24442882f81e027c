"""A merged run: `NAME.h5` and its JSON."""

from __future__ import annotations

import threading
import time
from typing import Any

import msgspec

from ovforge.errors import MissingInputError
from ovforge.image_io.hdf5 import ImageReader
from ovforge.options.viewer import PairsViewOptions
from ovforge.records.reporting import Drop, Progress, no_progress
from ovforge.records.run_layout import run_command
from ovforge.records.scores import ExtraObject
from ovforge.sources.pair_index import PairIndex, open_pair_index
from ovforge.viewer.run_records import read_drops, read_engine
from ovforge.viewer.source import ObjectNotes, PairDetails, Snapshot

_LOOK_AGAIN_SECONDS = 2.0


class MergedSource:
    """The pairs of a merged run. Opens its files when they are first needed, and again when they change."""

    def __init__(self, options: PairsViewOptions, *, progress: Progress = no_progress) -> None:
        self.name = options.name
        self.run_folder = options.run_folder
        self._h5, self._json = options.merged
        self._progress = progress
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] = ()
        self._looked = float("-inf")
        self._reader: ImageReader | None = None
        self._index: PairIndex | None = None

    def snapshot(self) -> Snapshot:
        index, _ = self._open()
        return Snapshot(index, "-".join(map(str, self._stamp)), len(index), len(index))

    def image(self, row: int) -> bytes:
        index, reader = self._open()
        return reader.read(index.file_name(row))

    def details(self, pair: int) -> PairDetails:
        index, _ = self._open()
        fields = index.image_fields(int(index.pairs[pair, 1]))
        seed, motion, kept = fields.get("seed"), fields.get("motion"), fields.get("keep_mask")
        return PairDetails(
            caption=str(fields.get("caption") or ""),
            seed=seed if isinstance(seed, int) else None,
            motion=motion if isinstance(motion, dict) else {},
            engine=read_engine(self.run_folder),
            keep_mask=kept if isinstance(kept, dict) else None,
            extra=_extra(fields.get("extra")),
        )

    def notes(self, row: int) -> list[ObjectNotes]:
        index, _ = self._open()
        span = index.objects(row)
        records = (index.object_fields(position) for position in range(span.start, span.stop))
        return [ObjectNotes(record.get("segmentation"), bool(record.get("occluded"))) for record in records]

    def unseen(self, pair: int) -> dict[int, str]:
        del pair
        return {}  # the JSON has no record of what is not seen

    def drops(self) -> tuple[Drop, ...] | None:
        return read_drops(self.run_folder)

    def close(self) -> None:
        with self._lock:
            if self._reader is not None:
                self._reader.close()
            self._reader = self._index = None

    def _open(self) -> tuple[PairIndex, ImageReader]:
        with self._lock:
            if self._index is None or self._reader is None or time.monotonic() - self._looked > _LOOK_AGAIN_SECONDS:
                stamp = self._look()
                if stamp != self._stamp or self._index is None or self._reader is None:
                    # The old reader is not closed: another thread may be reading; it goes with its last user.
                    self._reader, self._index = (
                        ImageReader(self._h5),
                        open_pair_index(self._json, progress=self._progress),
                    )
                    self._stamp = stamp
                self._looked = time.monotonic()
            return self._index, self._reader

    def _look(self) -> tuple[int, ...]:
        stamp: list[int] = []
        for path, what, step in ((self._h5, "merged images", "merge"), (self._json, "pairs JSON", "annotate")):
            try:
                stat = path.stat()
            except OSError:
                hint = f"`{run_command(step, self._h5.parent, self.name)}` makes it"
                raise MissingInputError(path, what=what, hint=hint) from None
            stamp += (stat.st_size, stat.st_mtime_ns)
        return tuple(stamp)


def _extra(value: Any) -> tuple[ExtraObject, ...]:
    try:
        return msgspec.convert(value or (), tuple[ExtraObject, ...])
    except msgspec.ValidationError:
        return ()
