"""Composing: masks and image move together, validity is not colour, sizes and margins are as stated."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from ovforge.synthesis.compose import compose, fit_size, keep_mask, resized, to_image_size, to_working_size
from ovforge.synthesis.fidelity import fidelity
from ovforge.synthesis.masks import box_and_area, stack
from ovforge.synthesis.motion import Motion, draw_motion
from ovforge.synthesis.randomness import generator
from ovforge.synthesis.repaint import WorkingSize

WIDTH, HEIGHT = 160, 120


def scene(*rectangles: tuple[int, int, int, int], background: int = 200, object_level: int = 0):
    image = np.full((HEIGHT, WIDTH, 3), background, np.uint8)
    rles = []
    for x, y, width, height in rectangles:
        image[y : y + height, x : x + width] = object_level
        mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
        mask[y : y + height, x : x + width] = 1
        rles.append(coco_mask.encode(mask))
    return image, stack(rles, WIDTH, HEIGHT)


def shift(x: float, y: float, **more: float) -> Motion:
    return Motion("affine", ((1.0, 0.0, float(x)), (0.0, 1.0, float(y)), (0.0, 0.0, 1.0)), **more)


def test_a_shift_moves_image_mask_and_box_alike() -> None:
    image, masks = scene((20, 30, 40, 25))
    composed = compose(image, masks, shift(15, 10))
    assert box_and_area(composed.masks.mask(0)) == ([35, 40, 40, 25], 1000)
    assert (composed.image[40:65, 35:75] == 0).all()
    # Outside the warped image the original shows through, the object's old place included.
    assert np.array_equal(composed.image[:10], image[:10])
    assert np.array_equal(composed.image[:, :15], image[:, :15])
    assert image[30, 20, 0] == 0  # the inputs stay


def test_a_black_object_in_a_black_image_is_whole() -> None:
    image, masks = scene((20, 30, 40, 25), background=0)
    image[:, 100:] = 255  # would show through wherever black counted as outside
    composed = compose(image, masks, shift(60, 0))
    assert (composed.image[30:55, 80:120] == 0).all()
    assert (composed.masks.inside()[:, 60:] == 255).all()
    assert (composed.masks.inside()[:, :60] == 0).all()


def test_an_object_that_leaves_the_image_has_an_empty_box() -> None:
    image, masks = scene((100, 30, 40, 25), (10, 10, 5, 5))
    composed = compose(image, masks, shift(140, 0))
    assert box_and_area(composed.masks.mask(0)) == ([0, 0, 0, 0], 0)
    assert box_and_area(composed.masks.mask(1)) == ([150, 10, 5, 5], 25)


def test_brightness_changes_the_warped_part_alone() -> None:
    image, masks = scene((20, 30, 40, 25), object_level=100)
    composed = compose(image, masks, shift(40, 0, brightness=0.1, contrast=1.2))
    assert (composed.image[:, :40] == image[:, :40]).all()
    assert composed.image[35, 70, 0] == round(100 * 1.2 + 25.5)
    assert composed.image[5, 100, 0] == 255  # 200 * 1.2 + 25.5, cut off


@given(
    st.integers(0, 10_000),
    st.tuples(st.integers(0, 120), st.integers(0, 90), st.integers(8, 40), st.integers(8, 30)),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_boxes_are_tight_on_the_objects_pixels(image_id: int, rectangle: tuple[int, ...], black: bool) -> None:
    levels = (200, 0) if black else (30, 255)
    image, masks = scene(rectangle, background=levels[0], object_level=levels[1])
    motion = draw_motion(generator(0, image_id, 0, "motion"), WIDTH, HEIGHT)
    composed = compose(image, masks, Motion(motion.kind, motion.matrix, motion.flip))
    box, area = box_and_area(composed.masks.mask(0))
    if not area:
        return
    x, y, width, height = box
    mask = composed.masks.mask(0) > 0
    assert mask[y : y + height, x : x + width].sum() == area == mask.sum()
    assert mask[y, x : x + width].any() and mask[y + height - 1, x : x + width].any()
    assert mask[y : y + height, x].any() and mask[y : y + height, x + width - 1].any()
    # Where each pixel comes from, by the matrix alone: how far outside the object, in the original's pixels.
    grid = np.stack([*np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), np.ones((HEIGHT, WIDTH))])
    back = np.einsum("ij,jyx->iyx", np.linalg.inv(motion.array()), grid)
    from_x, from_y = back[:2] / back[2]
    left, top, across, down = rectangle
    outside = np.maximum.reduce([left - from_x, from_x - (left + across - 1), top - from_y, from_y - (top + down - 1)])
    inside_image = (from_x > 0) & (from_x < WIDTH - 1) & (from_y > 0) & (from_y < HEIGHT - 1)
    # The mask goes to the nearest pixel, the image is interpolated; OpenCV counts in 32nds of a pixel.
    assert mask[outside < 0.45].all()
    assert not mask[outside > 0.55].any()
    assert (np.abs(composed.image[outside < -0.05].astype(int) - levels[1]) <= 1).all()
    assert (np.abs(composed.image[(outside > 1.05) & inside_image].astype(int) - levels[0]) <= 1).all()


@given(st.integers(0, 2**32 - 1), st.floats(0.0005, 0.02))
@settings(max_examples=30, deadline=None)
def test_one_dilation_by_29_is_the_original_s_two_by_15(seed: int, density: float) -> None:
    union = (np.random.default_rng(seed).random((HEIGHT, WIDTH)) < density).astype(np.uint8) * 255
    twice = cv2.dilate(union, np.ones((15, 15), np.uint8), iterations=2)
    assert np.array_equal(keep_mask(union), twice)


@pytest.mark.parametrize(
    ("size", "content", "padded"),
    [
        ((640, 480), (683, 512), (704, 512)),
        ((480, 640), (384, 512), (384, 512)),
        ((640, 427), (767, 512), (768, 512)),
        ((768, 512), (768, 512), (768, 512)),
        ((3000, 10), (768, 3), (768, 64)),
        ((1, 1), (512, 512), (512, 512)),
        ((10, 5000), (1, 512), (64, 512)),
    ],
)
def test_working_sizes(size: tuple[int, int], content: tuple[int, int], padded: tuple[int, int]) -> None:
    working = WorkingSize()
    assert fit_size(*size, working) == content
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    union = np.full((size[1], size[0]), 255, np.uint8)
    brought, kept, found = to_working_size(image, union, working)
    assert found == content
    assert brought.shape == (padded[1], padded[0], 3)
    assert kept.shape == (padded[1], padded[0])
    assert kept.dtype == np.bool_
    # The padding repeats the edge and is not kept.
    assert kept[: content[1], : content[0]].all()
    assert not kept[content[1] :].any() and not kept[:, content[0] :].any()
    assert (brought[:, content[0] :] == brought[:, content[0] - 1 : content[0]]).all()
    assert (brought[content[1] :] == brought[content[1] - 1 : content[1]]).all()
    assert to_image_size(brought, content, size).shape == image.shape


def test_the_margin_is_14_pixels_at_the_working_size_and_stops_at_the_padding() -> None:
    union = np.zeros((480, 640), np.uint8)
    union[200:300, 600:640] = 255
    _, kept, (width, _) = to_working_size(np.zeros((480, 640, 3), np.uint8), union, WorkingSize())
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    assert abs(rows[0] - (200 * 512 / 480 - 14)) <= 1
    assert abs(columns[0] - (600 * 512 / 480 - 14)) <= 1
    assert columns[-1] == width - 1


def test_there_and_back_keeps_a_smooth_image() -> None:
    y, x = np.mgrid[:427, :640]
    image = np.stack([128 + 100 * np.sin(x / 40), 128 + 100 * np.cos(y / 30), (x + y) / 5], axis=-1).astype(np.uint8)
    brought, _, content = to_working_size(image, np.zeros((427, 640), np.uint8), WorkingSize())
    assert np.abs(to_image_size(brought, content, (640, 427)).astype(int) - image).max() <= 3


def test_shrinking_averages_and_does_not_skip() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(resized(stripes, (16, 16)).astype(int) - 128).max() <= 1


def test_fidelity_is_one_for_the_same_and_low_for_something_else() -> None:
    image, masks = scene((20, 30, 40, 25), (90, 60, 30, 30))
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, image.shape, np.uint8)
    assert fidelity(image, image.copy(), masks) == [1.0, 1.0]
    other = image.copy()
    other[30:55, 20:60] = rng.integers(0, 256, (25, 40, 3), np.uint8)
    values = fidelity(image, other, masks)
    assert values[0] < 0.2
    assert values[1] == 1.0  # what happens elsewhere is not this object's
    noisy = np.clip(image.astype(int) + rng.integers(-20, 21, image.shape), 0, 255).astype(np.uint8)
    assert 0.85 < fidelity(image, noisy, masks)[0] < 1.0
    gone = compose(image, masks, shift(500, 0)).masks
    assert fidelity(image, other, gone) == [0.0, 0.0]


def test_fidelity_agrees_with_a_plain_ssim() -> None:
    rng = np.random.default_rng(1)
    image, masks = scene((40, 30, 60, 50))
    before = cv2.GaussianBlur(rng.integers(0, 256, image.shape, np.uint8), (0, 0), 2)
    after = np.clip(before.astype(int) + rng.integers(-15, 16, image.shape), 0, 255).astype(np.uint8)
    a, b = (cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype(np.float64) for i in (before, after))
    values = []
    for y in range(30, 80):
        for x in range(40, 100):
            p, q = a[y - 3 : y + 4, x - 3 : x + 4], b[y - 3 : y + 4, x - 3 : x + 4]
            covariance = ((p - p.mean()) * (q - q.mean())).mean()
            values.append(
                (2 * p.mean() * q.mean() + 6.5025)
                * (2 * covariance + 58.5225)
                / ((p.mean() ** 2 + q.mean() ** 2 + 6.5025) * (p.var() + q.var() + 58.5225))
            )
    assert fidelity(before, after, masks)[0] == pytest.approx(np.mean(values), abs=2e-3)
