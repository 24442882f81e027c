"""How much of an object is seen, against masks drawn on a canvas that nothing leaves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from ovforge.synthesis.compose import move_masks
from ovforge.synthesis.masks import LabelMaps, box_and_area, stack
from ovforge.synthesis.motion import Motion, draw_motion
from ovforge.synthesis.randomness import generator
from ovforge.synthesis.visibility import show_objects

WIDTH, HEIGHT, MARGIN = 160, 120, 400


def ellipses(*places: tuple[int, int, int, int]) -> tuple[list[np.ndarray], LabelMaps]:
    masks = []
    for x, y, across, down in places:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.ellipse(mask, (x, y), (across, down), 0, 0, 360, 1, -1)
        masks.append(mask)
    return masks, stack([coco_mask.encode(np.asfortranarray(mask)) for mask in masks], WIDTH, HEIGHT)


def shift(x: float, y: float) -> Motion:
    return Motion("affine", ((1.0, 0.0, float(x)), (0.0, 1.0, float(y)), (0.0, 0.0, 1.0)))


@given(st.integers(0, 10_000), st.integers(25, 135), st.integers(25, 95), st.integers(8, 24), st.integers(8, 24))
@settings(max_examples=120, deadline=None)
def test_visibility_is_the_share_of_the_whole_moved_object(
    image_id: int, x: int, y: int, across: int, down: int
) -> None:
    (mask,), maps = ellipses((x, y, across, down))
    motion = draw_motion(generator(3, image_id, 0, "motion"), WIDTH, HEIGHT)
    moved = move_masks(maps, motion)
    (shown,) = show_objects(maps, moved, motion, original_outside=False)
    box, area = box_and_area(moved.mask(0))
    assert (shown.box, shown.area) == (box, area)
    # The same on a canvas so large that nothing leaves it, and four times finer, so that pixels do not count.
    to_canvas = np.array([[4, 0, 4 * MARGIN], [0, 4, 4 * MARGIN], [0, 0, 1]], np.float64)
    canvas = (4 * (WIDTH + 2 * MARGIN), 4 * (HEIGHT + 2 * MARGIN))
    whole = cv2.warpPerspective(mask, to_canvas @ motion.array(), canvas, flags=cv2.INTER_NEAREST)
    inside = whole[4 * MARGIN : 4 * (MARGIN + HEIGHT), 4 * MARGIN : 4 * (MARGIN + WIDTH)]
    # One draw in some thousands stretches an object beyond even this canvas; nothing can be said of it then.
    assume(whole[0].sum() == whole[-1].sum() == whole[:, 0].sum() == whole[:, -1].sum() == 0)
    assert shown.visibility == pytest.approx(inside.sum() / whole.sum(), abs=0.05)
    assert shown.visibility == 0 if not area else 0 < shown.visibility <= 1
    assert shown.old_copy == 0


def test_an_object_that_stays_inside_is_wholly_visible_however_small() -> None:
    _, maps = ellipses((80, 60, 1, 1), (40, 60, 10, 10))
    motion = Motion("affine", ((0.7, 0.1, 10.0), (-0.1, 0.8, 8.0), (0.0, 0.0, 1.0)))
    shown = show_objects(maps, move_masks(maps, motion), motion, original_outside=False)
    assert [one.visibility for one in shown] == [1.0, 1.0]


def test_half_of_it_outside_and_gone() -> None:
    _, maps = ellipses((80, 60, 20, 20))
    for x, share in ((80, 0.5), (200, 0.0), (0, 1.0)):
        (shown,) = show_objects(maps, move_masks(maps, shift(x, 0)), shift(x, 0), original_outside=False)
        assert shown.visibility == pytest.approx(share, abs=0.03)
    assert show_objects(maps, move_masks(maps, shift(200, 0)), shift(200, 0), original_outside=False)[0].box == [0] * 4


def test_an_old_copy_is_what_the_moved_image_does_not_cover() -> None:
    masks, maps = ellipses((30, 60, 20, 20), (100, 60, 20, 20))
    motion = shift(30, 0)
    first, second = show_objects(maps, move_masks(maps, motion), motion, original_outside=True)
    assert first.old_copy == pytest.approx(masks[0][:, :30].sum() / masks[0].sum(), abs=1e-4)
    assert second.old_copy == 0
    assert all(
        one.old_copy == 0 for one in show_objects(maps, move_masks(maps, motion), motion, original_outside=False)
    )
