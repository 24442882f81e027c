"""Boxes and labels on images: legible, and not on top of one another."""

from __future__ import annotations

import doctest
from itertools import combinations
from typing import Any

import numpy as np
import pytest

import ovforge.image_io.drawing
import ovforge.image_io.lettering
from ovforge.image_io.drawing import UNNUMBERED, Label, draw_boxes, number_colour
from ovforge.image_io.lettering import fitted, plain, text_size, write_text


@pytest.mark.parametrize("module", [ovforge.image_io.drawing, ovforge.image_io.lettering])
def test_the_examples_in_the_docstrings(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def blank(height: int = 300, width: int = 400) -> Any:
    return np.full((height, width, 3), 255, np.uint8)


def has(image: Any, colour: tuple[int, int, int]) -> bool:
    return bool((image == colour).all(axis=-1).any())


def test_colours_of_a_pair_are_told_apart() -> None:
    colours = np.array([number_colour(number) for number in range(20)], int)
    nearest = min(np.abs(a - b).max() for a, b in combinations(colours, 2))
    assert nearest >= 40


def test_every_box_is_drawn_and_grey_without_a_number() -> None:
    boxes = [
        Label((10, 10, 200, 200), "cat", 0),
        Label((250, 40, 100, 100), "crowd, ignored"),
        Label((0, 0, 0, 9), "x"),
    ]
    image = draw_boxes(blank(), boxes)
    assert has(image, number_colour(0))
    assert has(image, UNNUMBERED)


def test_labels_do_not_cover_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[tuple[int, int, int, int]] = []

    def note(image: Any, text: str, corner: tuple[int, int], size: float, ink: Any) -> None:
        wide, high = text_size(text, size)
        places.append((corner[0], corner[1], corner[0] + wide, corner[1] + high))
        assert 0 <= corner[0] <= corner[0] + wide <= image.shape[1]
        assert 0 <= corner[1] <= corner[1] + high <= image.shape[0]
        write_text(image, text, corner, size, ink)

    monkeypatch.setattr(ovforge.image_io.drawing, "write_text", note)
    boxes = [Label((20 + n, 20 + 2 * n, 150, 100), "traffic light", n) for n in range(30)]
    draw_boxes(blank(), boxes)
    assert 4 <= len(places) < 30
    for (a, b, c, d), (e, f, g, h) in combinations(places, 2):
        assert not (a < g and e < c and b < h and f < d)


def test_long_names_and_other_letters() -> None:
    assert fitted("short.jpg", 200) == "short.jpg"
    long = fitted("ein sehr langer Name eines Bildes aus der Sammlung.jpg", 150)
    assert long.endswith(".jpg")
    assert long.startswith("ein")
    assert text_size(long)[0] <= 150
    assert plain("Größe 猫.jpg") == "Gro?e ?.jpg"
    image = blank(30, 300)
    write_text(image, "Größe 猫.jpg", (0, 0))
    assert image.min() < 100
