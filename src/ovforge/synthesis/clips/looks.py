"""How a camera sees: exposure and colour that drift, blur along the motion, sensor noise."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.synthesis.clips.layers import Box
from ovforge.synthesis.clips.motion import Generators, Matrices, Preset

Image = NDArray[np.uint8]

LONGEST_BLUR = 16.0
"""Pixels."""
SHORTEST_BLUR = 1.4
"""Pixels; shorter motion within an exposure cannot be seen."""

_TILE = 512
_TILE_SPREAD = 24.0
"""Standard deviation of the noise tile, in levels."""


@dataclass(frozen=True)
class Looks:
    """The looks of all frames of a clip; frame 0 is the image itself and has none.

    Attributes:
        gains: float64 (frames, 3): what red, green and blue are multiplied by.
        noise: standard deviation of the sensor noise, in levels of 255.
        noise_at: int64 (frames, 3, 2): where in the tile of noise each colour of each frame starts.
        exposure: share of the time between two frames for which the shutter is open.
    """

    gains: NDArray[np.float64]
    noise: float
    noise_at: NDArray[np.int64]
    exposure: float


def draw_looks(preset: Preset, frames: int, gap: float, generators: Generators) -> Looks:
    """Draw the looks of a clip of `frames` frames, each `gap` video frames after the one before."""
    rng = generators("looks")
    noise, step = rng.uniform(*preset.noise), math.sqrt(min(gap / 15, 2.0))
    draws = rng.standard_normal((frames - 1, 3))
    drift = np.zeros((frames, 3))
    for frame in range(1, frames):
        drift[frame] = np.clip(0.9 * drift[frame - 1] + step * draws[frame - 1], -2.5, 2.5)
    gain, warm, green = (drift * (preset.gain, preset.tint, preset.tint / 2)).T
    gains = np.exp(np.stack([gain + warm, gain + green, gain - warm], axis=1))
    return Looks(gains, float(noise), rng.integers(0, _TILE, (frames, 3, 2)), min(preset.shutter / gap, 1.0))


def plain_looks(frames: int) -> Looks:
    """Neither drift nor noise nor blur."""
    return Looks(np.ones((frames, 3)), 0.0, np.zeros((frames, 3, 2), np.int64), 0.0)


def develop(image: Image, looks: Looks, frame: int, tone: tuple[float, float] = (0.0, 1.0)) -> Image:
    """Give a rendered frame its exposure, colour and noise.

    Args:
        image: uint8 (height, width, 3 or 4); a fourth channel is dropped.
        tone: brightness and contrast, as in `synthesis.motion`.

    Returns:
        uint8 RGB (height, width, 3).
    """
    brightness, contrast = tone
    gains = looks.gains[frame] * contrast
    height, width = image.shape[:2]
    noise = _noise_tile(height, width) if looks.noise > 0 else None
    planes = []
    plane = np.empty((height, width), np.uint8)
    for channel in range(3):
        gain = float(gains[channel])
        cv2.extractChannel(image, channel, dst=plane)
        if noise is not None:
            y, x = looks.noise_at[frame, channel].tolist()
            scale = looks.noise / _TILE_SPREAD
            grain = noise[y : y + height, x : x + width]
            planes.append(cv2.addWeighted(plane, gain, grain, scale, 255 * brightness - 128 * scale))
        elif gain != 1.0 or brightness:
            levels = np.clip(np.rint(np.arange(256) * gain + 255 * brightness), 0, 255).astype(np.uint8)
            planes.append(cv2.LUT(plane, levels))
        else:
            planes.append(plane.copy())
    return np.asarray(cv2.merge(planes), np.uint8)


def _noise_tile(height: int, width: int) -> NDArray[np.uint8]:
    """Noise around 128, large enough for a frame that starts anywhere in the first `_TILE` rows and columns."""
    return _repeated_noise(-(-height // _TILE) + 1, -(-width // _TILE) + 1)


@functools.lru_cache(maxsize=4)
def _repeated_noise(down: int, across: int) -> NDArray[np.uint8]:
    tile = np.random.Generator(np.random.Philox(key=13)).standard_normal((_TILE, _TILE), dtype=np.float32)
    levels = np.clip(np.rint(tile * _TILE_SPREAD + 128), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.tile(levels, (down, across)))


def exposures(matrices: Matrices, point: Sequence[float], exposure: float) -> NDArray[np.float64]:
    """How far a point of the image moves in each frame while the shutter is open: float64 (frames, 2), pixels."""
    at = np.stack([cv2.perspectiveTransform(np.array([[point]], np.float64), matrix)[0, 0] for matrix in matrices])
    motion = np.gradient(at, axis=0) * exposure
    length = np.hypot(motion[:, 0], motion[:, 1])
    motion *= np.minimum(1.0, LONGEST_BLUR / np.maximum(length, 1e-9))[:, None]
    motion[length < SHORTEST_BLUR] = 0
    return np.asarray(motion)


def warp(image: Image, matrix: NDArray[np.float64], size: tuple[int, int], flags: int, border: int) -> Image:
    """Warp an image to (width, height); black beyond a constant border."""
    if matrix[2, 0] == matrix[2, 1] == 0.0 and matrix[2, 2] == 1.0:
        return np.asarray(cv2.warpAffine(image, matrix[:2], size, flags=flags, borderMode=border), np.uint8)
    return np.asarray(cv2.warpPerspective(image, matrix, size, flags=flags, borderMode=border), np.uint8)


def warp_blurred(
    image: Image, matrix: NDArray[np.float64], window: Box, motion: NDArray[np.float64], border: int
) -> Image:
    """Warp an image into a window of the frame, blurred along a straight motion around where it is.

    The mean of an image and its copy half the motion away, then of that and its copy a quarter away, and so on, is
    the mean of copies all along the motion.

    Args:
        image: uint8 (height, width, channels); 4 channels are warped three times as fast as 3.
        matrix: maps the image's pixels to the frame's.
        window: x, y, width, height in the frame.
        motion: (x, y) in pixels; zeros for none.
        border: OpenCV's border mode.

    Returns:
        The warped image; the image itself where the warp changes nothing.
    """
    shifts = []
    rest = (float(motion[0]), float(motion[1]))
    while math.hypot(*rest) / 2 >= SHORTEST_BLUR / 2:
        rest = (rest[0] / 2, rest[1] / 2)
        shifts.append((round(rest[0]), round(rest[1])))
    extra_x, extra_y = sum(abs(x) for x, _ in shifts), sum(abs(y) for _, y in shifts)
    x, y, width, height = window
    if not shifts and not (x or y) and image.shape[:2] == (height, width) and np.array_equal(matrix, np.eye(3)):
        return image
    placed = np.array([[1, 0, extra_x / 2 - x], [0, 1, extra_y / 2 - y], [0, 0, 1]], np.float64) @ matrix
    warped = warp(image, placed, (width + extra_x, height + extra_y), cv2.INTER_LINEAR, border)
    for across, down in shifts:
        rows, columns = warped.shape[0] - abs(down), warped.shape[1] - abs(across)
        first = warped[max(-down, 0) :, max(-across, 0) :][:rows, :columns]
        second = warped[max(down, 0) :, max(across, 0) :][:rows, :columns]
        warped = np.asarray(cv2.addWeighted(first, 0.5, second, 0.5, 0), np.uint8)
    return warped
