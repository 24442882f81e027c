"""Decoding the windows of a long array in several processes.

Only numbers come back from the workers, as numpy columns; the records themselves stay where they were decoded. The
parent checks the windows in order (see `json_windows`) and does by itself what a worker could not.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge import parallel
from ovforge.annotation_io import json_windows
from ovforge.annotation_io.json_windows import Window, WindowReader
from ovforge.annotation_io.schema import RecordType, check_values, decoder_of, problem_of, struct_of
from ovforge.errors import AnnotationFileError
from ovforge.files.byte_file import ByteFile
from ovforge.parallel import Workers

Columns = dict[str, NDArray[Any]]


WINDOWS_A_JOB = 8
"""A window fits the processor's cache, a job is worth its way to a worker and back."""


class Block(NamedTuple):
    """The columns of one window's records, or of some windows that follow one another."""

    records: int
    """How many."""
    spans: tuple[NDArray[np.int64], NDArray[np.int64]] | None
    """Where each starts and stops in the file, if it was asked for."""
    columns: Columns
    stop: int
    array_end: int | None


class WindowPool(Workers):
    """The workers, as readers of long arrays."""

    def blocks(self, file: ByteFile, start: int, record: RecordType, *, section: str, spans: bool) -> Iterator[Block]:
        """The columns of the array whose first record starts at `start`, window by window, in order."""
        first = 0
        while self.usable and file.size - start >= parallel.SMALL_BYTES:
            start, first, finished = yield from self._guessed_blocks(
                file, start, record, section=section, first=first, spans=spans
            )
            if finished:
                return
            window = json_windows.exact_window(file, start, _decoder(record), section=section, first=first)
            yield tabulate(file.path, window, record, section=section, first=first, spans=spans)
            if window.array_end is not None:
                return
            first += len(window.records)
            start = json_windows.next_start(file, window)
        decoder = _decoder(record)
        for window in json_windows.iterate_windows(file, start, decoder, section=section, first=first):
            yield tabulate(file.path, window, record, section=section, first=first, spans=spans)
            first += len(window.records)

    def _guessed_blocks(
        self, file: ByteFile, start: int, record: RecordType, *, section: str, first: int, spans: bool
    ) -> Generator[Block, None, tuple[int, int, bool]]:
        """Yield blocks while the guesses hold; return (position, record number, whether the array has ended)."""
        followings: deque[int] = deque()

        def jobs() -> Iterator[tuple[Any, ...]]:
            ahead = start
            while ahead < file.size:
                stop, following = json_windows.guess_boundary(file, ahead + WINDOWS_A_JOB * json_windows.WINDOW_BYTES)
                followings.append(following)
                yield file.path, (ahead, stop), record, section, spans
                ahead = following

        with contextlib.closing(self.ordered(_block_there, jobs())) as blocks:
            for block in blocks:
                if block is None:
                    break
                yield block
                first += block.records
                following = followings.popleft()
                if block.array_end is not None:
                    return start, first, True
                start = following
        return start, first, False


def tabulate(path: Path, window: Window, record: RecordType, *, section: str, first: int, spans: bool) -> Block:
    """Turn decoded records into columns: numbers into int64 or float64, everything else into objects."""
    columns: Columns = {}
    for name, kind in _field_types(record):
        value_of = attrgetter(name)
        try:
            columns[name] = _column(map(value_of, window.records), kind, len(window.records))
        except OverflowError:
            values = list(map(value_of, window.records))
            index = next(i for i, value in enumerate(values) if not -(2**63) <= value < 2**63)
            problem = problem_of(record, name, values[index])
            raise _error(path, window, (index, problem), section=section, first=first) from None
    if wrong := check_values(record, columns):
        raise _error(path, window, wrong, section=section, first=first)
    places = json_windows.record_spans(window) if spans else None
    return Block(len(window.records), places, columns, window.stop, window.array_end)


def _error(path: Path, window: Window, wrong: tuple[int, str], *, section: str, first: int) -> AnnotationFileError:
    index, problem = wrong
    label = json_windows.record_label(section, first + index)
    return AnnotationFileError(path, problem, record=label, byte=int(json_windows.record_spans(window)[0][index]))


@lru_cache(maxsize=256)
def _field_types(record: RecordType) -> tuple[tuple[str, Any], ...]:
    # Asked for once a window: msgspec finds out anew each time, which takes as long as a part of the decoding.
    return tuple((field.name, field.type) for field in msgspec.structs.fields(struct_of(record)))


def _column(values: Iterable[Any], kind: Any, count: int) -> NDArray[Any]:
    if kind == tuple[float, float, float, float]:
        return np.fromiter(chain.from_iterable(values), np.float64, 4 * count).reshape(-1, 4)
    if kind in (int, float):
        return np.fromiter(values, np.int64 if kind is int else np.float64, count)
    if kind is msgspec.Raw:  # a view of the window's memory, which the next window gets
        values = (value.copy() for value in values)
    return np.fromiter(values, object, count)


def _block_there(path: Path, span: tuple[int, int], record: RecordType, section: str, spans: bool) -> Block | None:
    """The windows of a span of bytes in a worker; None where the parent has to look more closely."""
    blocks: list[Block] = []
    start, stop = span
    with ByteFile(path) as file:
        reader = WindowReader(file, _decoder(record))
        while start < stop:
            window_stop, following = json_windows.guess_boundary(file, start + json_windows.WINDOW_BYTES)
            # The job's own end is a guess as good as any other.
            window = reader.guessed(start, min(window_stop, stop))
            if window is None:
                return None
            try:
                blocks.append(tabulate(path, window, record, section=section, first=0, spans=spans))
            except AnnotationFileError:
                return None
            if window.array_end is not None:
                break
            start = following
    return _joined(blocks)


def _joined(blocks: list[Block]) -> Block:
    spans = [block.spans for block in blocks if block.spans is not None]
    return Block(
        sum(block.records for block in blocks),
        (np.concatenate([s for s, _ in spans]), np.concatenate([s for _, s in spans])) if spans else None,
        {name: np.concatenate([block.columns[name] for block in blocks]) for name in blocks[0].columns},
        blocks[-1].stop,
        blocks[-1].array_end,
    )


_decoder = decoder_of
