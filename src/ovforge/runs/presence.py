"""Which calls are at work on a run: each keeps a small file in `running/` fresh from its start to its end.

A call is there before its first worker is and after its last has gone. So a plan under which nothing is done yet may
be replaced only while no other call is there.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from types import TracebackType

import msgspec

from ovforge.files.machine import host_name, machine_name, process_is_alive, process_start
from ovforge.records.json_errors import JSON_ERRORS
from ovforge.records.run_layout import MANIFEST, RUNNING
from ovforge.runs.heartbeat import LOST_AFTER_SECONDS, written_ago
from ovforge.runs.signals import start_quietly

_SUFFIX = ".run"
_FRESHEN_SECONDS = 10.0


class RunningCall(msgspec.Struct, frozen=True):
    """A call of `run` that is going on."""

    machine: str
    host: str
    pid: int
    process_start: str


class RunPresence:
    """Says in `folder` that this process is at work on the run, for as long as the context lasts."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / RUNNING / f"{machine_name()}-{os.getpid()}{_SUFFIX}"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._freshen, daemon=True)

    def __enter__(self) -> RunPresence:
        pid = os.getpid()
        record = RunningCall(machine_name(), host_name(), pid, process_start(pid))
        with contextlib.suppress(OSError):  # a run on a read-only disk can still be asked for
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_bytes(msgspec.json.encode(record))
        start_quietly(self._thread)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
            if not (self._path.parent.parent / MANIFEST).exists():  # the plan was taken back: leave nothing
                self._path.parent.rmdir()
                self._path.parent.parent.rmdir()

    def _freshen(self) -> None:
        while not self._end.wait(_FRESHEN_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self._path)


def other_calls(folder: Path) -> list[RunningCall]:
    """The calls of other processes that are at work on the run in `folder`."""
    found = []
    for path in sorted((folder / RUNNING).glob(f"*{_SUFFIX}")):
        with contextlib.suppress(OSError, *JSON_ERRORS):
            call = msgspec.json.decode(path.read_bytes(), type=RunningCall)
            if call.machine == machine_name():
                if call.pid != os.getpid() and process_is_alive(call.pid, call.process_start):
                    found.append(call)
            elif written_ago(path) <= LOST_AFTER_SECONDS:
                found.append(call)
    return found
