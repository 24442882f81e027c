"""What a machine with a GPU does, in one command and at most eight minutes: a report as JSON and as markdown.

    python benchmarks/gpu.py --out report.json                   # and report.md beside it
    python benchmarks/gpu.py --parts baseline,ours --limit 120   # only these, in two minutes
    python benchmarks/gpu.py --device cpu --tiny                 # the same code, a tiny model; says nothing of a GPU

Models have the real architectures, from their configurations, with random weights: speed does not depend on their
values, and nothing is downloaded. Every part has its own time limit and runs in another process, which is ended when
its time is up; the parts after it run in a new one. The report is written after every row: what was measured stays.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT = 400.0
"""Seconds for everything, the starts of processes included."""
START = 90.0
"""Seconds that a process may take until its first part begins: it loads three libraries."""
ENOUGH = 16 << 30
"""Bytes that have to be free in memory for models to be kept there."""
WORKER = Path(__file__).with_name("gpu_parts.py")


@dataclass(frozen=True)
class Part:
    """One part of the report; `seconds` is its own limit."""

    seconds: float
    title: str


PARTS = {
    "model": Part(60, "The model: Stable Diffusion v1-4's architecture, random weights; operations, counted"),
    "baseline": Part(60, "The baseline: one image at a time, as the original runs it"),
    "ours": Part(75, "ovforge"),
    "neighbours": Part(40, "Bits across batch neighbours"),
    "batches": Part(60, "Batch sizes"),
    "formats": Part(45, "Precision and memory format"),
    "generate": Part(75, "The whole of `pairs generate`"),
    "compiled": Part(150, "Compiled"),
    "presets": Part(45, "Presets"),
    "sdxl": Part(75, "SDXL, once"),
    "loader": Part(40, "`PairDataset` in a loader"),
    "cpu": Part(75, "Work of the CPU, on one core and on all"),
}
"""In the order of their worth: what comes last is what may find no time."""


@dataclass
class Report:
    """What is known so far, on disk after every change."""

    out: Path
    machine: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, message: dict[str, Any]) -> None:
        """Take over one line of the worker's."""
        if "machine" in message:
            self.machine = message["machine"]
        else:
            part = self.parts.setdefault(message["part"], {"state": "began", "rows": []})
            if row := message.get("row"):
                part["rows"].append(row)
                print(
                    f"{message['part']}: " + ", ".join(f"{key} {_text(value)}" for key, value in row.items()),
                    flush=True,
                )
            part |= {key: message[key] for key in ("state", "seconds", "reason") if key in message}
            if message.get("state") not in (None, "began", "done"):
                print(f"{message['part']}: {message['state']}: {message.get('reason', '')}", flush=True)
        self.write()

    def end(self, name: str, state: str, reason: str) -> None:
        """Note that a part was not done."""
        self.take({"part": name, "state": state, "reason": reason})

    def write(self) -> None:
        """Write both files; a reader never finds half of one."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        content = {"machine": self.machine, "parts": self.parts}
        for path, text in ((self.out, json.dumps(content, indent=1)), (self.out.with_suffix(".md"), self.markdown())):
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            temporary.write_text(text + "\n", encoding="utf-8")
            temporary.replace(path)

    def markdown(self) -> str:
        """The report to read."""
        lines = ["# Report of benchmarks/gpu.py", ""]
        lines += [f"- {key}: {_text(value)}" for key, value in self.machine.items()]
        for name, part in self.parts.items():
            title = PARTS[name].title if name in PARTS else name
            lines += ["", f"## {title}", ""]
            if part["state"] != "done":
                lines += [f"**{part['state']}**{': ' if part.get('reason') else ''}{part.get('reason', '')}", ""]
            if part["rows"]:
                keys = list(dict.fromkeys(key for row in part["rows"] for key in row))
                lines += ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
                lines += ["| " + " | ".join(_text(row.get(key, "")) for key in keys) + " |" for row in part["rows"]]
            if "seconds" in part:
                lines += ["", f"({part['seconds']:.0f} s)"]
        return "\n".join(lines)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass
class Worker:
    """A process that does parts one after another and writes a line for everything it finds."""

    arguments: Sequence[str]
    scratch: Path
    log: Path

    def __post_init__(self) -> None:
        self.lines = self.scratch / f"lines-{time.monotonic_ns()}.jsonl"
        self.lines.touch()
        self._read = 0
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (_source(), os.environ.get("PYTHONPATH")))),
        }
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(WORKER), str(self.lines), *self.arguments],
                stdout=log, stderr=log, start_new_session=True, env=environment,
            )  # fmt: skip

    def messages(self) -> Iterator[dict[str, Any]]:
        """The whole lines that are new."""
        with open(self.lines, "rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                yield json.loads(line)

    def end(self) -> None:
        """End the process and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _source() -> str:
    """Where `ovforge` is, in a checkout that is not installed."""
    folder = Path(__file__).resolve().parents[1] / "src"
    return str(folder) if (folder / "ovforge").is_dir() else ""


def run_parts(report: Report, names: Sequence[str], arguments: Sequence[str], *, scratch: Path, until: float) -> None:
    """Do all parts, each within its limit and all of them before `until` (of the monotonic clock)."""
    waiting = list(names)
    while waiting:
        if time.monotonic() > until:
            break
        worker = Worker((*arguments, "--parts", ",".join(waiting)), scratch, report.out.with_suffix(".log"))
        try:
            current, since = "", time.monotonic()
            while True:
                is_over = worker.process.poll() is not None
                for message in worker.messages():
                    report.take(message)
                    if message.get("state") == "began":
                        current, since = message["part"], time.monotonic()
                        waiting.remove(current)
                    elif message.get("state"):
                        current, since = "", time.monotonic()
                if is_over:
                    break
                now = time.monotonic()
                allowed = PARTS[current].seconds if current else START
                if now > until or now - since > allowed:
                    whose = "all parts together" if now > until else "this part" if current else "a process's start"
                    reason = f"ended after {now - since:.0f} s: the time of {whose} was up"
                    report.end(current or waiting.pop(0), "ended", reason)
                    break
                time.sleep(0.05)
            if is_over and worker.process.returncode and (current or waiting):
                reason = f"its process ended with code {worker.process.returncode}; see {worker.log.name}"
                report.end(current or waiting.pop(0), "failed", reason)
        finally:
            worker.end()
    for name in waiting:
        report.end(name, "not begun", "no time was left")


def main() -> int:
    """Run the parts and write the report; 1 if a part failed or was ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="cuda, cuda:1 or cpu; auto: a GPU if there is one")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and few images: to try the script")
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated; all: %(default)s")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for everything (default: %(default)g)")
    parser.add_argument("--out", type=Path, default=Path("report.json"), help="the JSON; the markdown goes beside it")
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.limit
    names = [name for name in arguments.parts.split(",") if name]
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    report = Report(arguments.out)
    in_memory = Path("/dev/shm")
    place = in_memory if in_memory.is_dir() and shutil.disk_usage(in_memory).free > ENOUGH else None
    scratch = Path(tempfile.mkdtemp(prefix="ovforge-gpu-", dir=place))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the report is written, the process and the folder go
    try:
        options = ["--device", arguments.device, "--scratch", str(scratch), *(["--tiny"] if arguments.tiny else [])]
        run_parts(report, names, options, scratch=scratch, until=until)
    finally:
        report.write()
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{report.out} and {report.out.with_suffix('.md')}")
    return 0 if all(part["state"] in ("done", "skipped") for part in report.parts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
