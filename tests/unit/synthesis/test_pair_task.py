"""The task's worker: what an engine gets to see, and that its batches do not show in the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ovforge.errors import WorkError
from ovforge.image_io.hdf5 import ImageReader
from ovforge.records.pairs import PairRecord
from ovforge.records.run_layout import RECORDS
from ovforge.runs.task import Shard, ShardReport, Slot
from ovforge.synthesis.image_table import read_images
from ovforge.synthesis.pair_task import PairTask
from ovforge.synthesis.pairs import PairSettings
from ovforge.synthesis.randomness import generator
from ovforge.synthesis.repaint import Repainted, RepaintJob, WorkingSize


@dataclass
class NoiseEngine:
    """Paints noise where it may, from the image's own generator; remembers its batches."""

    batch_size: int = 3
    working_size: WorkingSize | None = WorkingSize(256, 192, 32)  # noqa: RUF009
    name: str = "noise"
    batches: list[list[RepaintJob]] = field(default_factory=list)
    closed: bool = False
    lose_one: bool = False

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


def content(out: Path, shards: int = 1) -> tuple[dict[str, bytes], list[PairRecord]]:
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
        assert content(tmp_path / "b.h5", shards) == content(tmp_path / "a.h5")
        if shards == 1:
            assert (tmp_path / "b-0.h5").read_bytes() == (tmp_path / "a-0.h5").read_bytes()


def test_what_an_engine_says_and_gives_up_on_is_recorded(mini: Path, tmp_path: Path) -> None:
    (report,) = make(mini, tmp_path / "a.h5", NoiseEngine())
    _, records = content(tmp_path / "a.h5")
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
