"""Copy ranges of bytes between files in helper processes, and hash them on the way.

Started as a script of its own, `python range_copy.py` reads orders from stdin, one JSON list a line:
[source, target, [[offset in source, size, offset in target], ...]], and answers each with one line: the list of
SHA-256 sums, or {"errno": ..., "path": ..., "problem": ...}. Only the standard library is needed, so a helper starts at
once; being processes, helpers do not wait for this one's interpreter while it is busy with HDF5.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from typing import IO, Any

Ranges = Sequence[tuple[int, int, int]]
"""(offset in the source, size, offset in the target), in bytes."""


def copy_ranges(source: int, target: int, ranges: Ranges) -> list[str]:
    """Copy ranges between two open files; the SHA-256 of each range.

    Raises:
        EOFError: the source ends within a range.
        OSError: as reading or writing does.
    """
    sums = []
    for start, size, into in ranges:
        digest = hashlib.sha256()
        done = 0
        while done < size:
            data = os.pread(source, min(size - done, 16 << 20), start + done)
            if not data:
                raise EOFError
            digest.update(data)
            write_at(target, data, into + done)
            done += len(data)
        sums.append(digest.hexdigest())
    return sums


def write_at(target: int, data: bytes, offset: int) -> None:
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

    def submit(self, source: str, target: str, ranges: Ranges) -> Iterator[list[str]]:
        """Give an order. The answers that had to be taken in for it are handed back first."""
        while len(self._waiting) >= 2 * len(self._helpers):
            yield self._answer()
        helper = self._helpers[self._next % len(self._helpers)]
        self._next += 1
        _pipe(helper.stdin).write(json.dumps([source, target, ranges]).encode() + b"\n")
        _pipe(helper.stdin).flush()
        self._waiting.append(helper)

    def finish(self) -> Iterator[list[str]]:
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

    def _answer(self) -> list[str]:
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
