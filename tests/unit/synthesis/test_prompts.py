"""Prompts: a drawn caption, or a sentence of class names."""

from __future__ import annotations

import pytest

from ovforge.synthesis.prompts import draw_caption, sentence


@pytest.mark.parametrize(
    ("names", "prompt"),
    [
        ([], ""),
        (["cat"], "a photo of a cat"),
        (["cat", "cup"], "a photo of a cat and a cup"),
        (["orange_(fruit)", "cat", "orange_(fruit)", "stop_sign"], "a photo of an orange, a cat and a stop sign"),
        (["mouse_(computer_equipment)", "mouse_(animal)"], "a photo of a mouse"),
        (list("abcdefgh"), "a photo of an a, a b, a c, a d and an e"),
        (["(odd)"], ""),
    ],
)
def test_sentences(names: list[str], prompt: str) -> None:
    assert sentence(names) == prompt


def test_a_caption_is_drawn_per_image_and_variant_and_blank_ones_do_not_count() -> None:
    captions = ["A cat\n sits. ", " ", "A cup."]
    drawn = [draw_caption(captions, ["dog"], seed=0, image_id=i, variant=v) for i in range(40) for v in range(2)]
    assert set(drawn) == {"A cat sits.", "A cup."}
    assert drawn == [draw_caption(captions, [], seed=0, image_id=i, variant=v) for i in range(40) for v in range(2)]
    assert draw_caption([" "], ["dog"], seed=0, image_id=1, variant=0) == "a photo of a dog"
