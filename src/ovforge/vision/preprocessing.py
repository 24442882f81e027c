"""From pixels to a model's input, as its preprocessor configuration says; without torchvision.

The arithmetic is that of transformers' image processors: Pillow's antialiased resize on 8-bit pixels, then scaling
and normalising. DINOv3's processor scales first and resizes floating-point numbers, and so does this one. OWL
models, whose processors resize with scipy, are resized with Pillow too: a detector's boxes do not hang on the last
bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovforge.errors import InputError

Pixels = NDArray[np.uint8]
Inputs = dict[str, NDArray[Any]]

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)
_BILINEAR, _BICUBIC = 2, 3


@dataclass(frozen=True)
class _Defaults:
    """What a processor does where its configuration is silent."""

    size: dict[str, int]
    crop: int | None
    resample: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


_DEFAULTS = {
    "clip": _Defaults({"shortest_edge": 224}, 224, _BICUBIC, _CLIP_MEAN, _CLIP_STD),
    "siglip": _Defaults({"height": 224, "width": 224}, None, _BICUBIC, _HALF, _HALF),
    "siglip2": _Defaults({}, None, _BILINEAR, _HALF, _HALF),
    "dinov2": _Defaults({"shortest_edge": 224}, 224, _BICUBIC, _IMAGENET_MEAN, _IMAGENET_STD),
    "dinov2_with_registers": _Defaults({"shortest_edge": 224}, 224, _BICUBIC, _IMAGENET_MEAN, _IMAGENET_STD),
    "dinov3_vit": _Defaults({"height": 224, "width": 224}, None, _BILINEAR, _IMAGENET_MEAN, _IMAGENET_STD),
    "dinov3_convnext": _Defaults({"height": 224, "width": 224}, None, _BILINEAR, _IMAGENET_MEAN, _IMAGENET_STD),
    "owlvit": _Defaults({"height": 768, "width": 768}, None, _BICUBIC, _CLIP_MEAN, _CLIP_STD),
    "owlv2": _Defaults({"height": 960, "width": 960}, None, _BILINEAR, _CLIP_MEAN, _CLIP_STD),
    "grounding-dino": _Defaults(
        {"shortest_edge": 800, "longest_edge": 1333}, None, _BILINEAR, _IMAGENET_MEAN, _IMAGENET_STD
    ),
}
_SQUARE_BY_PADDING = frozenset({"owlv2"})
_PATCHES = frozenset({"siglip2"})
_SCALED_FIRST = frozenset({"dinov3_vit", "dinov3_convnext"})


@dataclass(frozen=True)
class Preprocessor:
    """How one model wants its images.

    Attributes:
        size: `height` and `width`, or `shortest_edge` with or without `longest_edge`; None: as they are.
        crop: (height, width) cut from the middle, padded with zeros where the image is smaller.
        resample: Pillow's number of the filter.
        scale: what 8-bit values are multiplied by.
        pad_to_square: zeros are added at right and below before the resize (OWLv2).
        scale_first: values are scaled before the resize, which then rounds nothing (DINOv3).
        patch, patches: images become at most `patches` squares of `patch` pixels, in their own proportions (SigLIP 2).
    """

    size: dict[str, int] | None
    crop: tuple[int, int] | None
    resample: int
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pad_to_square: bool = False
    scale_first: bool = False
    patch: int = 0
    patches: int = 0

    @property
    def side(self) -> int:
        """About how many pixels wide the model's input is."""
        if self.patch:
            return self.patch * math.isqrt(self.patches)
        size = self.size or {}
        return self.crop[0] if self.crop else size.get("height") or size.get("shortest_edge") or 224

    def __call__(self, image: NDArray[Any]) -> Inputs:
        """Prepare one image, uint8 RGB (height, width, 3)."""
        if self.patch:
            height, width = _size_in_patches(image.shape[0], image.shape[1], self.patch, self.patches)
            return self._as_patches(self._normalised(_resized(image, height, width, self.resample)))
        if self.pad_to_square:
            side = max(image.shape[:2])
            image = np.pad(image, ((0, side - image.shape[0]), (0, side - image.shape[1]), (0, 0)))
        if self.size is not None:
            resize = _resized_unrounded if self.scale_first else _resized
            image = resize(image, *_target(image.shape[0], image.shape[1], self.size), self.resample)
        if self.crop is not None:
            image = _centre(image, *self.crop)
        return {"pixel_values": self._normalised(image).transpose(2, 0, 1)}

    def collate(self, images: Sequence[Inputs]) -> Inputs:
        """Prepared images as one batch; images of different sizes are padded and get a `pixel_mask`."""
        shapes = {one["pixel_values"].shape for one in images}
        if len(shapes) == 1:
            return {key: np.stack([one[key] for one in images]) for key in images[0]}
        height, width = (max(shape[axis] for shape in shapes) for axis in (1, 2))
        pixels = np.zeros((len(images), 3, height, width), np.float32)
        mask = np.zeros((len(images), height, width), np.int64)
        for row, one in enumerate(images):
            _, high, wide = one["pixel_values"].shape
            pixels[row, :, :high, :wide] = one["pixel_values"]
            mask[row, :high, :wide] = 1
        return {"pixel_values": pixels, "pixel_mask": mask}

    def _normalised(self, image: NDArray[Any]) -> NDArray[np.float32]:
        scaled = image.astype(np.float32) * np.float32(self.scale)
        result = (scaled - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.asarray(result, np.float32)

    def _as_patches(self, image: NDArray[np.float32]) -> Inputs:
        rows, columns = image.shape[0] // self.patch, image.shape[1] // self.patch
        patches = image.reshape(rows, self.patch, columns, self.patch, 3).transpose(0, 2, 1, 3, 4)
        flat = patches.reshape(rows * columns, -1)
        padded = np.zeros((self.patches, flat.shape[1]), np.float32)
        padded[: len(flat)] = flat
        mask = (np.arange(self.patches) < len(flat)).astype(np.int32)
        return {"pixel_values": padded, "pixel_attention_mask": mask, "spatial_shapes": np.array([rows, columns])}


def make_preprocessor(folder: Path, model_type: str, config: dict[str, Any]) -> Preprocessor:
    """Read a preprocessor configuration.

    Raises:
        InputError: it asks for something that no known processor does; names the folder and the key.
    """
    defaults = _DEFAULTS[model_type]
    try:
        return _read(model_type, config, defaults)
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: preprocessor_config.json cannot be followed ({error})") from None


def _read(model_type: str, config: dict[str, Any], defaults: _Defaults) -> Preprocessor:
    size = config.get("size") or defaults.size
    if isinstance(size, int):
        size = {"shortest_edge": size} if "shortest_edge" in defaults.size else {"height": size, "width": size}
    size = {str(key): int(value) for key, value in size.items() if value is not None}
    if model_type not in _PATCHES and not {"height", "width"} <= size.keys() and "shortest_edge" not in size:
        raise ValueError(f"size is {size}: neither height and width nor shortest_edge")
    crop = config.get("crop_size", defaults.crop)
    if isinstance(crop, dict):
        crop = (int(crop["height"]), int(crop["width"]))
    elif crop is not None:
        crop = (int(crop), int(crop))
    resample = config.get("resample", defaults.resample)
    if resample not in (0, 1, 2, 3, 4, 5):
        raise ValueError(f"resample is {resample}, no filter of Pillow")
    scale = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
    mean, std = config.get("image_mean", defaults.mean), config.get("image_std", defaults.std)
    if not config.get("do_normalize", True):
        mean, std = (0.0,) * 3, (1.0,) * 3
    if len(mean) != 3 or len(std) != 3 or 0 in std:
        raise ValueError(f"image_mean and image_std are {mean} and {std}, not three numbers each")
    patches = model_type in _PATCHES
    return Preprocessor(
        size=size if config.get("do_resize", True) and not patches else None,
        crop=crop if config.get("do_center_crop", defaults.crop is not None) else None,
        resample=int(resample),
        scale=scale,
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        pad_to_square=model_type in _SQUARE_BY_PADDING and bool(config.get("do_pad", True)),
        scale_first=model_type in _SCALED_FIRST,
        patch=int(config.get("patch_size", 16)) if patches else 0,
        patches=int(config.get("max_num_patches", 256)) if patches else 0,
    )


def _target(height: int, width: int, size: dict[str, int]) -> tuple[int, int]:
    if "height" in size:
        return size["height"], size["width"]
    short, long = sorted((height, width))
    edge: float = size["shortest_edge"]
    if (longest := size.get("longest_edge")) and long * edge / short > longest:
        edge = longest * short / long  # DETR's rule, Grounding DINO's too: the long side wins
    scaled, edge = int(edge * long / short), round(edge)
    return (edge, scaled) if height <= width else (scaled, edge)


def _resized(image: Pixels, height: int, width: int, resample: int) -> Pixels:
    if image.shape[:2] == (height, width):
        return image
    from PIL import Image

    small = Image.fromarray(image).resize((max(width, 1), max(height, 1)), resample=Image.Resampling(resample))
    return np.asarray(small, np.uint8)


def _resized_unrounded(image: Pixels, height: int, width: int, resample: int) -> NDArray[np.float32]:
    """As `_resized`, but float32 between 0 and 255: scaling before or after a linear filter is the same."""
    from PIL import Image

    if image.shape[:2] == (height, width):
        return image.astype(np.float32)
    size, kind = (max(width, 1), max(height, 1)), Image.Resampling(resample)
    channels = (Image.fromarray(image[..., channel].astype(np.float32)) for channel in range(3))
    return np.stack([np.asarray(channel.resize(size, resample=kind), np.float32) for channel in channels], axis=-1)


def _centre(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    if top < 0 or left < 0:
        above, before = max(-top, 0), max(-left, 0)
        below, after = max(height - image.shape[0] - above, 0), max(width - image.shape[1] - before, 0)
        image = np.pad(image, ((above, below), (before, after), (0, 0)))
        top, left = max(top, 0), max(left, 0)
    return image[top : top + height, left : left + width]


def _size_in_patches(height: int, width: int, patch: int, patches: int) -> tuple[int, int]:
    """The largest size, in whole patches and about the image's proportions, of at most `patches` patches."""

    def scaled(scale: float) -> tuple[int, int]:
        high, wide = (max(patch, math.ceil(side * scale / patch) * patch) for side in (height, width))
        return high, wide

    low, high = 1e-6, 100.0
    while high - low >= 1e-5:  # transformers' search, to the same end
        middle = (low + high) / 2
        rows, columns = scaled(middle)
        if (rows / patch) * (columns / patch) <= patches:
            low = middle
        else:
            high = middle
    return scaled(low)
