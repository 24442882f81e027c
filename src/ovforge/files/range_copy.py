"""Copy ranges of bytes between files in helper processes, and take their checksums on the way.

Started as a script of its own, `python range_copy.py` reads orders from stdin, one JSON list a line:
[source, target, [[offset in source, size, offset in target], ...]], and answers each with one line: the list of
CRC-32 sums, or {"errno": ..., "path": ..., "problem": ...}. Only the standard library is needed, so a helper starts at
once; being processes, helpers do not wait for this one's interpreter.

The sums tell of damage, not of intent: CRC-32 is what zip files trust, and takes half of SHA-256's time or less.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import IO, Any

Ranges = Sequence[tuple[int, int, int]]
"""(offset in the source, size, offset in the target), in bytes."""

_BLOCK = 1 << 20  # bytes; stays in the processor's cache between being read, summed and written


def copy_ranges(source: int, target: int, ranges: Ranges) -> list[int]:
    """Copy ranges between two open files; the CRC-32 of each range.

    Ranges that follow each other in both files are read and written together.

    Raises:
        EOFError: the source ends within a range.
        OSError: as reading or writing does.
    """
    sums: list[int] = []
    for start, stop in _neighbours(ranges):
        first, _, into = ranges[start]
        size = sum(size for _, size, _ in ranges[start:stop])
        if size > _BLOCK:  # one range
            sums.append(_copy_large(source, target, first, size, into))
            continue
        data = memoryview(_read(source, size, first))
        place = 0
        for _, size, _ in ranges[start:stop]:
            sums.append(zlib.crc32(data[place : place + size]))
            place += size
        write_at(target, data, into)
    return sums


def _neighbours(ranges: Ranges) -> Iterator[tuple[int, int]]:
    """Slices of `ranges` that lie without gaps in both files and are a block at most, or one large range."""
    start = 0
    while start < len(ranges):
        offset, size, into = ranges[start]
        end, end_into = offset + size, into + size
        stop = start + 1
        while stop < len(ranges) and ranges[stop][0] == end and ranges[stop][2] == end_into:
            end, end_into = end + ranges[stop][1], end_into + ranges[stop][1]
            if end - offset > _BLOCK:
                break
            stop += 1
        yield start, stop
        start = stop


def _copy_large(source: int, target: int, start: int, size: int, into: int) -> int:
    crc32 = 0
    for done in range(0, size, _BLOCK):
        data = _read(source, min(size - done, _BLOCK), start + done)
        crc32 = zlib.crc32(data, crc32)
        write_at(target, data, into + done)
    return crc32


def _read(source: int, size: int, offset: int) -> bytes:
    data = os.pread(source, size, offset)
    while len(data) < size:
        more = os.pread(source, size - len(data), offset + len(data))
        if not more:
            raise EOFError
        data += more
    return data


def write_at(target: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`."""
    written = os.pwrite(target, data, offset)
    while written < len(data):
        written += os.pwrite(target, memoryview(data)[written:], offset + written)


class RangeCopier:
    """A few helper processes that are given orders in turn; answers come in the order of the orders.

    At most two orders a helper are under way: `submit` first hands back answers that are due.
    """

    def __init__(self, helpers: int = 2) -> None:
        self._helpers = [
            subprocess.Popen([sys.executable, "-I", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(helpers)
        ]
        self._waiting: deque[subprocess.Popen[bytes]] = deque()
        self._next = 0

    def submit(self, source: str, target: str, ranges: Ranges) -> Iterator[list[int]]:
        """Give an order. The answers that had to be taken in for it are handed back first."""
        while len(self._waiting) >= 2 * len(self._helpers):
            yield self._answer()
        helper = self._helpers[self._next % len(self._helpers)]
        self._next += 1
        _pipe(helper.stdin).write(json.dumps([source, target, ranges]).encode() + b"\n")
        _pipe(helper.stdin).flush()
        self._waiting.append(helper)

    def finish(self) -> Iterator[list[int]]:
        """The answers that are still due."""
        while self._waiting:
            yield self._answer()

    def close(self) -> None:
        """End the helpers; orders under way are abandoned."""
        for helper in self._helpers:
            if self._waiting:
                helper.kill()
            with contextlib.suppress(OSError):
                _pipe(helper.stdin).close()
            helper.wait()
            _pipe(helper.stdout).close()

    def _answer(self) -> list[int]:
        helper = self._waiting[0]
        line = _pipe(helper.stdout).readline()
        if not line:
            raise ChildProcessError(f"a copying process ended unexpectedly (exit code {helper.wait()})")
        self._waiting.popleft()
        answer: Any = json.loads(line)
        if isinstance(answer, dict):
            if answer["errno"] is None:
                raise EOFError(answer["path"])
            raise OSError(answer["errno"], answer["problem"], answer["path"])
        return list(answer)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:  # never: both are asked for when the helper is started
        raise ValueError("no pipe")
    return pipe


def _serve() -> None:
    files: dict[tuple[str, int], int] = {}

    def opened(path: str, flags: int) -> int:
        if (path, flags) not in files:
            if len(files) > 100:
                for descriptor in files.values():
                    os.close(descriptor)
                files.clear()
            files[path, flags] = os.open(path, flags)
        return files[path, flags]

    for line in sys.stdin.buffer:
        source, target, ranges = json.loads(line)
        answer: Any
        try:
            answer = copy_ranges(opened(source, os.O_RDONLY), opened(target, os.O_WRONLY), ranges)
        except EOFError:
            answer = {"errno": None, "path": source, "problem": "cut short"}
        except OSError as error:
            # Reading fails seldom, and mostly with EIO; a full disk is the target's.
            answer = {"errno": error.errno, "path": error.filename or target, "problem": error.strerror}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        _serve()
