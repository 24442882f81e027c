"""Random views of a crop whose features are averaged: test-time augmentation as in MM-OVOD's script.

Each view is a random part of the crop (80 to 100 % of its area, sides 3:4 to 4:3) at four times the model's input
size, half of them flipped, four fifths recoloured: brightness, contrast and saturation by up to 20 %, hue by up to
5 %. The random numbers come from the seed and the crop's identity alone. They are not the numbers of the original,
which follow torch's global generator.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]

SCALE = (0.8, 1.0)
RATIO = (3 / 4, 4 / 3)
ENLARGED = 4
"""How many times the model's input size a view is made at."""
_TRIES = 10


def random_view(crop: Pixels, side: int, *, seed: int, key: str, view: int) -> Pixels:
    """One view of a crop, uint8 RGB (height, width, 3); the view is square, `ENLARGED` times `side` wide."""
    from PIL import Image

    generator = _generator(seed, key, view)
    left, top, width, height = _part(crop.shape[1], crop.shape[0], generator)
    size = (ENLARGED * side, ENLARGED * side)
    image = Image.fromarray(crop).resize(
        size, resample=Image.Resampling.BICUBIC, box=(left, top, left + width, top + height)
    )
    if generator.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if generator.random() < 0.8:
        image = _recoloured(image, generator)
    return np.asarray(image, np.uint8)


def _generator(seed: int, key: str, view: int) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed}:{view}:{key}".encode("utf-8", "surrogateescape"), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def _part(width: int, height: int, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, top, width, height of a random part; the middle where ten tries find none that fits."""
    for _ in range(_TRIES):
        area = width * height * generator.uniform(*SCALE)
        ratio = math.exp(generator.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left = int(generator.integers(0, width - wide + 1))
            top = int(generator.integers(0, height - high + 1))
            return left, top, wide, high
    ratio = min(max(width / height, RATIO[0]), RATIO[1])
    wide = min(width, max(1, round(height * ratio)))
    high = min(height, max(1, round(width / ratio)))
    return (width - wide) // 2, (height - high) // 2, wide, high


def _recoloured(image: Image, generator: np.random.Generator) -> Image:
    from PIL import ImageEnhance

    factors = generator.uniform(0.8, 1.2, size=3)
    hue = generator.uniform(-0.05, 0.05)
    for step in generator.permutation(4):
        if step == 3:
            image = _hue(image, hue)
        else:
            kind = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[step]
            image = kind(image).enhance(float(factors[step]))
    return image


def _hue(image: Image, shift: float) -> Image:
    from PIL import Image

    channels = list(image.convert("HSV").split())
    turned = (np.asarray(channels[0], np.int16) + round(shift * 255)) % 256
    channels[0] = Image.fromarray(turned.astype(np.uint8))
    return Image.merge("HSV", channels).convert("RGB")
