"""Signals that ask a run to end, and the threads and processes that must not get them in its place."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

ASKING_TO_END = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold the signals back in this thread, and in the threads and processes that it starts meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING_TO_END)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_quietly(thread: threading.Thread) -> None:
    """Start a thread that never gets these signals: they are for the main thread, which may hold them back."""
    with held_back():
        thread.start()


def ignore() -> None:
    """Ignore the signals in a worker process: they go to the whole group, and the parent decides."""
    for number in ASKING_TO_END:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING_TO_END)
