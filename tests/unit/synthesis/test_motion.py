"""Motions: within the stated ranges, all kinds drawn, the same again from the same key."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovforge.synthesis.motion import NO_MOTION, draw_motion, from_record
from ovforge.synthesis.randomness import generator

WIDTH, HEIGHT = 640, 480
MANY = [draw_motion(generator(0, i, 0, "motion"), WIDTH, HEIGHT) for i in range(2000)]


def unflipped(motion) -> np.ndarray:
    flip = np.array([[-1, 0, WIDTH - 1], [0, 1, 0], [0, 0, 1]])
    return flip @ motion.array() if motion.flip else motion.array()


def test_shares_of_the_kinds() -> None:
    assert np.mean([m.kind == "affine" for m in MANY]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([m.flip for m in MANY]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([m.contrast != 1.0 for m in MANY]) == pytest.approx(0.2, abs=0.04)
    assert {m.kind for m in MANY} == {"affine", "perspective"}


def test_affine_ranges() -> None:
    affines = [unflipped(m) for m in MANY if m.kind == "affine"]
    centre = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2, 1])
    shifts = np.array([(m @ centre - centre)[:2] / (WIDTH, HEIGHT) for m in affines])
    assert shifts.min() >= 0
    assert shifts.max() <= 0.2
    assert shifts.max() > 0.18
    # Scale, shear and rotation together: areas between those of the smallest and largest scales and shears.
    areas = np.array([np.linalg.det(m[:2, :2]) for m in affines])
    shear = np.tan(np.radians(15)) ** 2
    assert areas.min() >= 0.6**2 * (1 - shear)
    assert areas.max() <= 1.5**2 * (1 + shear)
    assert all(np.array_equal(m[2], (0, 0, 1)) for m in affines)


def test_a_perspective_zooms_into_a_quadrangle_and_never_turns_over() -> None:
    corners = np.array([[0, 0, 1], [WIDTH - 1, 0, 1], [WIDTH - 1, HEIGHT - 1, 1], [0, HEIGHT - 1, 1]], float).T
    for motion in (m for m in MANY if m.kind == "perspective"):
        back = np.linalg.inv(unflipped(motion)) @ corners
        points = (back[:2] / back[2]).T / (WIDTH - 1, HEIGHT - 1)
        inward = np.abs(points - [[0, 0], [1, 0], [1, 1], [0, 1]])
        assert inward.max() <= 0.32 + 1e-9
        edges = np.roll(points, -1, axis=0) - points
        following = np.roll(edges, -1, axis=0)
        assert (edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0] > 0).all()  # convex, same sense


def test_brightness_and_contrast_ranges() -> None:
    changed = [m for m in MANY if m.contrast != 1.0]
    assert max(abs(m.brightness) for m in changed) <= 0.2
    assert max(abs(m.contrast - 1) for m in changed) <= 0.2
    assert all(m.brightness == 0 for m in MANY if m.contrast == 1.0)


@given(st.integers(0, 2**40), st.integers(1, 5000), st.integers(1, 5000))
def test_any_size_gives_a_finite_invertible_motion_that_survives_its_record(
    image_id: int, width: int, height: int
) -> None:
    motion = draw_motion(generator(3, image_id, 1, "motion"), width, height)
    assert np.isfinite(motion.array()).all()
    assert abs(np.linalg.det(motion.array())) > 1e-6
    assert from_record(motion.record()) == motion
    assert draw_motion(generator(3, image_id, 1, "motion"), width, height) == motion


def test_no_motion_is_the_identity() -> None:
    assert np.array_equal(from_record(NO_MOTION).array(), np.eye(3))
