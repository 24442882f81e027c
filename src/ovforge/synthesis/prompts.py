"""What a repainting engine is told of an image: one of its captions, or its objects' class names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ovforge.synthesis.randomness import generator

CLASSES_NAMED = 5
"""A prompt from class names says at most so many; text encoders read 77 tokens."""


def draw_caption(captions: Sequence[str], class_names: Sequence[str], *, seed: int, image_id: int, variant: int) -> str:
    """One of the image's captions, drawn by its own generator; without captions, a sentence of its class names.

    Args:
        captions: the image's captions in file order; blank ones do not count.
        class_names: LVIS names of its usable objects, largest first; repeated ones are named once.
    """
    texts = [text for text in (" ".join(caption.split()) for caption in captions) if text]
    if texts:
        return texts[int(generator(seed, image_id, variant, "caption").integers(len(texts)))]
    return sentence(class_names)


def sentence(class_names: Sequence[str]) -> str:
    """`a photo of a cat and a cup`; empty for no names."""
    plain = list(dict.fromkeys(name for name in map(plain_name, class_names) if name))[:CLASSES_NAMED]
    if not plain:
        return ""
    things = [f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}" for name in plain]
    listed = things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"
    return f"a photo of {listed}"


def plain_name(name: str) -> str:
    """An LVIS class name as words: `mouse_(computer_equipment)` is a mouse, `stop_sign` a stop sign."""
    return " ".join(re.sub(r"\([^)]*\)", " ", name.replace("_", " ")).split())
