"""`benchmarks/gpu.py`: the same code at tiny size on the CPU, and what becomes of parts that hang or crash."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks/gpu.py"

WORKER = """
import json, sys, time
lines, names = sys.argv[1], sys.argv[sys.argv.index("--parts") + 1].split(",")
def say(**message):
    with open(lines, "a") as file:
        file.write(json.dumps(message) + "\\n")
say(machine={"device": "none"})
for name in names:
    say(part=name, state="began")
    say(part=name, row={"": "before", "s": 1.5})
    if name == "ours":
        time.sleep(60)
    if name == "batches":
        sys.exit(3)
    say(part=name, state="done", seconds=0.1)
"""


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_benchmark", BENCHMARK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def test_a_part_that_hangs_is_ended_and_named_and_the_others_are_done(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setattr(benchmark, "WORKER", tmp_path / "worker.py")
    monkeypatch.setitem(benchmark.PARTS, "ours", benchmark.Part(0.3, "ours"))
    report = benchmark.Report(tmp_path / "report.json")
    names = ["model", "ours", "neighbours", "batches", "formats"]
    benchmark.run_parts(report, names, (), scratch=tmp_path, until=time.monotonic() + 60)
    report.write()
    written = json.loads((tmp_path / "report.json").read_text())
    assert {name: part["state"] for name, part in written["parts"].items()} == {
        "model": "done", "ours": "ended", "neighbours": "done", "batches": "failed", "formats": "done"
    }  # fmt: skip
    assert "the time of this part was up" in written["parts"]["ours"]["reason"]
    assert written["parts"]["ours"]["rows"] == [{"": "before", "s": 1.5}]  # what was measured stays
    assert "code 3" in written["parts"]["batches"]["reason"]
    text = (tmp_path / "report.md").read_text()
    assert "**ended**: ended after" in text and "| before | 1.5 |" in text


def test_what_finds_no_time_is_named(benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setattr(benchmark, "WORKER", tmp_path / "worker.py")
    report = benchmark.Report(tmp_path / "report.json")
    benchmark.run_parts(report, ["ours", "cpu"], (), scratch=tmp_path, until=time.monotonic() + 1.5)
    assert {name: part["state"] for name, part in report.parts.items()} == {"ours": "ended", "cpu": "not begun"}
    assert "all parts together" in report.parts["ours"]["reason"]


def test_unknown_parts_are_refused() -> None:
    result = subprocess.run([sys.executable, BENCHMARK, "--parts", "model,other"], capture_output=True, text=True)
    assert result.returncode == 2 and "no such part: other" in result.stderr


def test_the_whole_report_at_tiny_size(tmp_path: Path) -> None:
    pytest.importorskip("diffusers", reason="needs the extra 'diffusion'")
    out = tmp_path / "report.json"
    command = [sys.executable, BENCHMARK, "--device", "cpu", "--tiny", "--out", out]
    result = subprocess.run(command, capture_output=True, text=True)
    log = out.with_suffix(".log").read_text()
    assert result.returncode == 0, result.stdout + result.stderr + log
    report = json.loads(out.read_text())
    states = {name: part["state"] for name, part in report["parts"].items()}
    assert {name for name, state in states.items() if state != "done"} == {"compiled"}, result.stdout
    assert "GPU only" in report["parts"]["compiled"]["reason"]
    rows = {name: part["rows"] for name, part in report["parts"].items()}
    assert all(row["equal in every bit"] == row["images"] for row in rows["neighbours"][:3])
    assert all(row["TFLOP/s"] > 0 for row in (*rows["baseline"], *rows["ours"], *rows["batches"]))
    assert not any("tried again" in row for row in rows["ours"])
    assert all(0 < row["share of the rest in the engine"] <= 1 for row in rows["generate"])
    assert "tiny: these figures say nothing of a GPU" in out.with_suffix(".md").read_text()
