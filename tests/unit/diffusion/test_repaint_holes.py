"""`--repaint holes` with the tiny model: exact outside the holes, painted inside, no call where there is none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ovforge.errors import InputError
from ovforge.image_io.hdf5 import ImageReader
from ovforge.options.diffusion import DiffusionOptions, Sampler
from ovforge.options.labels import Labels, Outside, Repaint
from ovforge.options.pairs import GenerateOptions
from ovforge.records.pairs import PairRecord
from ovforge.records.run_layout import RECORDS
from ovforge.runs.task import Shard, Slot
from ovforge.synthesis.clips.make import PlannedClip
from ovforge.synthesis.diffusion import DiffusionEngine, engine_from_description
from ovforge.synthesis.diffusion.repainter import DiffusionRepainter
from ovforge.synthesis.generate import described_settings, pair_settings, settings_from_description
from ovforge.synthesis.image_table import ImageTable, read_images
from ovforge.synthesis.pair_task import PairTask, finish_views, prepare_image
from ovforge.synthesis.pairs import PairSettings, Planned, Prepared, jobs_of, repainted_whole

IMAGES = 8


@dataclass
class Opened:
    """The engine on the tiny model, and how many rows its U-Net has seen."""

    engine: DiffusionEngine
    repainter: DiffusionRepainter
    settings: PairSettings
    rows: list[int]


@pytest.fixture(scope="module")
def opened(tiny_model: Path) -> Iterator[Opened]:
    options = DiffusionOptions(
        model=tiny_model, repaint=Repaint.HOLES, steps=2, scheduler=Sampler.DDIM, guidance=0, width=192, height=128,
        batch_size=2, device="cpu", cpu_threads=1,
    )  # fmt: skip
    engine = DiffusionEngine(options)
    repainter = engine.open(None)
    assert isinstance(repainter, DiffusionRepainter)
    rows: list[int] = []
    repainter.model.unet.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    yield Opened(engine, repainter, pair_settings(GenerateOptions("x", seed=1), engine), rows)
    repainter.close()


@pytest.fixture(scope="module")
def table(mini: Path) -> Iterator[ImageTable]:
    table = read_images(mini / "lvis/lvis_v1_train.json", None, variants=1, limit=IMAGES)
    yield table
    table.close()


def prepared_images(mini: Path, table: ImageTable, opened: Opened) -> list[Prepared]:
    prepared = []
    for index in range(len(table)):
        source = table.image(index)
        data = (mini / "coco/train2017" / source.file_name).read_bytes()
        prepared.append(prepare_image(source, data, opened.settings, opened.repainter.working_size, table.class_names))
    return prepared


def test_pixels_outside_the_holes_are_the_composed_images_own(mini: Path, table: ImageTable, opened: Opened) -> None:
    with_holes = without = 0
    for prepared in prepared_images(mini, table, opened):
        for planned in prepared.planned:
            assert isinstance(planned, Planned)
            inside = planned.composed.masks.inside() > 0
            before = len(opened.rows)
            results = [opened.repainter.repaint([job])[0] for job in jobs_of(planned)]
            whole = repainted_whole(planned, results)
            np.testing.assert_array_equal(whole.image[inside], planned.composed.image[inside])
            if not results:
                without += 1
                assert len(opened.rows) == before  # no model call
                assert whole.image is planned.composed.image
                continue
            with_holes += 1
            painted = ~planned.job.keep_mask
            assert not (painted & inside).any()
            # The tiny model paints something else everywhere; at the very edge little of it is seen.
            changed = (whole.image != planned.composed.image).any(axis=2)
            assert changed[painted].mean() > 0.9
            assert not changed[~painted].any()
    assert with_holes >= 2 and without >= 2


def test_every_object_is_labelled_and_what_does_not_fit_is_refused(opened: Opened) -> None:
    assert opened.settings.labels is Labels.ALL and opened.settings.outside is Outside.COMPLETED
    with pytest.raises(InputError, match="with repaint='holes' keeps and labels every object"):
        pair_settings(GenerateOptions("x", min_area=100), opened.engine)
    with pytest.raises(InputError, match="with repaint='holes' takes completed only") as caught:
        pair_settings(GenerateOptions("x", outside=Outside.ORIGINAL), opened.engine)
    assert "background" in str(caught.value)
    ovtrack = DiffusionEngine(replace(opened.engine.options, scheduler=Sampler.OVTRACK))
    assert pair_settings(GenerateOptions("x"), ovtrack).outside is Outside.COMPLETED


def test_the_whole_noise_range_is_run_unless_told_otherwise(opened: Opened) -> None:
    assert opened.engine.options.noise_share == 1.0
    assert DiffusionOptions().noise_share == 0.75
    assert DiffusionOptions(repaint=Repaint.HOLES, strength=0.5).noise_share == 0.5


def test_the_manifest_says_it_and_gives_it_back(opened: Opened) -> None:
    described = opened.engine.describe()
    assert (described["repaint"], described["strength"]) == ("holes", 1.0)
    assert engine_from_description(described).options.noise_share == 1.0
    assert engine_from_description(described).options.repaint is Repaint.HOLES
    settings = described_settings(opened.settings)
    assert settings["repaint"] == "holes"
    assert settings_from_description(settings, opened.settings.seed) == opened.settings
    assert "repaint" not in described_settings(PairSettings())  # runs of before there was a choice are resumed
    background = DiffusionEngine(replace(opened.engine.options, repaint=Repaint.BACKGROUND)).describe()
    assert "repaint" not in background and background["strength"] == 0.75
    assert not any(note for note in DiffusionEngine(replace(opened.engine.options, no_captions=True)).traits.notes)


def test_neighbours_threads_and_shards_change_no_byte(
    mini: Path, table: ImageTable, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DiffusionEngine, "open", lambda *_: opened.repainter)
    monkeypatch.setattr(opened.repainter, "close", lambda: None)
    monkeypatch.setattr(ImageTable, "close", lambda _: None)
    found = []
    for name, threads, edges in (("one", 1, [0, IMAGES]), ("parts", 3, [0, 1, 4, IMAGES])):
        task = PairTask(table, mini / "coco/train2017", opened.engine, opened.settings, threads)
        worker = task.open(Slot(0))
        content: dict[str, bytes] = {}
        records: list[PairRecord] = []
        counts: dict[str, int] = {}
        for number, (start, stop) in enumerate(itertools.pairwise(edges)):
            out = tmp_path / f"{name}-{number}.h5"
            report = worker.run(Shard(number, start, stop), out)
            for key, value in report.counts.items():
                counts[key] = counts.get(key, 0) + (value if isinstance(value, int) else 0)
            with ImageReader(out) as reader:
                content |= {key: reader.read(key) for key in reader.names() if key != RECORDS}
                records += msgspec.json.decode(reader.read(RECORDS), type=list[PairRecord])
        worker.close()
        found.append((content, records, counts))
    assert found[0] == found[1]
    _, records, counts = found[0]
    views = [variant for record in records for variant in record.variants]
    repainted = [variant for variant in views if variant.engine]
    assert 0 < len(repainted) == counts["second views with repainted holes"] < len(views)
    for view in repainted:
        assert view.engine["repaint"] == "holes" and view.engine["batch_size"] == 2
        assert all(len(crop["box"]) == 4 for crop in view.engine["crops"])
        assert view.caption
        assert all(entry["fidelity"] == float(entry["area"] > 0) for entry in view.annotations)  # nothing has changed


def test_of_a_clip_only_the_holes_of_its_plate_are_repainted(mini: Path, opened: Opened) -> None:
    settings = pair_settings(GenerateOptions("x", seed=1, frames=3), opened.engine)
    assert settings.repaint is Repaint.HOLES
    table = read_images(mini / "lvis/lvis_v1_train.json", None, variants=settings.views, frames=3, limit=14)
    with_holes = without = 0
    for index in range(len(table)):
        source = table.image(index)
        data = (mini / "coco/train2017" / source.file_name).read_bytes()
        prepared = prepare_image(source, data, settings, opened.repainter.working_size, table.class_names)
        for planned in prepared.planned:
            assert isinstance(planned, PlannedClip)
            jobs, plate = jobs_of(planned), planned.plan.plate
            if not jobs:
                without += 1
                assert repainted_whole(planned, []).image is plate.image
                continue
            with_holes += 1
            if with_holes > 2:
                continue
            results = [opened.repainter.repaint([job])[0] for job in jobs]
            whole = repainted_whole(planned, results).image
            np.testing.assert_array_equal(whole[plate.hole == 0], plate.image[plate.hole == 0])
            assert (whole != plate.image).any(axis=2)[~planned.job.keep_mask].mean() > 0.9
            frames = finish_views(prepared, planned, results, settings)
            assert [record.engine["repaint"] for _, record, _ in frames] == ["holes", "holes"]
    table.close()
    assert with_holes >= 2 and without >= 1
