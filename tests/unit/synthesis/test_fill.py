"""Completion of missing pixels: nothing of what was there stays, nothing else changes, no seam shows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovforge.synthesis.fill import complete_background

WIDTH, HEIGHT = 320, 240


def landscape() -> np.ndarray:
    """Sky over grass, with texture: uint8 (HEIGHT, WIDTH, 3)."""
    rng = np.random.default_rng(3)
    y = np.arange(HEIGHT)[:, None, None]
    sky, grass = np.array([120, 170, 230]), np.array([70, 130, 50])
    image = np.where(y < 110, sky + y * 0.3, grass - (y - 110) * 0.2) + np.zeros((1, WIDTH, 1))
    texture = cv2.GaussianBlur(rng.normal(0, 40, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 1.5)
    return np.clip(image + texture[..., None] * np.where(y < 110, 0.2, 1.0), 0, 255).astype(np.uint8)


def with_object(image: np.ndarray, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The image with a magenta rectangle, and its mask."""
    x, y, width, height = box
    image, mask = image.copy(), np.zeros(image.shape[:2], bool)
    image[y : y + height, x : x + width] = (255, 0, 255)
    mask[y : y + height, x : x + width] = True
    return image, mask


@given(
    st.tuples(st.integers(0, 300), st.integers(0, 220), st.integers(1, 320), st.integers(1, 240)),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_what_is_missing_has_no_influence_and_the_rest_stays(box: tuple[int, int, int, int], seed: int) -> None:
    image, missing = with_object(landscape(), box)
    other = image.copy()
    other[missing] = np.random.default_rng(seed).integers(0, 256, (int(missing.sum()), 3), np.uint8)
    before = image.copy()
    completed = complete_background(image, missing)
    assert np.array_equal(image, before)
    assert np.array_equal(completed[~missing], image[~missing])
    assert np.array_equal(completed, complete_background(other, missing.astype(np.uint8)))


def test_the_object_is_gone_and_the_ground_goes_on_with_its_texture() -> None:
    truth = landscape()
    image, missing = with_object(truth, (120, 70, 60, 90))
    completed = complete_background(image, missing)
    # As near to what was behind it as two places of the ground are to each other, and far from the object.
    off = np.abs(completed[missing].astype(int) - truth[missing]).mean()
    neighbours = np.abs(truth[70:160, 120:180].astype(int) - truth[70:160, 200:260]).mean()
    assert off < 1.5 * neighbours
    assert np.abs(completed[missing].astype(int) - (255, 0, 255)).mean() > 90

    # No blur: detail inside is as strong as outside, sky and grass each.
    def detail(rows: slice, columns: slice) -> float:
        return float(cv2.Laplacian(completed[rows, columns], cv2.CV_32F).std())

    for rows in (slice(75, 105), slice(120, 155)):
        assert 0.6 < detail(rows, slice(125, 175)) / detail(rows, slice(200, 250)) < 1.6
    # No seam: across the rim neighbours differ as they do elsewhere.
    steps = np.abs(np.diff(completed[115:155].astype(int), axis=1)).mean(axis=(0, 2))
    assert max(steps[119], steps[179]) < 2 * np.median(steps)


def test_a_hole_too_large_to_be_copied_is_smooth() -> None:
    image, missing = with_object(landscape(), (20, 0, 300, 240))
    completed = complete_background(image, missing)
    assert np.abs(completed[missing].astype(int) - (255, 0, 255)).min(axis=0).max() > 20
    assert completed[10, 200, 2] > completed[230, 200, 2]  # still blue above


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (3, 3), (17, 40), (33, 2000), (1200, 900)])
def test_any_size_and_an_image_without_a_known_pixel(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    nothing, everything = np.zeros(size, bool), np.ones(size, bool)
    assert np.array_equal(complete_background(image, nothing), image)
    assert len(np.unique(complete_background(image, everything))) == 1
    some = nothing.copy()
    some[: max(1, size[0] // 2), : max(1, size[1] // 2)] = True
    completed = complete_background(image, some)
    assert completed.shape == image.shape
    assert np.array_equal(completed[~some], image[~some])


def test_what_does_not_belong_together_is_refused() -> None:
    image = landscape()
    for missing in (np.zeros((HEIGHT, WIDTH + 1), bool), np.zeros((HEIGHT, WIDTH, 3), bool)):
        with pytest.raises(ValueError, match="are needed, not"):
            complete_background(image, missing)
    with pytest.raises(ValueError, match="are needed, not"):
        complete_background(image.astype(np.float32), np.zeros((HEIGHT, WIDTH), bool))
