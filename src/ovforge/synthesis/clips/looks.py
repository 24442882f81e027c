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

_STRETCH = 1 << 18
"""Values of noise, of which every piece of a frame takes some that lie together."""
_PIECE = 1 << 17
"""Values of a frame that get their noise at a time."""


@dataclass(frozen=True)
class Looks:
    """The looks of all frames of a clip; frame 0 is the image itself and has none.

    Attributes:
        gains: float64 (frames, 3): what red, green and blue are multiplied by.
        noise: standard deviation of the sensor noise, in levels of 255.
        noise_key: of the random numbers that say where in the stretch of noise each piece of each frame begins.
        exposure: share of the time between two frames for which the shutter is open.
    """

    gains: NDArray[np.float64]
    noise: float
    noise_key: int
    exposure: float


def draw_looks(preset: Preset, frames: int, gap: float, generators: Generators) -> Looks:
    """Draw the looks of a clip of `frames` frames, each `gap` video frames after the one before."""
    rng = generators("looks")
    # In eighths, so that a worker's clips share their stretches of noise.
    noise, step = round(8 * rng.uniform(*preset.noise)) / 8, math.sqrt(min(gap / 15, 2.0))
    draws = rng.standard_normal((frames - 1, 3))
    drift = np.zeros((frames, 3))
    for frame in range(1, frames):
        drift[frame] = np.clip(0.9 * drift[frame - 1] + step * draws[frame - 1], -2.5, 2.5)
    gain, warm, green = (drift * (preset.gain, preset.tint, preset.tint / 2)).T
    gains = np.exp(np.stack([gain + warm, gain + green, gain - warm], axis=1))
    return Looks(gains, noise, int(rng.integers(1 << 62)), min(preset.shutter / gap, 1.0))


def plain_looks(frames: int) -> Looks:
    """Neither drift nor noise nor blur."""
    return Looks(np.ones((frames, 3)), 0.0, 0, 0.0)


@dataclass(frozen=True)
class Grain:
    """A clip's noise, split into what makes a pixel brighter and what makes it darker, so that plain additions do.

    Attributes:
        brighter, darker: uint8 (`_STRETCH`,).
        starts: for each frame, where in the stretch the noise of each of its pieces begins.
    """

    brighter: Image
    darker: Image
    starts: list[list[int]]

    def add_to(self, image: Image, frame: int) -> None:
        """Add a frame's noise, in place."""
        values = image.reshape(-1)
        for piece, start in enumerate(self.starts[frame]):
            some = values[piece * _PIECE : (piece + 1) * _PIECE]
            stop = start + len(some)
            cv2.add(some, self.brighter[start:stop], dst=some)
            cv2.subtract(some, self.darker[start:stop], dst=some)


def make_grain(looks: Looks, height: int, width: int) -> Grain | None:
    """The noise of a clip; None where there is none."""
    if looks.noise <= 0:
        return None
    pieces = -(-3 * height * width // _PIECE)
    rng = np.random.Generator(np.random.Philox(key=looks.noise_key))
    return Grain(*_split_noise(looks.noise), rng.integers(0, _STRETCH - _PIECE, (len(looks.gains), pieces)).tolist())


@functools.lru_cache(maxsize=16)
def _split_noise(spread: float) -> tuple[Image, Image]:
    levels = np.rint(_noise() * np.float32(spread))
    brighter, darker = (np.clip(part, 0, 255).astype(np.uint8) for part in (levels, -levels))
    return brighter, darker


@functools.cache
def _noise() -> NDArray[np.float32]:
    return np.random.Generator(np.random.Philox(key=13)).standard_normal(_STRETCH, dtype=np.float32)


def develop(
    image: Image, looks: Looks, frame: int, grain: Grain | None, tone: tuple[float, float] = (0.0, 1.0)
) -> Image:
    """Give a rendered frame its exposure, colour and noise.

    Args:
        image: uint8 (height, width, 4); the fourth channel is dropped.
        grain: of `make_grain`.
        tone: brightness and contrast, as in `synthesis.motion`.

    Returns:
        uint8 RGB (height, width, 3).
    """
    brightness, contrast = tone
    gains = looks.gains[frame] * contrast
    seen = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGBA2RGB), np.uint8)
    if brightness or np.any(gains != 1.0):
        cv2.transform(seen, np.column_stack([np.diag(gains), np.full(3, 255.0 * brightness)]), dst=seen)
    if grain is not None:
        grain.add_to(seen, frame)
    return seen


def exposures(matrices: Matrices, point: Sequence[float], exposure: float) -> NDArray[np.float64]:
    """How far a point of the image moves in each frame while the shutter is open: float64 (frames, 2), pixels."""
    moved = matrices @ np.array([*point, 1.0])
    at = moved[:, :2] / moved[:, 2:]
    around = np.concatenate([2 * at[:1] - at[1:2], at, 2 * at[-1:] - at[-2:-1]])  # as if it went on at both ends
    motion = (around[2:] - around[:-2]) / 2 * exposure
    length = np.hypot(motion[:, 0], motion[:, 1])
    motion *= np.minimum(1.0, LONGEST_BLUR / np.maximum(length, 1e-9))[:, None]
    motion[length < SHORTEST_BLUR] = 0
    return np.asarray(motion)


def is_identity(matrix: NDArray[np.float64]) -> bool:
    """Whether a matrix moves nothing."""
    return bool((matrix == _IDENTITY).all())


_IDENTITY = np.eye(3)


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
        The warped image; the image itself, or a part of it, where the warp changes nothing.
    """
    shifts = []
    rest = (float(motion[0]), float(motion[1]))
    while math.hypot(*rest) / 2 >= SHORTEST_BLUR / 2:
        rest = (rest[0] / 2, rest[1] / 2)
        shifts.append((round(rest[0]), round(rest[1])))
    extra_x, extra_y = sum(abs(x) for x, _ in shifts), sum(abs(y) for _, y in shifts)
    x, y, width, height = window
    if not shifts and is_identity(matrix) and y + height <= image.shape[0] and x + width <= image.shape[1]:
        return image[y : y + height, x : x + width]
    placed = np.array([[1, 0, extra_x / 2 - x], [0, 1, extra_y / 2 - y], [0, 0, 1]], np.float64) @ matrix
    warped = warp(image, placed, (width + extra_x, height + extra_y), cv2.INTER_LINEAR, border)
    for across, down in shifts:
        rows, columns = warped.shape[0] - abs(down), warped.shape[1] - abs(across)
        first = warped[max(-down, 0) :, max(-across, 0) :][:rows, :columns]
        second = warped[max(down, 0) :, max(across, 0) :][:rows, :columns]
        warped = np.asarray(cv2.addWeighted(first, 0.5, second, 0.5, 0), np.uint8)
    return warped
