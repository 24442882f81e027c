"""The task's worker: what an engine gets to see, and that its batches do not show in the result."""

from __future__ import annotations

import errno
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ovforge.errors import WorkError
from ovforge.files.spool import Spool
from ovforge.image_io.hdf5 import ImageReader
from ovforge.options.diffusion import DiffusionOptions, Sampler
from ovforge.options.labels import Labels, Outside
from ovforge.records.pairs import PairRecord
from ovforge.records.run_layout import RECORDS
from ovforge.runs.task import Shard, ShardReport, Slot
from ovforge.synthesis.diffusion import DiffusionEngine
from ovforge.synthesis.image_table import read_images
from ovforge.synthesis.pair_task import AHEAD, PairTask
from ovforge.synthesis.pairs import PairSettings
from ovforge.synthesis.randomness import generator
from ovforge.synthesis.repaint import EngineTraits, Repainted, RepaintJob, WorkingSize
from ovforge.synthesis.warp import FillEngine, WarpEngine


@dataclass
class NoiseEngine:
    """Paints noise where it may, from the image's own generator; remembers its batches."""

    batch_size: int = 3
    working_size: WorkingSize | None = WorkingSize(256, 192, 32)  # noqa: RUF009
    name: str = "noise"
    batches: list[list[RepaintJob]] = field(default_factory=list)
    closed: bool = False
    lose_one: bool = False
    traits: EngineTraits = EngineTraits(repaints=True, outside=(Outside.COMPLETED, Outside.ORIGINAL))  # noqa: RUF009

    def describe(self) -> dict[str, str]:
        return {"engine": self.name}

    def open(self, device: str | None) -> NoiseEngine:
        return self

    def repaint(self, jobs: Sequence[RepaintJob]) -> list[Repainted]:
        self.batches.append(list(jobs))
        painted = []
        for job in jobs:
            noise = generator(job.seed, job.image_id, job.variant, "noise").integers(0, 256, job.image.shape, np.uint8)
            image = np.where(job.keep_mask[..., None], job.image, noise)
            drops = (("second view", "a test's reason"),) if job.image_id == 25 else ()
            painted.append(Repainted(image, {"noise": True}, drops))
        return painted[1:] if self.lose_one else painted

    def close(self) -> None:
        self.closed = True


@dataclass
class AheadEngine(NoiseEngine):
    """The same, as a device does it: a batch is started, and its results are asked for later, by another thread."""

    started: int = 0
    most_at_once: int = 0
    fail: bool = False
    threads: set[str] = field(default_factory=set)

    def start(self, jobs: Sequence[RepaintJob]) -> Callable[[], list[Repainted]]:
        self.started += 1
        self.most_at_once = max(self.most_at_once, self.started)

        def results() -> list[Repainted]:
            self.threads.add(threading.current_thread().name)
            self.started -= 1
            if self.fail:
                raise WorkError("the device is gone")
            return self.repaint(jobs)

        return results


def make(mini: Path, out: Path, engine: NoiseEngine, *, threads: int = 2, shards: int = 1) -> list[ShardReport]:
    annotations, captions = mini / "lvis/lvis_v1_train.json", mini / "coco/annotations/captions_train2017.json"
    images = read_images(annotations, captions, variants=1)
    task = PairTask(images, mini / "coco/train2017", engine, PairSettings(seed=4), threads)
    worker = task.open(Slot(0))
    try:
        edges = np.linspace(0, len(images), shards + 1).astype(int).tolist()
        return [
            worker.run(Shard(i, edges[i], edges[i + 1]), out.with_name(f"{out.stem}-{i}.h5")) for i in range(shards)
        ]
    finally:
        worker.close()


def content_of(out: Path, shards: int = 1) -> tuple[dict[str, bytes], list[PairRecord]]:
    images: dict[str, bytes] = {}
    records: list[PairRecord] = []
    for index in range(shards):
        with ImageReader(out.with_name(f"{out.stem}-{index}.h5")) as reader:
            images |= {name: reader.read(name) for name in reader.names() if name != RECORDS}
            records += msgspec.json.decode(reader.read(RECORDS), type=list[PairRecord])
    return images, records


def test_batches_hold_one_size_and_are_full_but_for_the_last_of_each(mini: Path, tmp_path: Path) -> None:
    engine = NoiseEngine(batch_size=5)
    (report,) = make(mini, tmp_path / "a.h5", engine)
    assert engine.closed
    short: set[tuple[int, ...]] = set()
    for batch in engine.batches:
        (size,) = {job.image.shape for job in batch}
        assert size[0] % 32 == size[1] % 32 == 0
        assert size not in short  # nothing of a size after a batch of it that was not full
        if len(batch) < 5:
            short.add(size)
    assert len(short) > 1  # several sizes took part
    jobs = [job for batch in engine.batches for job in batch]
    assert len(jobs) == report.counts["second views with objects"] == len({(j.image_id, j.variant) for j in jobs})
    assert all(job.prompt for job in jobs)
    assert all(job.keep_mask.any() and not job.keep_mask.all() for job in jobs if job.image_id == 25)


def test_the_result_does_not_depend_on_batches_threads_or_shards(mini: Path, tmp_path: Path) -> None:
    make(mini, tmp_path / "a.h5", NoiseEngine())
    for batch_size, threads, shards in ((1, 1, 1), (64, 4, 1), (7, 2, 6)):
        make(mini, tmp_path / "b.h5", NoiseEngine(batch_size=batch_size), threads=threads, shards=shards)
        assert content_of(tmp_path / "b.h5", shards) == content_of(tmp_path / "a.h5")
        if shards == 1:
            assert (tmp_path / "b-0.h5").read_bytes() == (tmp_path / "a-0.h5").read_bytes()


def test_an_engine_that_works_ahead_changes_no_byte(mini: Path, tmp_path: Path) -> None:
    make(mini, tmp_path / "a.h5", NoiseEngine())
    engine = AheadEngine()
    make(mini, tmp_path / "b.h5", engine, threads=1)
    assert (tmp_path / "b-0.h5").read_bytes() == (tmp_path / "a-0.h5").read_bytes()
    assert engine.most_at_once <= AHEAD
    assert len(engine.threads) == 1 and threading.current_thread().name not in engine.threads


def test_what_goes_wrong_after_a_batch_was_started_stops_the_shard(mini: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="the device is gone"):
        make(mini, tmp_path / "a.h5", AheadEngine(fail=True))
    with pytest.raises(WorkError, match="gave 2 images for 3"):
        make(mini, tmp_path / "a.h5", AheadEngine(lose_one=True))


def test_what_an_engine_says_and_gives_up_on_is_recorded(mini: Path, tmp_path: Path) -> None:
    (report,) = make(mini, tmp_path / "a.h5", NoiseEngine())
    _, records = content_of(tmp_path / "a.h5")
    (drop,) = (d for d in report.drops if d.kind == "second view")
    assert (drop.count, drop.examples) == (1, ("000000000025_v0.jpg",))
    views = [v for record in records for v in record.variants if v.annotations]
    assert all(view.engine == {"noise": True} for view in views)
    # Kept objects come through the shrinking well, repainted surroundings do not count.
    fidelities = [a["fidelity"] for view in views for a in view.annotations if a["area"] > 20_000]
    assert np.median(fidelities) > 0.8


def test_an_engine_that_loses_a_image_stops_the_shard(mini: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="gave 2 images for 3"):
        make(mini, tmp_path / "a.h5", NoiseEngine(lose_one=True))


def test_objects_that_are_not_kept_are_gone_before_the_engine_repaints(mini: Path, tmp_path: Path) -> None:
    """Small objects are painted magenta into grey photographs: what is left of the colour is in ignore regions."""
    annotations = mini / "lvis/lvis_v1_train.json"
    content = msgspec.json.decode(annotations.read_bytes())
    (tmp_path / "images").mkdir()
    small = {a["id"]: a for a in content["annotations"] if a["area"] <= 4096}
    for image in content["images"]:
        name = image["coco_url"].rpartition("/")[2]
        grey = cv2.imread(str(mini / "coco/train2017" / name), cv2.IMREAD_GRAYSCALE)
        pixels = np.repeat(grey[..., None], 3, axis=2)
        for annotation in small.values():
            if annotation["image_id"] == image["id"]:
                parts = coco_mask.frPyObjects(annotation["segmentation"], image["height"], image["width"])
                pixels[coco_mask.decode(coco_mask.merge(parts)) > 0] = (255, 0, 255)
        (tmp_path / "images" / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    engine = NoiseEngine(working_size=None, batch_size=1)
    table = read_images(annotations, None, variants=1)
    task = PairTask(table, tmp_path / "images", engine, PairSettings(seed=4, masks=True))
    worker = task.open(Slot(0))
    worker.run(Shard(0, 0, len(table)), tmp_path / "a-0.h5")
    worker.close()
    _, records = content_of(tmp_path / "a.h5")
    jobs = {job.image_id: job.image for batch in engine.batches for job in batch}
    removed = ignored = 0
    for record in records:
        for view in record.variants:
            if not view.annotations:
                continue
            labelled = {entry["id"]: entry for entry in view.annotations}
            removed += sum(a["image_id"] == record.image_id and a["id"] not in labelled for a in small.values())
            red, green, _ = np.moveaxis(jobs[record.image_id].astype(int), 2, 0)
            allowed = np.zeros(red.shape, np.uint8)
            for number, entry in labelled.items():
                assert (entry.get("iscrowd") == 1) is (number in small)
                ignored += number in small
                # Of what is removed, up to a tenth may lie on kept objects, whose own pixels stay.
                allowed |= coco_mask.decode(entry["mask"])
            allowed = cv2.dilate(allowed, np.ones((7, 7), np.uint8))  # interpolation, enlarged
            assert not np.count_nonzero((red - green > 60) & (allowed == 0))
    assert removed > 20
    assert ignored > 5


def test_ovtracks_way_keeps_its_rule_and_its_starting_image(mini: Path, tmp_path: Path) -> None:
    images = read_images(mini / "lvis/lvis_v1_train.json", None, variants=1)
    engine = NoiseEngine()
    settings = PairSettings(seed=4, outside=Outside.ORIGINAL, labels=engine.traits.labels(Outside.ORIGINAL))
    worker = PairTask(images, mini / "coco/train2017", engine, settings).open(Slot(0))
    report = worker.run(Shard(0, 0, len(images)), tmp_path / "a-0.h5")
    worker.close()
    _, records = content_of(tmp_path / "a.h5")
    areas = {
        a["id"]: a["area"] for a in msgspec.json.decode((mini / "lvis/lvis_v1_train.json").read_bytes())["annotations"]
    }
    entries = [entry for record in records for view in record.variants for entry in view.annotations]
    assert {entry["id"] for entry in entries} == {number for number, area in areas.items() if area > 4096}
    assert not any(entry.get("iscrowd") for entry in entries)
    assert report.counts["ignore regions"] == 0
    assert report.counts["objects still seen at their old place"] == sum(e["old_copy"] > 0 for e in entries) > 3


def test_the_engine_s_nature_decides_the_rule_and_its_notes() -> None:
    diffusion = DiffusionEngine().traits
    assert diffusion.outside[0] is Outside.COMPLETED
    assert diffusion.labels(Outside.COMPLETED) is Labels.KEPT
    assert diffusion.labels(Outside.ORIGINAL) is Labels.OVTRACK
    assert diffusion.notes == ()
    assert DiffusionEngine(DiffusionOptions(scheduler=Sampler.OVTRACK)).traits.outside[0] is Outside.ORIGINAL
    (note,) = DiffusionEngine(DiffusionOptions(no_captions=True)).traits.notes
    assert "ablation" in note and "no gain" in note
    for engine in (FillEngine(), WarpEngine()):
        assert engine.traits.labels(engine.traits.outside[0]) is Labels.ALL


def noisy_clips(folder: Path, images: int = 3) -> PairTask:
    """A task on images of noise, whose JPEGs are large, each with a square that can move."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number in range(images):
        pixels = rng.integers(0, 256, (240, 320, 3), np.uint8)
        (folder / f"images/{number}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    square = [[100, 70, 190, 70, 190, 160, 100, 160]]
    content = {
        "images": [{"id": i, "width": 320, "height": 240, "file_name": f"{i}.png"} for i in range(images)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [100, 70, 90, 90], "area": 8100, "segmentation": square}
            for i in range(images)
        ],
        "categories": [{"id": 1, "name": "square"}],
    }
    (folder / "ann.json").write_bytes(msgspec.json.encode(content))
    table = read_images(folder / "ann.json", None, variants=1)
    return PairTask(table, folder / "images", FillEngine(), PairSettings(labels=Labels.ALL))


def test_memory_does_not_grow_with_the_frames_of_a_clip(tmp_path: Path) -> None:
    task = noisy_clips(tmp_path)
    peaks, sizes = [], []
    for frames in (3, 64):
        out = tmp_path / f"{frames}.h5"
        worker = replace(task, settings=replace(task.settings, frames=frames)).open(Slot(0))
        worker.run(Shard(0, 0, 1), tmp_path / "warm.h5")
        tracemalloc.start()
        worker.run(Shard(0, 0, len(task.table)), out)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        worker.close()
        sizes.append(out.stat().st_size)
    one_clip = (sizes[1] - sizes[0]) / len(task.table)
    assert one_clip > 4 << 20
    assert peaks[1] - peaks[0] < one_clip / 2
    assert not [path for path in tmp_path.iterdir() if path.suffix not in (".h5", ".json", "")]


def test_a_frame_that_cannot_wait_on_the_disk_stops_the_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = noisy_clips(tmp_path, images=1)

    def full(self: Spool, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Spool, "add", full)
    worker = replace(task, settings=replace(task.settings, frames=3)).open(Slot(0))
    with pytest.raises(OSError, match="No space left"):
        worker.run(Shard(0, 0, 1), tmp_path / "a.h5")
    worker.close()
