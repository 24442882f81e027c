"""From archives to the layout: the split, the sources, resizing, resuming, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ovforge.errors import ArchiveError, InputError, MissingInputError, PlanMismatchError, WorkError
from ovforge.files.machine import machine_name
from ovforge.imagenet import archives, prepare
from ovforge.options.imagenet import ClassChoice, PrepareOptions, Resize
from ovforge.records.reporting import StepSummary
from ovforge.runs.executors.base import Executor
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.runs.executors.local import LocalExecutor
from ovforge.runs.executors.ray import RayExecutor
from ovforge.runs.run import ShardSelection
from ovforge.sources.imagenet21k import ImageNet21k

SOURCE = Path(__file__).resolve().parents[2] / "src"
SMALL = "imagenet21k_small_classes"


def jpeg(seed: int, width: int = 40, height: int = 30) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def tar(files: dict[str, bytes], *special: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in special:
            archive.addfile(info)
    return buffer.getvalue()


def images(wnid: str, count: int) -> dict[str, bytes]:
    return {f"{wnid}_{i}.JPEG": jpeg(i) for i in reversed(range(count))}


# With limits of 6 and 3: a small class at its limit, and two that are larger. As plain strings `_10` is the third.
CLASSES = {
    "n02084071": images("n02084071", 7),
    "n00000001": images("n00000001", 6),
    "n02121620": images("n02121620", 12),
}
LAYOUT = sorted(
    [f"{SMALL}/n00000001/n00000001_{i}.JPEG" for i in range(6)]
    + [f"val/n02084071/n02084071_{i}.JPEG" for i in (0, 1, 2)]
    + [f"train/n02084071/n02084071_{i}.JPEG" for i in (3, 4, 5, 6)]
    + [f"val/n02121620/n02121620_{i}.JPEG" for i in (0, 1, 10)]
    + [f"train/n02121620/n02121620_{i}.JPEG" for i in (11, 2, 3, 4, 5, 6, 7, 8, 9)]
)


def fall11(folder: Path, classes: dict[str, dict[str, bytes]] = CLASSES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fall11_whole.tar"
    path.write_bytes(tar({f"{wnid}.tar": tar(files) for wnid, files in classes.items()}))
    return path


def winter21(folder: Path, classes: dict[str, dict[str, bytes]] = CLASSES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "winter21_whole.tar.gz"
    path.write_bytes(gzip.compress(tar({f"winter21_whole/{wnid}.tar": tar(files) for wnid, files in classes.items()})))
    return path


def class_tars(folder: Path) -> Path:
    (folder / "tars").mkdir(parents=True)
    for wnid, files in CLASSES.items():
        (folder / "tars" / f"{wnid}.tar").write_bytes(tar(files))
    return folder / "tars"


def class_folders(folder: Path) -> Path:
    for wnid, files in CLASSES.items():
        (folder / "folders" / wnid).mkdir(parents=True)
        for name, data in files.items():
            (folder / "folders" / wnid / name).write_bytes(data)
    return folder / "folders"


def run(
    source: Path,
    out: Path,
    executor: Executor | None = None,
    shards: ShardSelection | None = None,
    **options: Any,
) -> StepSummary:
    """In this process unless told otherwise: a worker process takes a second to start."""
    chosen = PrepareOptions(source=source, out=out, **{"small_limit": 6, "val_images": 3, **options})
    return prepare(chosen, executor or InProcessExecutor(), shards=shards)


def tree(out: Path) -> dict[str, bytes]:
    names = ImageNet21k(out).names()
    return {name: (out / name).read_bytes() for name in names}


def left_out(out: Path) -> list[list[str]]:
    return json.loads((out / "prepare_report.json").read_bytes())["left_out"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("source", "executor"),
    [
        *((source, InProcessExecutor()) for source in (fall11, winter21, class_tars, class_folders)),
        *((source, LocalExecutor(2)) for source in (fall11, winter21)),
    ],
)
def test_every_source_gives_the_same_tree(tmp_path: Path, source: Any, executor: Executor) -> None:
    out = tmp_path / "out"
    summary = run(source(tmp_path / "in"), out, executor)
    made = tree(out)
    assert sorted(made) == LAYOUT
    for name, data in made.items():
        assert data == CLASSES[name.split("/")[1]][name.rpartition("/")[2]]
    assert summary.counts == {"classes": 3, "train": 13, "val": 6, SMALL: 6}
    assert left_out(out) == []
    left = {path.name for path in (out / ".prepare").iterdir()}
    if source is winter21:
        assert left == {"classes", "lock", "manifest.json"}
    else:
        assert left == {"manifest.json", "shards", "ledger", "running"}
        assert not list((out / ".prepare" / "running").iterdir())


def test_default_limits_are_500_and_50(tmp_path: Path) -> None:
    empty = jpeg(0, 8, 8)
    classes = {w: {f"{w}_{i}.JPEG": empty for i in range(n)} for w, n in (("n00000001", 500), ("n00000002", 501))}
    run(fall11(tmp_path, classes), tmp_path / "out", small_limit=500, val_images=50)
    opened = ImageNet21k(tmp_path / "out")
    assert len(opened.images("n00000001", parts=(SMALL,))) == 500
    assert len(opened.images("n00000002", parts=("val",))) == 50
    assert len(opened.images("n00000002", parts=("train",))) == 451


def test_a_second_run_does_nothing_and_other_options_are_refused(tmp_path: Path) -> None:
    source, out = fall11(tmp_path / "in"), tmp_path / "out"
    first = run(source, out)
    times = {name: (out / name).stat().st_mtime_ns for name in tree(out)}
    assert run(source, out) == first
    assert {name: (out / name).stat().st_mtime_ns for name in tree(out)} == times
    with pytest.raises(PlanMismatchError, match="resize: off in the run, 224 now"):
        run(source, out, resize=Resize.SQUASH)
    with pytest.raises(
        PlanMismatchError, match=r"input source: \S*fall11_whole\.tar .* in the run, \S*winter21_whole\.tar\.gz .* now"
    ):
        run(winter21(tmp_path / "in"), out)


def test_a_class_that_was_interrupted_is_done_again(tmp_path: Path) -> None:
    source, out = fall11(tmp_path / "in"), tmp_path / "out"
    run(source, out)
    good = tree(out)
    state = out / ".prepare"
    # Sorted, the classes are n00000001, n02084071, n02121620, one a shard.
    (state / "shards" / "000001.json").unlink()  # killed between the rename and the report,
    (out / "train" / "n02084071" / "n02084071_4.JPEG").write_bytes(b"half")  # and an image cut by a power failure
    (state / "shards" / "000002.json").write_bytes(b'{"done"')
    kept = out / "train" / "n02121620" / "n02121620_5.JPEG"
    place = kept.stat().st_ino
    run(source, out)
    assert tree(out) == good
    assert kept.stat().st_ino == place, "a class that is whole stays where it is"


def test_a_class_that_was_removed_is_made_again(tmp_path: Path) -> None:
    source, out = fall11(tmp_path / "in"), tmp_path / "out"
    run(source, out)
    good = tree(out)
    for part in ("train", "val"):
        shutil.rmtree(out / part / "n02084071")
    run(source, out)
    assert tree(out) == good


@pytest.mark.parametrize("make", [fall11, winter21])
def test_a_stream_and_a_plan_clear_up_what_killed_processes_left(tmp_path: Path, make: Any) -> None:
    source, out = make(tmp_path / "in"), tmp_path / "out"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    work = out / ".prepare" / "work" / f".n02084071.part-{machine_name()}-{ended.pid}-0" / "train"
    work.mkdir(parents=True)
    (work / "n02084071_9.JPEG").write_bytes(b"rest of a killed run")
    run(source, out)
    assert sorted(tree(out)) == LAYOUT
    assert not (out / ".prepare" / "work").exists()


def test_a_damaged_stream_report_is_done_again(tmp_path: Path) -> None:
    source, out = winter21(tmp_path / "in"), tmp_path / "out"
    run(source, out)
    good = tree(out)
    (out / ".prepare" / "classes" / "n02121620.json").write_bytes(b'{"wnid"')  # cut by a power failure
    run(source, out)
    assert tree(out) == good


@pytest.mark.parametrize("make", [fall11, winter21])
def test_killed_at_any_moment_it_goes_on_to_the_same_tree(tmp_path: Path, make: Any) -> None:
    classes = {f"n{i:08d}": images(f"n{i:08d}", 7) for i in range(1, 81)}
    source, out = make(tmp_path / "in", classes), tmp_path / "out"
    code = (
        "from pathlib import Path; from ovforge.imagenet import prepare; from ovforge.options.imagenet import *\n"
        "from ovforge.runs.executors.local import LocalExecutor\n"
        f"if __name__ == '__main__': prepare(PrepareOptions(source=Path({str(source)!r}), out=Path({str(out)!r}), "
        "small_limit=6, val_images=3, resize=Resize.SHORT_EDGE), LocalExecutor(2))"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    for wanted in (1, 20):
        process = subprocess.Popen([sys.executable, script], env={**os.environ, "PYTHONPATH": str(SOURCE)})
        done = out / ".prepare" / ("ledger" if make is fall11 else "classes")  # one class a shard
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until and len(list(done.glob("*.json"))) < wanted:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    time.sleep(0.5)  # the workers end with their parent
    before = len(list(done.glob("*.json")))
    assert 20 <= before < len(classes)
    again = subprocess.run([sys.executable, script], env={**os.environ, "PYTHONPATH": str(SOURCE)})
    assert again.returncode == 0
    run(source, tmp_path / "whole", resize=Resize.SHORT_EDGE)
    assert tree(out) == tree(tmp_path / "whole")
    assert (out / "prepare_report.json").read_bytes() == (tmp_path / "whole" / "prepare_report.json").read_bytes()


def test_broken_images_are_named_and_kept_out_but_count_for_the_split(tmp_path: Path) -> None:
    files = {**CLASSES["n02084071"], "n02084071_0.JPEG": b"", "n02084071_4.JPEG": jpeg(4)[:-300], "list.txt": b"x"}
    out = tmp_path / "out"
    summary = run(fall11(tmp_path, {"n02084071": files}), out)
    assert sorted(tree(out)) == [n for n in LAYOUT if "n02084071" in n and not n.endswith(("_0.JPEG", "_4.JPEG"))]
    reasons = dict(left_out(out))
    assert reasons["n02084071/n02084071_0.JPEG"] == "is empty"
    assert "cut short" in reasons["n02084071/n02084071_4.JPEG"]
    assert reasons["n02084071/list.txt"] == "is hidden, or not named like an image"
    assert sum(drop.count for drop in summary.drops) == 3


def test_a_class_without_images_is_reported(tmp_path: Path) -> None:
    summary = run(fall11(tmp_path, {"n00000005": {}, **CLASSES}), tmp_path / "out")
    assert [(d.kind, d.examples) for d in summary.drops] == [("class", ("n00000005",))]
    assert not list((tmp_path / "out").glob("*/n00000005"))


@pytest.mark.parametrize("name", ["../x.JPEG", "/tmp/x.JPEG", "link"])
@pytest.mark.parametrize("make", [fall11, winter21])
def test_dangerous_members_refuse_their_class_and_the_rest_is_done(tmp_path: Path, name: str, make: Any) -> None:
    info = tarfile.TarInfo(name)
    if name == "link":
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    source = make(tmp_path / "in")
    bad = tar(CLASSES["n02084071"], info)
    everything = {w: tar(files) for w, files in CLASSES.items()} | {"n02084071": bad}
    data = tar({f"{wnid}.tar": inner for wnid, inner in everything.items()})
    source.write_bytes(gzip.compress(data) if make is winter21 else data)
    out = tmp_path / "out"
    with pytest.raises(WorkError, match=r"1 class could not be prepared: n02084071: .* is refused"):
        run(source, out)
    assert sorted(tree(out)) == [name for name in LAYOUT if "n02084071" not in name]
    assert not (tmp_path / "x.JPEG").exists()


@pytest.mark.parametrize("name", ["../n00000001.tar", "/n00000001.tar"])
def test_dangerous_members_of_the_archive_itself_stop_it(tmp_path: Path, name: str) -> None:
    data = tar({name: tar(CLASSES["n00000001"])})
    (tmp_path / "a.tar").write_bytes(data)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(data))
    for source in ("a.tar", "a.tar.gz"):
        with pytest.raises(ArchiveError, match="is refused"):
            run(tmp_path / source, tmp_path / "out")
    assert not list(tmp_path.rglob("*.JPEG"))


def test_an_archive_cut_short_keeps_what_was_whole_and_says_so(tmp_path: Path) -> None:
    large = {f"n00000001_{i}.JPEG": jpeg(i, 900, 900) for i in range(4)}
    source, out = (
        winter21(tmp_path / "in", {"n00000001": large, "n00000002": large, "n00000003": large}),
        tmp_path / "out",
    )
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) // 6 * 5])
    with pytest.raises(ArchiveError, match="cut short"):
        run(source, out)
    assert (out / ".prepare" / "classes" / "n00000001.json").exists()
    assert not list(out.glob("*/n00000003"))
    assert not (out / ".prepare" / "spool").exists()
    source.write_bytes(b"\x1f\x8bnonsense" * 50)
    with pytest.raises(ArchiveError, match="damaged"):
        run(source, tmp_path / "other")


def test_squash_and_short_edge(tmp_path: Path) -> None:
    files = {
        "a.JPEG": jpeg(1, 500, 300),
        "b.JPEG": jpeg(2, 200, 223),  # below 224: copied
        "c.JPEG": jpeg(3, 300, 100),
        "d.JPEG": cv2.imencode(".png", np.zeros((300, 400, 4), np.uint8))[1].tobytes(),
    }
    sizes = {}
    for resize in (Resize.SQUASH, Resize.SHORT_EDGE):
        out = tmp_path / resize.value
        run(fall11(tmp_path, {"n00000001": files}), out, resize=resize)
        opened = ImageNet21k(out)
        sizes[resize] = [opened.read_size(f"{SMALL}/n00000001/{name}") for name in files]
        assert (out / SMALL / "n00000001" / "b.JPEG").read_bytes() == files["b.JPEG"]
    assert sizes[Resize.SQUASH] == [(224, 224), (200, 223), (224, 224), (224, 224)]
    assert sizes[Resize.SHORT_EDGE] == [(427, 256), (200, 223), (768, 256), (341, 256)]
    # The processing document's own way: OpenCV, bilinear, JPEG of OpenCV's quality.
    source = cv2.imdecode(np.frombuffer(files["a.JPEG"], np.uint8), cv2.IMREAD_COLOR)
    wanted = cv2.imencode(".jpg", cv2.resize(source, (224, 224)))[1].tobytes()
    assert (tmp_path / "224" / SMALL / "n00000001" / "a.JPEG").read_bytes() == wanted


def test_only_the_lvis_classes_on_request(tmp_path: Path) -> None:
    for make in (fall11, winter21):
        out = tmp_path / make.__name__
        summary = run(make(tmp_path), out, classes=ClassChoice.LVIS)
        assert ImageNet21k(out).classes() == ["n02084071", "n02121620"]
        assert summary.counts["classes"] == 2


def test_hard_links_on_request(tmp_path: Path) -> None:
    source, out = class_folders(tmp_path / "in"), tmp_path / "out"
    run(source, out, link=True)
    name = f"{SMALL}/n00000001/n00000001_0.JPEG"
    assert (out / name).samefile(source / "n00000001" / "n00000001_0.JPEG")


def test_space_is_checked_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    for make in (fall11, winter21, class_tars, class_folders):
        out = tmp_path / "out" / make.__name__
        with pytest.raises(WorkError, match="GB are needed"):
            run(make(tmp_path / make.__name__), out)
        assert not (out / "train").exists()
    run(fall11(tmp_path), tmp_path / "unchecked", check_space=False)


def test_a_full_disk_stops_the_run_and_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "n02121620_5.JPEG":
            raise OSError(28, "No space left on device", str(path))
        return real(path, data)

    source, out = fall11(tmp_path / "in"), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(WorkError, match="no space left") as caught:
            run(source, out)
    assert "run the same command again" in caught.value.hint
    assert not (out / "train" / "n02121620").exists()
    run(source, out)
    assert sorted(tree(out)) == LAYOUT


def test_a_full_disk_under_a_stream_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.RawIOBase):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    source, out = winter21(tmp_path / "in"), tmp_path / "out"
    with monkeypatch.context() as patch:

        def opened(path: Path, mode: str, **_: object) -> Any:
            return Full() if "w" in mode else path.open(mode)

        patch.setattr(archives, "open", opened, raising=False)
        with pytest.raises(WorkError, match="No space left"):
            run(source, out)
    run(source, out)
    assert sorted(tree(out)) == LAYOUT


def test_folders_that_another_program_made_are_not_touched(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "train" / "n02084071").mkdir(parents=True)
    with pytest.raises(InputError, match="did not make"):
        run(fall11(tmp_path / "in"), out)


def test_two_streams_at_once_are_refused(tmp_path: Path) -> None:
    import fcntl

    source, out = winter21(tmp_path / "in"), tmp_path / "out"
    (out / ".prepare").mkdir(parents=True)
    with open(out / ".prepare" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another"):
            run(source, out)
    run(source, out)


def test_two_parts_equal_one_run(tmp_path: Path) -> None:
    source, out = class_tars(tmp_path / "in"), tmp_path / "out"
    first = run(source, out, shards=ShardSelection(1, 2))
    assert first.counts["classes"] == 2
    assert first.notes == ("1 of 3 shards are still to be done, by other parts",)
    assert not (out / "prepare_report.json").exists()
    last = run(source, out, shards=ShardSelection(2, 2))
    assert last == run(source, out)
    run(source, tmp_path / "whole")
    assert tree(out) == tree(tmp_path / "whole")
    assert (out / "prepare_report.json").read_bytes() == (tmp_path / "whole" / "prepare_report.json").read_bytes()


def test_parts_at_once_in_processes_of_their_own_do_no_harm(tmp_path: Path) -> None:
    classes = {f"n{i:08d}": images(f"n{i:08d}", 7) for i in range(1, 41)}
    source, out = fall11(tmp_path / "in", classes), tmp_path / "out"
    line = [sys.executable, "-m", "ovforge.cli.main", "imagenet", "prepare", str(source), "--out", str(out)]
    line += ["--small-limit", "6", "--val-images", "3", "--resize", "256", "--workers", "1"]
    parts = [
        subprocess.Popen([*line, *part], env={**os.environ, "PYTHONPATH": str(SOURCE)}, stdout=subprocess.DEVNULL)
        for part in (["--shards", "1/2"], ["--shards", "2/2"], ["--shards", "2/2"])  # one is submitted twice
    ]
    assert [part.wait(timeout=120) for part in parts] == [0, 0, 0]
    run(source, tmp_path / "whole", resize=Resize.SHORT_EDGE)
    assert tree(out) == tree(tmp_path / "whole")
    assert (out / "prepare_report.json").read_bytes() == (tmp_path / "whole" / "prepare_report.json").read_bytes()
    assert not (out / ".prepare" / "work").exists()


def test_a_failed_class_is_tried_again_by_its_own_part(tmp_path: Path) -> None:
    source, out = class_tars(tmp_path / "in"), tmp_path / "out"
    good = (source / "n02084071.tar").read_bytes()
    (source / "n02084071.tar").write_bytes(b"x" * 512 + good[512:])  # its size stays what was planned
    run(source, out, shards=ShardSelection(1, 2))
    for _ in range(2):
        with pytest.raises(WorkError, match="n02084071"):
            run(source, out, shards=ShardSelection(2, 2))
    (source / "n02084071.tar").write_bytes(good)
    with pytest.raises(WorkError, match="n02084071"):
        run(source, out, shards=ShardSelection(1, 2))
    run(source, out, shards=ShardSelection(2, 2))
    assert sorted(tree(out)) == LAYOUT


def test_a_class_that_cannot_be_read_is_named_and_the_rest_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = class_folders(tmp_path / "in"), tmp_path / "out"
    real = os.listdir

    def listdir(path: Path) -> list[str]:
        if Path(path).name == "n02084071":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", listdir)
        with pytest.raises(WorkError, match="failed 3 times and was given up, last with PermissionError"):
            run(source, out)
    assert sorted(tree(out)) == [name for name in LAYOUT if "n02084071" not in name]
    assert "n02084071" in (out / ".prepare" / "failed" / "000001.json").read_text()
    run(source, out)
    assert sorted(tree(out)) == LAYOUT


def test_a_compressed_archive_cannot_be_shared_out(tmp_path: Path) -> None:
    source, out = winter21(tmp_path / "in"), tmp_path / "out"
    with pytest.raises(InputError, match=r"shards=.1/2. and executor=.ray.") as caught:
        run(source, out, RayExecutor(), ShardSelection(1, 2))
    assert "uncompress it" in caught.value.hint
    assert not out.exists()


def test_what_is_no_source(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(MissingInputError):
        run(tmp_path / "none.tar", out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no n\\* class folders"):
        run(tmp_path / "empty", out)
    (tmp_path / "one.tar").write_bytes(tar(CLASSES["n00000001"]))
    with pytest.raises(InputError, match="no class tars"):
        run(tmp_path / "one.tar", out)
    (tmp_path / "text.tar").write_text("not found" * 200)
    with pytest.raises(ArchiveError, match="not a tar archive"):
        run(tmp_path / "text.tar", out)
    (tmp_path / "dead").mkdir()
    (tmp_path / "dead" / "n00000001.tar").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no n\\* class folders"):
        run(tmp_path / "dead", out)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        run(fall11(tmp_path), tmp_path / "file" / "out")
    run(fall11(tmp_path), out)
    with pytest.raises(InputError, match="is prepared already"):
        run(out, tmp_path / "again")
    with pytest.raises(InputError, match="small_limit=1"):
        run(fall11(tmp_path), tmp_path / "x", small_limit=1)
