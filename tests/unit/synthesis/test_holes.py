"""Holes and their crops: exact outside, at the image's scale where that fits, and none where there is no hole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovforge.synthesis.holes import FEATHER, LEAST_DEPTH, MOST_CROPS, Holes, plan_holes
from ovforge.synthesis.repaint import Repainted, RepaintJob, WorkingSize

SD = WorkingSize(768, 512, 64)


def image_with(*holes: tuple[int, int, int, int], width: int = 640, height: int = 480) -> RepaintJob:
    """A noisy image whose holes are rectangles x, y, width, height."""
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    keep = np.ones((height, width), np.bool_)
    for x, y, across, down in holes:
        keep[y : y + down, x : x + across] = False
    return RepaintJob(image, keep, (width, height), "a cat", image_id=7, variant=1, seed=3)


def painted(holes: Holes, level: int = 255) -> np.ndarray:
    """The whole image with its holes painted in one level."""
    results = [Repainted(np.full_like(job.image, level), {"engine": "x", "batch_size": 2}) for job in holes.jobs]
    return holes.finished(results).image


def test_an_image_without_a_hole_has_no_job_and_stays() -> None:
    for whole in (image_with(), image_with((0, 0, 640, LEAST_DEPTH - 1), (100, 100, 2 * LEAST_DEPTH - 2, 300))):
        holes = plan_holes(whole, SD)
        assert holes.jobs == ()
        finished = holes.finished([])
        assert finished.image is whole.image
        assert (finished.record, finished.prompt) == ({}, "")
        assert holes.whole.keep_mask.all()  # what is too thin was kept from repainting, too


def test_outside_the_holes_nothing_changes_and_inside_the_edge_is_soft() -> None:
    whole = image_with((200, 100, 60, 80), (0, 470, 640, 3))
    holes = plan_holes(whole, SD)
    (crop,) = holes.crops
    assert (holes.whole.keep_mask == False).sum() == 60 * 80  # noqa: E712 - the strip is too thin
    result = painted(holes)
    hole = ~holes.whole.keep_mask
    np.testing.assert_array_equal(result[~hole], whole.image[~hole])
    inner = result[100 + FEATHER : 180 - FEATHER, 200 + FEATHER : 260 - FEATHER]
    assert (inner == 255).all()
    row = result[140, 200 : 200 + FEATHER].astype(int)
    before = whole.image[140, 200 : 200 + FEATHER]
    weights = np.arange(1, FEATHER + 1) / (FEATHER + 1)
    np.testing.assert_allclose(row, weights[:, None] * 255 + (1 - weights[:, None]) * before, atol=0.51)
    assert crop.box[2:] == crop.content  # at the image's own scale


def test_a_small_hole_costs_a_small_crop_at_the_images_own_scale() -> None:
    whole = image_with((300, 200, 40, 40))
    (job,) = plan_holes(whole, SD).jobs
    assert job.image.shape == (256, 256, 3)
    (crop,) = plan_holes(whole, SD).crops
    x, y, width, height = crop.box
    np.testing.assert_array_equal(job.image, whole.image[y : y + height, x : x + width])
    assert (job.prompt, job.image_id, job.variant, job.seed, job.part) == ("a cat", 7, 1, 3, 0)
    assert x <= 300 - 64 and y <= 200 - 64 and x + width >= 340 + 64 and y + height >= 240 + 64


def test_a_wide_strip_is_cut_with_its_width() -> None:
    (job,) = plan_holes(image_with((0, 0, 640, 50)), SD).jobs
    assert job.image.shape == (256, 640, 3) and job.content == (640, 256)
    frame = image_with((0, 0, 640, 60), (0, 0, 60, 480), (580, 0, 60, 480))
    (job,) = plan_holes(frame, SD).jobs
    assert job.image.shape == (512, 640, 3) and job.content == (640, 480)
    assert not job.keep_mask[480:].any()  # the padding


def test_holes_far_apart_have_crops_of_their_own_with_other_numbers() -> None:
    whole = image_with((20, 20, 40, 40), (1500, 900, 40, 40), (1560, 900, 40, 40), width=1600, height=1000)
    holes = plan_holes(whole, SD)
    assert [job.image.shape for job in holes.jobs] == [(256, 256, 3)] * 2
    assert [job.part for job in holes.jobs] == [0, 1]
    assert len({job.purpose("noise") for job in holes.jobs}) == 2
    assert holes.jobs[0].purpose("noise") == "noise"
    record = holes.finished(
        [
            Repainted(job.image, {"engine": "x", "batch_size": size})
            for job, size in zip(holes.jobs, (2, 4), strict=True)
        ]
    ).record
    assert record["engine"] == "x" and record["repaint"] == "holes"
    assert [crop["batch_size"] for crop in record["crops"]] == [2, 4]


def test_many_holes_share_few_crops() -> None:
    squares = [(x, y, 20, 20) for x in range(50, 2000, 300) for y in range(50, 1500, 300)]
    holes = plan_holes(image_with(*squares, width=2000, height=1500), SD)
    assert len(holes.crops) <= MOST_CROPS
    assert sorted(label for crop in holes.crops for label in crop.holes) == list(range(1, len(squares) + 1))


def test_a_hole_larger_than_the_working_size_is_scaled() -> None:
    whole = image_with((100, 100, 1500, 700), width=1600, height=1200)
    holes = plan_holes(whole, SD)
    (job,) = holes.jobs
    assert job.image.shape[0] <= 512 and job.image.shape[1] <= 768
    result = painted(holes)
    hole = ~whole.keep_mask
    np.testing.assert_array_equal(result[~hole], whole.image[~hole])
    assert (result[200:700, 200:1500] == 255).all()


def test_upright_images_are_not_scaled_either() -> None:
    frame = image_with((0, 0, 480, 60), (0, 0, 60, 640), width=480, height=640)
    (job,) = plan_holes(frame, SD).jobs
    assert job.image.shape == (640, 512, 3) and job.content == (480, 640)


def test_small_images_are_enlarged_for_the_engine_and_brought_back() -> None:
    whole = image_with((0, 0, 60, 100), width=150, height=100)
    holes = plan_holes(whole, SD)
    (job,) = holes.jobs
    assert min(job.content) >= 255
    np.testing.assert_array_equal(painted(holes)[:, 60:], whole.image[:, 60:])


def test_an_engine_of_any_size_gets_crops_too() -> None:
    (job,) = plan_holes(image_with((300, 200, 40, 40)), None).jobs
    assert job.image.shape[0] <= 480 and job.image.shape[1] <= 640


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_hole_is_painted_once_and_nothing_else(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(16, 900)), data.draw(st.integers(16, 700))
    boxes = []
    for _ in range(data.draw(st.integers(0, 5))):
        x, y = data.draw(st.integers(0, width - 9)), data.draw(st.integers(0, height - 9))
        boxes.append((x, y, data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))))
    whole = image_with(*boxes, width=width, height=height)
    working = data.draw(st.sampled_from((SD, WorkingSize(1024, 1024, 16), WorkingSize(128, 96, 32), None)))
    holes = plan_holes(whole, working)
    for crop, job in zip(holes.crops, holes.jobs, strict=True):
        x, y, across, down = crop.box
        assert x >= 0 and y >= 0 and x + across <= width and y + down <= height
        assert job.image.shape[:2] == job.keep_mask.shape == crop.padded[::-1]
        assert crop.content[0] <= crop.padded[0] and crop.content[1] <= crop.padded[1]
        if working is not None:
            sides = sorted((working.width, working.height), reverse=width >= height)
            assert crop.padded[0] <= sides[0] and crop.padded[1] <= sides[1]
            assert crop.padded[0] % working.multiple == crop.padded[1] % working.multiple == 0
    hole = ~holes.whole.keep_mask
    assert not (hole & whole.keep_mask).any()
    # Twice, in levels as far apart as can be: what does not follow was not painted.
    dark, light = painted(holes, 0).astype(int), painted(holes, 255).astype(int)
    np.testing.assert_array_equal(dark[~hole], whole.image[~hole])
    np.testing.assert_array_equal(light[~hole], whole.image[~hole])
    assert (light[hole] - dark[hole] >= 255 // (FEATHER + 1)).all()


def test_crops_are_the_same_again() -> None:
    whole = image_with((20, 20, 40, 40), (500, 400, 60, 60))
    one, other = plan_holes(whole, SD), plan_holes(whole, SD)
    assert one.crops == other.crops
    for first, second in zip(one.jobs, other.jobs, strict=True):
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.keep_mask, second.keep_mask)


def test_results_and_jobs_belong_together() -> None:
    holes = plan_holes(image_with((300, 200, 40, 40)), SD)
    with pytest.raises(ValueError, match="zip"):
        holes.finished([])
