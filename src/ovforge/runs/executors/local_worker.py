"""What runs inside a worker process of the local executor."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import pickle
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

from ovforge.errors import OvforgeError, WorkError
from ovforge.files.machine import machine_name
from ovforge.records.run_layout import RUNNING
from ovforge.runs import signals
from ovforge.runs.heartbeat import Heartbeat
from ovforge.runs.task import Slot, Worker
from ovforge.runs.worker import Attempt, FatalError, Job, attempt, do_shard, open_worker


@dataclass(frozen=True)
class Ready:
    """The task is open; shards may come."""


@dataclass(frozen=True)
class Done:
    """The shard is published and in the ledger."""

    items: int


@dataclass(frozen=True)
class Failed:
    """The shard was not done this time."""

    attempt: Attempt


@dataclass(frozen=True)
class Fatal:
    """No shard can be done."""

    error: OvforgeError


@dataclass(frozen=True)
class Died:
    """What the parent puts in place of a message when the pipe has closed."""


def crash_report_path(folder: Path, pid: int) -> Path:
    """Where the worker `pid` of this machine writes the traceback of a crash in native code."""
    return folder / RUNNING / f"{machine_name()}-{pid}.crash"


def serve(pipe: Connection, slot: Slot) -> None:
    """Receive the job, open it, and do the shards that come, until None comes or the parent is gone."""
    signals.ignore()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _serve(pipe, slot)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(1)  # the parent is gone, or has closed the pipe


def _serve(pipe: Connection, slot: Slot) -> None:
    data = pipe.recv_bytes()
    name = f"{os.getpid()}/{slot.index}"
    with contextlib.ExitStack() as stack:
        try:
            job: Job = pickle.loads(data)
            stack.enter_context(_crash_report(job.folder))
            heartbeat = stack.enter_context(Heartbeat(job.folder, slot.index))
            worker: Worker = open_worker(job, replace(slot, report=heartbeat.advance))
        except FatalError as error:
            pipe.send(Fatal(error.error))
            return
        except Exception as error:
            pipe.send(Fatal(WorkError(f"the task cannot be brought into a worker process: {error!r}")))
            return
        stack.callback(worker.close)
        pipe.send(Ready())
        while (shard := pipe.recv()) is not None:
            heartbeat.start(shard)
            message: Done | Failed | Fatal
            try:
                message = Done(do_shard(job, worker, shard, name))
            except FatalError as error:
                message = Fatal(error.error)
            except Exception as error:
                message = Failed(attempt(error, name))
            heartbeat.stop()
            pipe.send(message)


@contextlib.contextmanager
def _crash_report(folder: Path) -> Iterator[None]:
    """Let a crash in native code leave its Python traceback where the parent finds it."""
    path = crash_report_path(folder, os.getpid())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError:  # a full disk: do without
        yield
        return
    with file:
        faulthandler.enable(file=file)
        try:
            yield
        finally:
            faulthandler.disable()
    path.unlink(missing_ok=True)


def _end_with_parent() -> None:
    """End this process when its parent has ended, however it ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
