"""Small tasks for the tests of runs. Importable by worker processes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from ovforge.errors import InputError
from ovforge.records.reporting import Drop
from ovforge.runs.task import Shard, ShardReport, Slot


@dataclass(frozen=True)
class TextTask:
    """Writes a text per shard. `troubles`: shard -> (what goes wrong, how often); attempts are counted in `notes`."""

    notes: Path
    troubles: dict[int, tuple[str, int]] = field(default_factory=dict)
    open_trouble: str = ""
    seconds: float = 0.0
    shard_suffix: str = ".txt"

    def open(self, slot: Slot) -> TextWorker:
        if self.open_trouble == "input":
            raise InputError("model: not found", hint="download it")
        if self.open_trouble == "exception":
            raise RuntimeError("no such device")
        if self.open_trouble == "exit":
            os._exit(3)
        self.notes.mkdir(parents=True, exist_ok=True)
        self.note(f"open-{slot.index}-{os.getpid()}", str(slot.device))
        names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
        self.note(f"environment-{slot.index}", "\n".join(f"{name}={os.environ.get(name)}" for name in names))
        return TextWorker(self)

    def note(self, name: str, text: str = "") -> None:
        (self.notes / name).write_text(text)


@dataclass
class TextWorker:
    task: TextTask

    def run(self, shard: Shard, out: Path) -> ShardReport:
        attempts = len(list(self.task.notes.glob(f"run-{shard.index}-*")))
        self.task.note(f"run-{shard.index}-{attempts}-{os.getpid()}")
        out.write_text("half")
        time.sleep(self.task.seconds)
        trouble, times = self.task.troubles.get(shard.index, ("", 0))
        if attempts < times:
            _make_trouble(trouble)
        out.write_text("".join(f"item {item}\n" for item in range(shard.start, shard.stop)))
        drops = (Drop("item", "odd", 1, (f"item {shard.start}",)),) if shard.index % 2 else ()
        return ShardReport(shard.stop - shard.start, {"items": shard.stop - shard.start, "by": {"kind": 1}}, drops)

    def close(self) -> None:
        self.task.note(f"close-{os.getpid()}")


def _make_trouble(trouble: str) -> None:
    match trouble:
        case "exception":
            raise ValueError("a bad item")
        case "bracket":
            raise ValueError("[/odd] name")
        case "exit":
            os._exit(7)
        case "segfault":
            ctypes.string_at(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "full":
            raise OSError(28, "No space left on device")
        case "slow":
            time.sleep(1.0)
        case "hang":
            time.sleep(3600)


@dataclass(frozen=True)
class PlainHdf5Task:
    """Writes with h5py as one would, on a disk that is full: the error comes up where nothing can be raised."""

    shard_suffix: str = ".h5"

    def open(self, slot: Slot) -> PlainHdf5Task:
        return self

    def run(self, shard: Shard, out: Path) -> ShardReport:
        out.write_text("looks whole")
        with contextlib.suppress(BaseException):
            _Unraisable()
        return ShardReport(1)

    def close(self) -> None:
        pass


class _Unraisable:
    def __del__(self) -> None:
        raise RuntimeError("Can't decrement id ref count (file write failed: errno = 28, error message = 'No space')")
