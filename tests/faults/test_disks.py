"""Disks that are full, read-only, or forget: nothing half-written under a final name, and a resume that completes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovforge.errors import WorkError
from ovforge.files import atomic
from ovforge.runs.plan import Plan, freeze
from ovforge.runs.run import run_plan
from ovforge.runs.task import Shard, Slot
from ovforge.runs.worker import FatalError, Job, do_shard
from tests.faults.harness import Subject, _check_whole, _expect_nothing_left, unbroken
from tests.faults.synthetic import SyntheticSubject
from tests.faults.tasks import PlainHdf5Task, TextTask

ROOT = Path(__file__).resolve().parents[2]
SUBJECT: Subject = SyntheticSubject()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return unbroken(SUBJECT, tmp_path_factory.mktemp("unbroken"))[0]


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 600 KB: the run needs about 2 MB."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("only root may mount a small file system; RLIMIT_FSIZE is tested all the same")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk))
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def do(folder: Path, **options: object) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    done = subprocess.run(
        SUBJECT.command(folder), env=environment, capture_output=True, text=True, cwd=ROOT, timeout=120, **options
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_a_full_disk(small_disk: Path, expected: dict[str, str]):
    code, errors = do(small_disk)
    assert code == 1
    assert "no room left" in errors or "no space left" in errors
    assert "run the same command again" in errors
    _check_whole(SUBJECT, small_disk)
    _expect_nothing_left(SUBJECT, small_disk)
    before = len(list((small_disk / "run/ledger").iterdir()))
    assert before  # it went well for a while

    mount("-o", "remount,size=8m", str(small_disk))
    assert do(small_disk)[0] == 0
    assert SUBJECT.outputs(small_disk) == expected


def test_a_disk_that_is_full_from_the_start(small_disk: Path):
    (small_disk / "ballast").write_bytes(bytes(580 << 10))
    code, errors = do(small_disk)
    assert code == 1
    assert "space left" in errors or "room left" in errors


def test_a_disk_that_becomes_read_only(small_disk: Path, expected: dict[str, str]):
    mount("-o", "remount,size=8m,ro", str(small_disk))
    code, errors = do(small_disk)
    assert code == 1
    assert "cannot be written" in errors
    assert list(small_disk.iterdir()) == []

    mount("-o", "remount,rw", str(small_disk))
    assert do(small_disk)[0] == 0
    assert SUBJECT.outputs(small_disk) == expected
    mount("-o", "remount,ro", str(small_disk))
    assert do(small_disk)[0] == 0  # all is done: nothing need be written


def test_a_limit_on_file_sizes(tmp_path: Path, expected: dict[str, str]):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))

    code, errors = do(tmp_path, preexec_fn=limit)
    assert code == 1
    assert "cannot be written" in errors
    assert not (tmp_path / "run").exists()  # no shard was done, so there is no plan either
    assert do(tmp_path)[0] == 0
    assert SUBJECT.outputs(tmp_path) == expected


# What no test machine does by itself


PLAN = Plan(task="text", items=4, shard_size=2)


def one_shard(folder: Path) -> tuple[Job, Shard]:
    return Job(folder, freeze(PLAN, folder), TextTask(folder / "notes")), PLAN.shards()[0]


def test_a_file_system_that_loses_a_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    job, shard = one_shard(tmp_path)
    worker = job.task.open(Slot(0))
    replace = os.replace
    monkeypatch.setattr(atomic.os, "replace", lambda source, target: None)
    with pytest.raises(WorkError, match=r"000000\.txt: published with 14 bytes, but gone"):
        do_shard(job, worker, shard, "1/0")
    assert not job.ledger().is_done(shard)
    monkeypatch.setattr(atomic.os, "replace", replace)
    assert do_shard(job, worker, shard, "1/0") == 2
    assert job.ledger().is_done(shard)


def test_an_error_that_could_not_be_raised_is_not_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    job = Job(tmp_path, freeze(PLAN, tmp_path), PlainHdf5Task())
    shard = PLAN.shards()[0]
    with pytest.raises(FatalError) as caught:
        do_shard(job, job.task.open(Slot(0)), shard, "1/0")
    assert "no room left" in caught.value.error.message
    assert not job.ledger().is_done(shard)
    assert list((tmp_path / "shards").iterdir()) == []
    assert capsys.readouterr().err == ""


def test_a_file_that_is_lost_after_all(tmp_path: Path):
    job, shard = one_shard(tmp_path)
    do_shard(job, job.task.open(Slot(0)), shard, "1/0")
    job.ledger().shard_path(shard, ".txt").unlink()
    assert not job.ledger().is_done(shard)


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def link(source: object, target: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(atomic.os, "link", link)
    assert freeze(PLAN, tmp_path) == freeze(PLAN, tmp_path)


def test_two_that_do_the_same_shard_do_no_harm(tmp_path: Path):
    job, shard = one_shard(tmp_path)
    first, second = job.task.open(Slot(0)), job.task.open(Slot(1))

    class Overtaken:
        """While it works, the other one publishes."""

        def run(self, shard: Shard, out: Path) -> object:
            do_shard(job, second, shard, "second")
            return first.run(shard, out)

        def close(self) -> None:
            pass

    assert do_shard(job, Overtaken(), shard, "first") == 2  # type: ignore[arg-type]
    entry = job.ledger().read(shard)
    assert entry is not None
    assert entry.worker == "second"
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["000000.txt"]


def test_a_folder_that_is_a_file(tmp_path: Path):
    (tmp_path / "run").write_text("")
    from ovforge.runs.executors.local import LocalExecutor

    with pytest.raises(WorkError, match="cannot be written"):
        run_plan(tmp_path / "run", PLAN, TextTask(tmp_path / "notes"), LocalExecutor(1))
