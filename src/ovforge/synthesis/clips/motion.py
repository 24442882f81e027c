"""The paths of a clip: one of the camera and one of each group of objects that moves by itself.

A path is a chain of steps, one from each frame to the next. The sizes of its steps are drawn from the distribution
for the clip's gap and belong together, so that what moves fast goes on moving fast for a while, slows down, nearly
stops and speeds up again; directions turn slowly, and reverse at the bounds and by chance.

All matrices map pixels (x, y, 1) with pixel centres at whole numbers. In frame 0 nothing has moved: it is the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.synthesis.clips.layers import Box, Scene
from ovforge.synthesis.clips.spreads import Spread, Spreads, spread_for
from ovforge.synthesis.motion import draw_motion

Matrices = NDArray[np.float64]
"""float64 (frames, 3, 3)."""
Generators = Callable[[str], np.random.Generator]
"""The generator for a purpose, made again at each call."""

SHIFTS_BELONG, GROWTH_BELONGS = 0.6, 0.25
"""Share of a step size's variance that a whole path has in common: what is fast stays fast, but what grows fast soon
has no room to go on."""
MEMORY = 20.0
"""Video frames after which the rest of it has changed."""


@dataclass(frozen=True)
class Preset:
    """How much a clip moves.

    Attributes:
        pan, zoom: the camera's steps: share of the diagonal, absolute log area ratio.
        shift, growth: the same for a group's own steps.
        alone: by how much more the camera pans and zooms where nothing moves by itself.
        still: share of the clips with something that moves by itself whose camera stands still.
        closest: how far the camera zooms in at most, as a factor of length.
        roll, turn: degrees that the camera and a group turn in 15 video frames (standard deviation).
        stretch, slant: how a group bends in 15 video frames, so that its members move a little against one another:
            standard deviation of the logarithm of its width to its height, and of its sideways lean.
        smallest, largest: bounds of a group's own log area ratio.
        leaves: how many of the groups may go as far as out of the image, as a share.
        gain, tint: exposure and colour drift: standard deviation of the logarithm in 15 video frames.
        noise: standard deviation of the sensor noise, in levels of 255, from and to.
        shutter: for how many video frames the shutter is open.
    """

    pan: Spreads
    zoom: Spreads
    shift: Spreads
    growth: Spreads
    alone: tuple[float, float] = (1.8, 1.2)
    still: float = 0.4
    closest: float = 1.8
    roll: float = 1.0
    turn: float = 3.0
    stretch: float = 0.025
    slant: float = 0.02
    smallest: float = -2.2
    largest: float = 1.4
    leaves: float = 0.25
    gain: float = 0.04
    tint: float = 0.01
    noise: tuple[float, float] = (0.5, 2.0)
    shutter: float = 0.5


VIDEO = Preset(
    pan={5: Spread(0.003, 0.010, 0.035), 15: Spread(0.005, 0.025, 0.08), 30: Spread(0.015, 0.035, 0.10)},
    zoom={5: Spread(0.02, 0.11, 0.28), 15: Spread(0.015, 0.24, 0.9), 30: Spread(0.08, 0.46, 1.3)},
    shift={5: Spread(0.0108, 0.0158, 0.063), 15: Spread(0.0035, 0.043, 0.138), 30: Spread(0.031, 0.045, 0.164)},
    growth={5: Spread(0.0155, 0.121, 0.294), 15: Spread(0.0007, 0.163, 1.75), 30: Spread(0.095, 0.57, 5.5)},
)


def _times(spreads: Spreads, factor: float) -> Spreads:
    return {gap: spread.scaled(factor) for gap, spread in spreads.items()}


HARD = Preset(
    pan=_times(VIDEO.pan, 1.6),
    zoom=_times(VIDEO.zoom, 1.2),
    shift=_times(VIDEO.shift, 2.0),
    growth=_times(VIDEO.growth, 1.3),
    closest=2.2,
    roll=3.0,
    turn=10.0,
    stretch=0.05,
    slant=0.05,
    still=0.2,
    leaves=0.6,
    gain=0.12,
    tint=0.03,
    noise=(1.0, 5.0),
    shutter=0.8,
)

PRESETS = {"video": VIDEO, "hard": HARD}


@dataclass(frozen=True)
class Paths:
    """The paths of one clip.

    Attributes:
        camera: maps the image to each frame.
        groups: for each group of the scene, maps the image to each frame; where it does not move, the camera's own.
        tones: (brightness, contrast) of each frame, as in `synthesis.motion`; empty: unchanged.
    """

    camera: Matrices
    groups: tuple[Matrices, ...]
    tones: tuple[tuple[float, float], ...] = ()


def draw_paths(scene: Scene, preset: Preset, frames: int, gap: float, generators: Generators) -> Paths:
    """Draw the paths of a clip of `frames` frames, each `gap` video frames after the one before."""
    moving = scene.moving()
    rng = generators("camera")
    stands = rng.random() < preset.still and bool(moving)
    if not moving:
        preset = replace(preset, pan=_times(preset.pan, preset.alone[0]), zoom=_times(preset.zoom, preset.alone[1]))
    camera = _camera(rng, preset, frames, gap, size=(scene.width, scene.height))
    if stands:
        camera = np.repeat(np.eye(3)[None], frames, axis=0)
    groups = []
    for position, group in enumerate(scene.groups):
        if not group.moves:
            groups.append(camera)
            continue
        others = [scene.groups[other].box for other in moving if other != position]
        # Keyed by the group's place among those that move: another's path does not change it.
        rng = generators(f"path {position}")
        own = _own_path(rng, preset, gap, camera, scene=scene, box=group.box, others=others)
        groups.append(camera @ own)
    return Paths(camera, tuple(groups))


def ovtrack_paths(scene: Scene, frames: int, draws: Sequence[np.random.Generator]) -> Paths:
    """Every frame but the first is a second view of its own, as OVTrack's: no object moves by itself.

    Args:
        draws: a generator for each frame but the first.
    """
    motions = [draw_motion(rng, scene.width, scene.height) for rng in draws[: frames - 1]]
    camera = np.stack([np.eye(3), *(motion.array() for motion in motions)])
    tones = ((0.0, 1.0), *((motion.brightness, motion.contrast) for motion in motions))
    return Paths(camera, tuple(camera for _ in scene.groups), tones)


def viewport_margins(camera: Matrices, width: int, height: int, most: float = 0.75) -> tuple[int, int, int, int]:
    """By how many pixels the camera looks beyond the image: top, bottom, left, right; at most a share of its side."""
    corners = np.array([[[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]], np.float64)
    seen = np.concatenate([cv2.perspectiveTransform(corners, np.linalg.inv(matrix))[0] for matrix in camera])
    low, high = seen.min(axis=0), seen.max(axis=0)
    limits = (height * most, height * most, width * most, width * most)
    beyond = (-low[1], high[1] - (height - 1), -low[0], high[0] - (width - 1))
    top, bottom, left, right = (int(min(max(math.ceil(b - 1e-6), 0), m)) for b, m in zip(beyond, limits, strict=True))
    return top, bottom, left, right


def _sizes(rng: np.random.Generator, spread: Spread, steps: int, gap: float, belongs: float) -> NDArray[np.float64]:
    """The sizes of a path's steps: each of the distribution, neighbours alike."""
    keep = math.exp(-gap / MEMORY)
    common, drawn = rng.standard_normal(), rng.standard_normal(steps)
    changing = np.empty(steps)
    last = rng.standard_normal()
    for step in range(steps):
        last = keep * last + math.sqrt(1 - keep * keep) * drawn[step]
        changing[step] = last
    return spread.at(math.sqrt(belongs) * common + math.sqrt(1 - belongs) * changing)


def _bounded_walk(
    rng: np.random.Generator, sizes: NDArray[np.float64], low: float, high: float, reverses: float
) -> NDArray[np.float64]:
    """A walk from 0 with steps of the given sizes that turns round at its bounds, and now and then by chance."""
    turns, sign = rng.random(len(sizes)), 1.0 if rng.random() < high / max(high - low, 1e-9) else -1.0
    values, at = [0.0], 0.0
    for size, turn in zip(sizes.tolist(), turns.tolist(), strict=True):
        if turn < reverses:
            sign = -sign
        room = high - at if sign > 0 else at - low
        if size > 2 * room:  # a step that fits by half ends at the bound
            sign = 1.0 if high - at > at - low else -1.0
        at = min(max(at + sign * size, low), high)
        values.append(at)
    return np.array(values)


def _drift(rng: np.random.Generator, steps: int, spread: float, bound: float) -> NDArray[np.float64]:
    """A slow wandering from 0 that is drawn back to 0."""
    values, at = [0.0], 0.0
    for draw in rng.standard_normal(steps).tolist():
        at = min(max(0.85 * at + spread * draw, -bound), bound)
        values.append(at)
    return np.array(values)


def _camera(rng: np.random.Generator, preset: Preset, frames: int, gap: float, *, size: tuple[int, int]) -> Matrices:
    """The camera's matrices. It turns, zooms and pans inside the photograph and never shows what lies beyond it."""
    width, height = size
    steps = frames - 1
    reverses = 1 - math.exp(-gap / 60)
    logs = _bounded_walk(
        rng,
        _sizes(rng, spread_for(preset.zoom, gap), steps, gap, GROWTH_BELONGS),
        0.0,
        2 * math.log(preset.closest),
        reverses,
    )
    rolls = np.radians(_drift(rng, steps, preset.roll * math.sqrt(gap / 15), 2.5 * preset.roll))
    pans = _sizes(rng, spread_for(preset.pan, gap), steps, gap, SHIFTS_BELONG) * math.hypot(width, height)
    headings = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, 0.35 * math.sqrt(gap / 15), steps))
    matrices = [np.eye(3)]
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    x = y = 0.0
    flip_x = flip_y = 1.0
    for step in range(1, frames):
        roll = float(rolls[step])
        across, down = abs(math.cos(roll)), abs(math.sin(roll))
        needed = max(across + down * middle_y / middle_x, across + down * middle_x / middle_y)
        zoom = max(math.exp(logs[step] / 2), needed)
        slack_x = middle_x - (middle_x * across + middle_y * down) / zoom
        slack_y = middle_y - (middle_x * down + middle_y * across) / zoom
        pan = pans[step - 1] / zoom
        move_x, move_y = pan * math.cos(headings[step - 1]), pan * math.sin(headings[step - 1])
        if abs(x + flip_x * move_x) > slack_x:
            flip_x = -flip_x
        if abs(y + flip_y * move_y) > slack_y:
            flip_y = -flip_y
        x = min(max(x + flip_x * move_x, -slack_x), slack_x)
        y = min(max(y + flip_y * move_y, -slack_y), slack_y)
        matrices.append(_similarity(zoom, roll, (middle_x + x, middle_y + y), (middle_x, middle_y)))
    return np.stack(matrices)


def _own_path(
    rng: np.random.Generator,
    preset: Preset,
    gap: float,
    camera: Matrices,
    *,
    scene: Scene,
    box: Box,
    others: Sequence[Box],
) -> Matrices:
    """A group's own motion in the image's plane."""
    steps = len(camera) - 1
    width, height = scene.width, scene.height
    centre = np.array([box[0] + (box[2] - 1) / 2, box[1] + (box[3] - 1) / 2])
    shifts = _sizes(rng, spread_for(preset.shift, gap), steps, gap, SHIFTS_BELONG) * math.hypot(width, height)
    largest = max(min(preset.largest, 2 * math.log(0.85 * min(width / box[2], height / box[3]))), 0.15)
    growth = _bounded_walk(
        rng,
        _sizes(rng, spread_for(preset.growth, gap), steps, gap, GROWTH_BELONGS),
        preset.smallest,
        largest,
        1 - math.exp(-gap / 60),
    )
    turns = np.radians(_drift(rng, steps, preset.turn * math.sqrt(gap / 15), 3 * preset.turn))
    bends, reversals = rng.normal(0, 0.35 * math.sqrt(gap / 15), steps), rng.random(steps)
    leaves, aims = rng.random(2)
    heading = rng.uniform(0, 2 * math.pi)
    stretch, slant = (
        _drift(rng, steps, spread * math.sqrt(gap / 15), 3 * spread) for spread in (preset.stretch, preset.slant)
    )
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    # Out of the image at the nearest side, or across the image past another group.
    if leaves < preset.leaves:
        heading = _angle(centre - middle, heading)
    elif others and aims < 0.6:
        other = others[int(rng.integers(len(others)))]
        heading = _angle(np.array([other[0] + other[2] / 2, other[1] + other[3] / 2]) - centre, heading)
    matrices, at = [np.eye(3)], centre.copy()
    for step in range(1, len(camera)):
        scale = math.exp(growth[step] / 2)
        lens = camera[step]
        zoom = math.hypot(lens[0, 0], lens[1, 0])
        half = np.array([box[2], box[3]]) * scale * zoom / 2
        # Where the centre may be in the frame: well inside, or as far out as the whole object is wide.
        room = half * 1.15 if leaves < preset.leaves else -np.minimum(half * 0.5, 0.2 * middle)
        if reversals[step - 1] < 1 - math.exp(-gap / 90):
            heading += math.pi
        heading += bends[step - 1]
        size = shifts[step - 1] / zoom
        moved = at + size * np.array([math.cos(heading), math.sin(heading)])
        seen = lens[:2, :2] @ moved + lens[:2, 2]
        if np.any(seen < -room) or np.any(seen > 2 * middle + room):
            inward = np.linalg.solve(lens[:2, :2], middle - lens[:2, 2]) - at
            heading = _angle(inward, heading) + 0.5 * bends[step - 1]
            moved = at + size * np.array([math.cos(heading), math.sin(heading)])
        at = moved
        bent = _bend(float(stretch[step]), float(slant[step]), tuple(centre))
        matrices.append(_similarity(scale, float(turns[step]), tuple(centre), tuple(at)) @ bent)
    return np.stack(matrices)


def _angle(direction: NDArray[np.float64], otherwise: float) -> float:
    if float(np.hypot(*direction)) < 1:
        return otherwise
    return math.atan2(float(direction[1]), float(direction[0]))


def _bend(stretch: float, slant: float, centre: tuple[float, ...]) -> NDArray[np.float64]:
    """Widen by exp(stretch), flatten by as much, and lean sideways, about a centre; the area stays."""
    wide = math.exp(stretch)
    x, y = centre
    return np.array(
        [[wide, slant, x - wide * x - slant * y], [0, 1 / wide, y - y / wide], [0, 0, 1]],
        np.float64,
    )


def _similarity(scale: float, angle: float, before: tuple[float, ...], after: tuple[float, ...]) -> NDArray[np.float64]:
    """Scale and turn (radians) about `before`, which goes to `after`."""
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    return np.array(
        [
            [cosine, -sine, after[0] - cosine * before[0] + sine * before[1]],
            [sine, cosine, after[1] - sine * before[0] - cosine * before[1]],
            [0, 0, 1],
        ],
        np.float64,
    )
