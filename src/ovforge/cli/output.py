"""Printing that never fails a command which has done its work, and signals that ask it to end.

A terminal may be gone, a pipe closed, a disk full, an encoding unable to show a name. What was done stays done, so what
cannot be printed is left unprinted, and characters that cannot be shown are written as escapes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO

_ASKING_TO_END = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class EndedBySignal(KeyboardInterrupt):
    """The process was asked to end."""


def prepare_streams() -> None:
    """Make stdout and stderr usable whatever they are: closed, or of an encoding that lacks characters."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: else the next file that is opened would take its number, and get what is printed
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or getattr(stream, "closed", False):
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - it lives as long as the process
        else:
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.reconfigure(errors="backslashreplace")


def write_out(text: str) -> None:
    """Write to stdout; what cannot be written is said on stderr, where that is possible."""
    problem = _write(sys.stdout, text)
    if problem:
        _discard("stdout")
        if problem != os.strerror(errno.EPIPE):  # whoever reads through a pipe may stop when it has seen enough
            write_error(f"note: the output could not be printed ({problem}); what was done is done\n")


def discard_stdout() -> None:
    """Give up on stdout: what is still buffered for it goes nowhere, and so does what follows."""
    sys.stdout = sys.__stdout__ or sys.stdout
    _discard("stdout")


def stdout_is_broken() -> bool:
    """Whether what was written to stdout cannot be passed on: its disk is full, its reader gone."""
    return bool(_write(sys.stdout, ""))


def write_error(text: str) -> None:
    """Write to stderr, or not at all."""
    if _write(sys.stderr, text):
        _discard("stderr")


class ForgivingStream:
    """A text stream for progress bars: writing to a terminal that is gone does nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or not."""
        _write(self._stream, text, flush=False)
        return len(text)

    def flush(self) -> None:
        """Flush, or not."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the command as Ctrl-C does, unless they are ignored (`nohup`) or handled already."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    replaced = {}
    for number in _ASKING_TO_END:
        if signal.getsignal(number) == signal.SIG_DFL:
            replaced[number] = signal.signal(number, _end)
    try:
        yield
    finally:
        for number, before in replaced.items():
            signal.signal(number, before)


def _end(number: int, frame: FrameType | None) -> None:
    del frame
    raise EndedBySignal(f"ended by {signal.Signals(number).name}")


def _write(stream: TextIO | None, text: str, *, flush: bool = True) -> str:
    """Write; the problem if that cannot be done."""
    if stream is None:
        return "it is closed"
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            encoding = getattr(stream, "encoding", None) or "ascii"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        if flush:
            stream.flush()
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def _discard(name: str) -> None:
    """Send what is still buffered for a broken stream to nowhere: at exit, Python would try it again and fail."""
    descriptor = {"stdout": 1, "stderr": 2}[name]
    stream = getattr(sys, name)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if stream.fileno() == descriptor:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
            return
    setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
