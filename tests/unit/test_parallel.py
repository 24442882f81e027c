"""The bounded ordered map, and how many processors a job may use."""

from __future__ import annotations

import doctest
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import loky
import pytest

from ovforge import parallel
from ovforge.parallel import Workers, cpu_count, map_ordered


def _square(number: int) -> int:
    return number * number


def _die(number: int) -> int:
    if multiprocessing.parent_process() is not None:
        os._exit(3)
    return number


def test_the_examples_in_the_docstrings() -> None:
    result = doctest.testmod(parallel)
    assert result.attempted > 0
    assert result.failed == 0


class TestMapOrdered:
    """Order, bounds, errors, and what is left when nobody listens any more."""

    def test_results_come_in_order_however_long_each_takes(self) -> None:
        def slow(number: int) -> int:
            time.sleep(0.02 * (number % 3 == 0))
            return number

        with ThreadPoolExecutor(4) as threads:
            assert list(map_ordered(threads, slow, ((n,) for n in range(30)), ahead=8)) == list(range(30))

    def test_with_processes(self) -> None:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
            assert list(map_ordered(processes, _square, [(n,) for n in range(5)], ahead=3)) == [0, 1, 4, 9, 16]

    @pytest.mark.parametrize("ahead", [0, 1, 5])
    def test_few_are_in_flight(self, ahead: int) -> None:
        drawn = 0

        def jobs() -> Iterator[tuple[int]]:
            nonlocal drawn
            for number in range(50):
                drawn += 1
                yield (number,)

        with ThreadPoolExecutor(2) as threads:
            for taken, result in enumerate(map_ordered(threads, _square, jobs(), ahead=ahead), start=1):
                assert result == _square(taken - 1)
                assert drawn <= taken + ahead

    def test_an_error_comes_where_its_result_would_have(self) -> None:
        def fail(number: int) -> int:
            if number == 3:
                raise ValueError(number)
            return number

        seen = []
        with ThreadPoolExecutor(2) as threads, pytest.raises(ValueError, match="3"):
            for result in map_ordered(threads, fail, [(n,) for n in range(9)], ahead=4):
                seen.append(result)
        assert seen == [0, 1, 2]

    def test_what_has_not_begun_is_cancelled(self) -> None:
        begun, go_on = [], threading.Event()

        def wait(number: int) -> int:
            begun.append(number)
            if number:
                go_on.wait(10)
            return number

        with ThreadPoolExecutor(1) as threads:
            results = map_ordered(threads, wait, [(n,) for n in range(100)], ahead=50)
            assert next(results) == 0
            results.close()
            go_on.set()
        assert len(begun) <= 2

    def test_work_of_processes_that_died_is_done_here(self) -> None:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
            jobs = [(n,) for n in range(8)]
            assert list(map_ordered(processes, _die, jobs, ahead=3, alone_if_broken=True)) == list(range(8))


class TestCpuCount:
    """What the machine has, less what the job may use of it."""

    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        for name in ("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "LOKY_MAX_CPU_COUNT"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.delitem(sys.modules, "ray", raising=False)
        cpu_count.cache_clear()
        yield
        cpu_count.cache_clear()

    def test_it_is_lokys_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert cpu_count() == loky.cpu_count() <= (os.cpu_count() or 1)
        cpu_count.cache_clear()
        monkeypatch.setattr(loky, "cpu_count", lambda: 64)
        assert cpu_count() == 64

    def test_loky_respects_containers(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        # The one place where this is relied on: 150 % of a processor is two, under both versions of cgroups.
        from loky.backend import context

        limit = tmp_path / "cpu.max"
        limit.write_text("150000 100000\n")
        real_open, real_exists = open, os.path.exists

        def shown(path: Any) -> Any:
            return limit if path == "/sys/fs/cgroup/cpu.max" else path

        monkeypatch.setattr("builtins.open", lambda path, *more, **named: real_open(shown(path), *more, **named))
        monkeypatch.setattr(context.os.path, "exists", lambda path: real_exists(shown(path)))
        assert context._cpu_count_cgroup(64) == 2

    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            ({"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "32"}, 4),
            ({"SLURM_JOB_ID": "1", "SLURM_CPUS_ON_NODE": "32"}, 32),
            ({"SLURM_JOB_ID": "1", "SLURM_CPUS_ON_NODE": "128"}, 64),  # never more than there are
            ({"SLURM_JOB_ID": "1"}, 64),
            ({"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "0"}, 64),
            ({"SLURM_CPUS_PER_TASK": "4"}, 64),  # left over in an environment, without a job
        ],
    )
    def test_slurm(self, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: int) -> None:
        monkeypatch.setattr(loky, "cpu_count", lambda: 64)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert cpu_count() == expected

    @pytest.mark.parametrize(
        ("task", "resources", "expected"),
        [("t", {"CPU": 2.0}, 2), ("t", {"CPU": 0.5}, 64), ("t", {}, 64), (None, {"CPU": 2.0}, 64)],
    )
    def test_ray(
        self, monkeypatch: pytest.MonkeyPatch, task: str | None, resources: dict[str, float], expected: int
    ) -> None:
        monkeypatch.setattr(loky, "cpu_count", lambda: 64)
        context = SimpleNamespace(
            get_task_id=lambda: task, get_actor_id=lambda: None, get_assigned_resources=lambda: resources
        )
        ray = SimpleNamespace(is_initialized=lambda: True, get_runtime_context=lambda: context)
        monkeypatch.setitem(sys.modules, "ray", ray)
        assert cpu_count() == expected


def _ordered_in_a_daemon(queue: Any) -> None:
    parallel.cpu_count = lambda: 2  # type: ignore[assignment]
    with Workers() as workers:
        queue.put(list(workers.ordered(_square, [(n,) for n in range(20)])))


def test_a_daemonic_process_does_the_work_itself() -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_ordered_in_a_daemon, args=(queue,), daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert queue.get() == [n * n for n in range(20)]


def test_a_script_without_a_main_guard_does_the_work_itself(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from ovforge import parallel\n"
        "parallel.cpu_count = lambda: 2\n"
        "with parallel.Workers() as workers:\n"
        "    print(list(workers.ordered(pow, [(n, 2) for n in range(20)])))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{[n * n for n in range(20)]}\n"
