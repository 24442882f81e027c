"""Decoding the windows of a long array in several processes.

Only numbers come back from the workers, as numpy columns; the records themselves stay where they were decoded. The
parent checks the windows in order (see `json_windows`) and does by itself what a worker could not.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.errors import AnnotationFileError
from ovforge.storage import json_windows
from ovforge.storage.json_windows import ByteFile, Window

SMALL_FILE_BYTES = 32 << 20
"""Below this, starting workers takes longer than the work."""
_MOST_WORKERS = 4

Columns = dict[str, NDArray[Any]]


class Block(NamedTuple):
    """The columns of one window's records."""

    records: int
    """How many."""
    spans: tuple[NDArray[np.int64], NDArray[np.int64]] | None
    """Where each starts and stops in the file, if it was asked for."""
    columns: Columns
    stop: int
    array_end: int | None


class WindowPool:
    """A few worker processes, started when the first long array is met."""

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None
        self._workers = min(_MOST_WORKERS, _processors())
        self._usable = self._workers > 1

    def __enter__(self) -> WindowPool:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def blocks(self, file: ByteFile, start: int, record: type[Any], *, section: str, spans: bool) -> Iterator[Block]:
        """The columns of the array whose first record starts at `start`, window by window, in order."""
        if file.size - start < SMALL_FILE_BYTES or not self._usable:
            yield from _blocks_here(file, start, record, section=section, spans=spans)
            return
        first = 0
        while True:
            try:
                done = yield from self._guessed_blocks(file, start, record, section=section, first=first, spans=spans)
            except BrokenProcessPool:
                # No room for another process, or a script without `if __name__ == "__main__"`: one process will do.
                self._usable = False
                yield from _blocks_here(file, start, record, section=section, spans=spans)
                return
            start, first, finished = done
            if finished:
                return
            window = json_windows.exact_window(file, start, _decoder(record), section=section, first=first)
            yield tabulate(file.path, window, record, section=section, first=first, spans=spans)
            if window.array_end is not None:
                return
            first += len(window.records)
            start = json_windows.next_start(file, window)

    def _guessed_blocks(
        self, file: ByteFile, start: int, record: type[Any], *, section: str, first: int, spans: bool
    ) -> Any:
        """Yield blocks while the guesses hold; return (position, record number, whether the array has ended)."""
        executor = self._started()
        waiting: deque[tuple[int, int, Future[Block | None]]] = deque()
        ahead = start
        try:
            while True:
                while len(waiting) < 2 * self._workers and ahead < file.size:
                    stop, following = json_windows.guess_boundary(file, ahead + json_windows.WINDOW_BYTES)
                    job = executor.submit(_block_there, file.path, ahead, stop, record, section=section, spans=spans)
                    waiting.append((ahead, following, job))
                    ahead = following
                start, following, job = waiting.popleft()
                block = job.result()
                if block is None:
                    return start, first, False
                yield block
                first += block.records
                if block.array_end is not None:
                    return start, first, True
                if not waiting and ahead >= file.size:
                    return following, first, False
        finally:
            for _, _, job in waiting:
                job.cancel()

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self._workers, mp_context=multiprocessing.get_context("spawn"), initializer=_quiet_worker
            )
        return self._executor


def tabulate(path: Path, window: Window, record: type[Any], *, section: str, first: int, spans: bool) -> Block:
    """Turn decoded records into columns: numbers into int64 or float64, everything else into objects."""
    columns: Columns = {}
    for field in msgspec.structs.fields(record):
        values = [getattr(one, field.name) for one in window.records]
        try:
            columns[field.name] = _column(values, field.type)
        except OverflowError:
            index = next(i for i, value in enumerate(values) if not -(2**63) <= value < 2**63)
            raise AnnotationFileError(
                path,
                f"{json_windows.record_label(section, first + index)}: "
                f"{field.name} {values[index]} does not fit 64 bits",
            ) from None
    places = json_windows.record_spans(window) if spans else None
    return Block(len(window.records), places, columns, window.stop, window.array_end)


def _column(values: list[Any], kind: Any) -> NDArray[Any]:
    if kind == tuple[float, float, float, float]:
        return np.array(values, np.float64).reshape(-1, 4)
    if kind in (int, float):
        return np.array(values, np.int64 if kind is int else np.float64)
    return np.fromiter(values, object, len(values))


def _blocks_here(file: ByteFile, start: int, record: type[Any], *, section: str, spans: bool) -> Iterator[Block]:
    first = 0
    for window in json_windows.iterate_windows(file, start, _decoder(record), section=section):
        yield tabulate(file.path, window, record, section=section, first=first, spans=spans)
        first += len(window.records)


def _block_there(path: Path, start: int, stop: int, record: type[Any], *, section: str, spans: bool) -> Block | None:
    """One window in a worker; None where the parent has to look more closely."""
    with ByteFile(path) as file:
        window = json_windows.guessed_window(file, start, stop, _decoder(record))
    if window is None:
        return None
    try:
        return tabulate(path, window, record, section=section, first=0, spans=spans)
    except AnnotationFileError:
        return None


def _decoder(record: Any) -> msgspec.json.Decoder[list[Any]]:
    return msgspec.json.Decoder(list[record])


def _processors() -> int:
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quiet_worker() -> None:
    """An interrupt is the parent's to handle, and nothing outlives the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
