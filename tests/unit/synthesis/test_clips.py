"""Clips: what moves, along which paths, and whether pixels and truth say the same.

The images are painted from masks, so that every object is known to the pixel; the expected masks of a frame are worked
out by a method of their own: for every pixel of the frame, where in the image it comes from, layer by layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ovforge.synthesis.clips.clip import ClipPlan, ClipSettings, plan_clip, render_clip
from ovforge.synthesis.clips.layers import Scene, divide
from ovforge.synthesis.clips.looks import plain_looks
from ovforge.synthesis.clips.motion import PRESETS, Paths, draw_paths, viewport_margins
from ovforge.synthesis.clips.spreads import Spread, spread_for
from ovforge.synthesis.randomness import generator

WIDTH, HEIGHT = 320, 240


@dataclass(frozen=True)
class Painted:
    """An image, the masks (bool, full size) of its objects, and their run lengths."""

    image: NDArray[np.uint8]
    masks: list[NDArray[np.bool_]]
    rles: list[dict[str, Any]]
    crowd: list[bool]


def disc(x: float, y: float, radius: float) -> NDArray[np.bool_]:
    """A disc's mask."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


def rectangle(x: int, y: int, width: int, height: int) -> NDArray[np.bool_]:
    """A rectangle's mask."""
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[y : y + height, x : x + width] = True
    return mask


def paint(
    masks: list[NDArray[np.bool_]], colours: list[tuple[int, int, int]], crowd: list[bool] | None = None
) -> Painted:
    """Objects in plain colours, later ones over earlier ones, on a grey background with a little texture."""
    noise = np.random.default_rng(5).integers(-6, 7, (HEIGHT, WIDTH, 1))
    image = np.repeat(np.clip(120 + noise, 0, 255), 3, axis=2).astype(np.uint8)
    image = np.asarray(cv2.GaussianBlur(image, (3, 3), 0), np.uint8)
    for mask, colour in zip(masks, colours, strict=True):
        image[mask] = colour
    rles = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    return Painted(image, masks, rles, crowd or [False] * len(masks))


RED, GREEN, BLUE, YELLOW = (230, 20, 20), (20, 220, 20), (20, 20, 230), (230, 230, 20)


@pytest.fixture
def painted() -> Painted:
    """Two discs that can move, a small one that cannot, and a bar that the lower edge cuts off."""
    return paint(
        [disc(90, 90, 44), disc(220, 110, 40), disc(160, 30, 8), rectangle(120, 190, 90, 50)],
        [RED, GREEN, YELLOW, BLUE],
    )


def divided(masks: list[np.ndarray], crowd: list[bool] | None = None) -> Scene:
    painted = paint(masks, [RED, GREEN, BLUE][: len(masks)], crowd)
    return divide(painted.rles, painted.crowd, WIDTH, HEIGHT)


def test_an_object_inside_the_image_moves_by_itself() -> None:
    scene = divided([disc(100, 100, 40)])
    assert [group.moves for group in scene.groups] == [True]
    assert scene.groups[0].box == (60, 60, 81, 81)


@pytest.mark.parametrize(
    "mask",
    [
        disc(100, 100, 26),  # 2,121 pixels
        rectangle(0, 60, 90, 90),
        rectangle(1, 60, 90, 90),
        rectangle(100, HEIGHT - 91, 90, 91),
        rectangle(20, 20, WIDTH - 40, HEIGHT - 40),
    ],
    ids=["small", "at the left edge", "a pixel from the left edge", "at the lower edge", "most of the image"],
)
def test_what_is_small_cut_off_or_all_over_stays(mask: np.ndarray) -> None:
    assert not divided([mask]).moving()


def test_a_crowd_region_stays() -> None:
    assert not divided([disc(100, 100, 40)], [True]).moving()


def test_what_touches_or_is_contained_moves_together() -> None:
    player, racket, ball = disc(100, 100, 40), rectangle(142, 95, 30, 10), disc(100, 90, 6)
    scene = divided([player, racket, ball])
    assert [sorted(group.members) for group in scene.groups] == [[0, 1, 2]]
    assert scene.groups[0].moves
    shape = scene.group_mask(0) > 0
    assert shape[player | racket].all()
    assert shape[100, 141]  # the gap between the two moves with them
    assert not shape[100, 180]


def test_what_touches_something_at_the_edge_stays_with_it() -> None:
    scene = divided([disc(100, 100, 40), rectangle(60, 142, 90, HEIGHT - 142)])
    assert len(scene.groups) == 1
    assert not scene.moving()


def test_apart_are_apart() -> None:
    scene = divided([disc(80, 100, 40), rectangle(127, 60, 80, 80)])
    assert len(scene.groups) == 2
    assert len(scene.moving()) == 2


def test_what_stands_lower_is_nearer() -> None:
    scene = divided([disc(80, 80, 40), disc(200, 100, 40)])
    assert scene.groups[1].nearness > scene.groups[0].nearness


def test_the_largest_stay_where_too_much_would_move() -> None:
    large = [rectangle(4, 4, 150, 180), rectangle(165, 4, 150, 185)]
    scene = divided(large)
    assert scene.moving() == [0]


def planned(painted: Painted, **settings: Any) -> ClipPlan:
    return plan_clip(painted.image, painted.rles, painted.crowd, ClipSettings(**settings), image_id=7)


def shifted(plan: ClipPlan, shifts: dict[int, list[tuple[float, float]]], frames: int) -> ClipPlan:
    """The plan with a still camera, plain looks, and the given offsets of groups in each frame."""
    camera = np.repeat(np.eye(3)[None], frames, axis=0)
    groups = []
    for position in range(len(plan.scene.groups)):
        matrices = camera.copy()
        for frame, (x, y) in enumerate(shifts.get(position, [])):
            matrices[frame, 0, 2], matrices[frame, 1, 2] = x, y
        groups.append(matrices)
    return replace(plan, paths=Paths(camera, tuple(groups)), looks=plain_looks(frames))


def group_of(scene: Scene, index: int) -> int:
    return next(position for position, group in enumerate(scene.groups) if index in group.members)


def expected_masks(painted: Painted, scene: Scene, camera: Any, groups: Any) -> tuple[list[Any], list[Any]]:
    """The visible and the whole mask of every object in a frame, by looking each pixel up in the image."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([columns.ravel(), rows.ravel(), np.ones(WIDTH * HEIGHT)])

    def looked_up(mask: NDArray[np.bool_], matrix: NDArray[np.float64]) -> NDArray[np.bool_]:
        x, y, w = np.linalg.inv(matrix) @ pixels
        x, y = np.floor(x / w + 0.5).astype(int), np.floor(y / w + 0.5).astype(int)
        inside = (x >= 0) & (y >= 0) & (x < WIDTH) & (y < HEIGHT)
        found = np.zeros(WIDTH * HEIGHT, np.bool_)
        found[inside] = mask[y[inside], x[inside]]
        return found.reshape(HEIGHT, WIDTH)

    whole = [looked_up(mask, groups[group_of(scene, i)]) for i, mask in enumerate(painted.masks)]
    visible = []
    for index, mask in enumerate(whole):
        mine = scene.groups[group_of(scene, index)]
        seen = mask.copy()
        for position, other in enumerate(scene.groups):
            in_front = other.nearness > mine.nearness and (other.moves or mine.moves)
            if in_front:
                shape = scene.group_mask(position) > 0 if other.moves else scene.union(other.members) > 0
                seen &= ~looked_up(shape, groups[position])
        visible.append(seen)
    return visible, whole


def near_an_edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    around = np.ones((3, 3), np.uint8)
    padded = mask.astype(np.uint8)
    return np.asarray(cv2.dilate(padded, around) != cv2.erode(padded, around))


@pytest.fixture
def grouped() -> Painted:
    """A group of three (one inside another, one beside it), and a disc, that can move."""
    return paint(
        [disc(90, 90, 40), rectangle(133, 80, 40, 40), disc(85, 80, 12), disc(240, 150, 42)],
        [RED, GREEN, YELLOW, BLUE],
    )


@pytest.mark.parametrize("scene", ["painted", "grouped"])
@pytest.mark.parametrize("motion", ["video", "hard", "ovtrack"])
def test_masks_and_visibility_agree_with_a_plain_method(
    scene: str, motion: str, request: pytest.FixtureRequest
) -> None:
    painted: Painted = request.getfixturevalue(scene)
    covered = outside = 0
    for seed in range(4):
        plan = planned(painted, frames=8, motion=motion, gap=30, seed=seed)
        for number, frame in enumerate(render_clip(painted.image, plan)):
            groups = [matrices[number] for matrices in plan.paths.groups]
            visible, whole = expected_masks(painted, plan.scene, plan.paths.camera[number], groups)
            for index, truth in enumerate(frame.objects):
                found = truth.full_mask(WIDTH, HEIGHT) > 0
                edges = np.any([near_an_edge(mask) for mask in whole], axis=0)
                assert not ((found != visible[index]) & ~edges).any()
                assert truth.area == found.sum()
                rows, columns = np.nonzero(found)
                if truth.area:
                    x, y = columns.min(), rows.min()
                    assert truth.box == [x, y, columns.max() + 1 - x, rows.max() + 1 - y]
                else:
                    assert truth.box == [0, 0, 0, 0]
                # A few pixels at the edge of a small object are much of it.
                matrix = groups[group_of(plan.scene, index)]
                full = moved_area(painted.masks[index], matrix)
                assert truth.visibility == pytest.approx(min(visible[index].sum() / full, 1), abs=0.02 + 8 / full)
                assert truth.outside == (not whole[index].any()) or whole[index].sum() < 4
                covered += truth.occluded
                outside += truth.outside
    if motion == "hard" and scene == "painted":
        assert covered and outside, "no object was ever covered or outside: this has tested little"


def moved_area(mask: NDArray[np.bool_], matrix: NDArray[np.float64]) -> float:
    """The area of a mask's pixels after a motion, by the corners of each pixel's square."""
    rows, columns = np.nonzero(mask)
    corners = np.stack([np.stack([columns + dx, rows + dy], 1) for dx, dy in _SQUARE], 1).astype(np.float64)
    moved = cv2.perspectiveTransform(corners.reshape(-1, 1, 2), matrix).reshape(-1, 4, 2)
    x, y = moved[..., 0], moved[..., 1]
    crossed = x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y
    return float(np.abs(crossed.sum(axis=1)).sum() / 2)


_SQUARE = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))


def test_the_first_frame_is_the_image(painted: Painted) -> None:
    first = next(render_clip(painted.image, planned(painted)))
    assert np.array_equal(first.image, painted.image)
    for truth, mask in zip(first.objects, painted.masks, strict=True):
        assert np.array_equal(truth.full_mask(WIDTH, HEIGHT) > 0, mask)
        assert (truth.visibility, truth.occluded, truth.outside) == (1, False, False)
        assert truth.box == [round(v) for v in truth.amodal_box]


def test_pixels_are_where_the_truth_says(painted: Painted) -> None:
    """Every object has its own colour: its pixels, and only its pixels, have it."""
    colours = [RED, GREEN, YELLOW, BLUE]
    plan = planned(painted, frames=4, motion="hard", gap=30, seed=3)
    plan = replace(plan, looks=plain_looks(4))
    for frame in list(render_clip(painted.image, plan))[1:]:
        for index, (truth, colour) in enumerate(zip(frame.objects, colours, strict=True)):
            near = np.abs(frame.image.astype(int) - colour).max(axis=2) < 60
            mask = truth.full_mask(WIDTH, HEIGHT)
            inner = cv2.erode(mask, np.ones((9, 9), np.uint8), borderValue=0) > 0
            outer = cv2.dilate(mask, np.ones((7, 7), np.uint8)) > 0
            assert near[inner].all(), f"object {index} is labelled where it is not"
            assert not (near & ~outer).any(), f"object {index} shows where it is not labelled"


def test_no_moved_object_is_left_in_the_background(painted: Painted) -> None:
    plan = planned(painted, frames=3)
    for colour in (RED, GREEN):
        assert np.abs(plan.plate.image.astype(int) - colour).max(axis=2).min() > 60
    still = painted.masks[3]
    assert np.array_equal(plan.plate.image[still], painted.image[still])
    kept = plan.plate.hole == 0
    assert np.array_equal(plan.plate.image[kept], painted.image[kept])


def test_an_object_is_covered_leaves_and_comes_back(painted: Painted) -> None:
    plan = planned(painted, frames=5)
    scene = plan.scene
    left, right = group_of(scene, 0), group_of(scene, 1)
    assert scene.groups[right].nearness > scene.groups[left].nearness
    # The left disc passes behind the right one, leaves the image, and comes back.
    plan = shifted(plan, {left: [(0, 0), (130, 20), (300, 0), (90, 0), (0, 0)]}, 5)
    frames = list(render_clip(painted.image, plan))
    seen = [frame.objects[0] for frame in frames]
    assert [truth.outside for truth in seen] == [False, False, True, False, False]
    assert [truth.occluded for truth in seen] == [False, True, False, True, False]
    assert seen[1].visibility < 0.25
    assert seen[2].visibility == 0
    assert seen[2].box == [0, 0, 0, 0]
    assert seen[2].amodal_box == [346, 46, 89, 89]
    assert seen[4].visibility == 1
    # What is in front is not covered, whatever is behind it.
    assert all(frame.objects[1].visibility == 1 for frame in frames)
    assert np.abs(frames[1].image[110, 220].astype(int) - GREEN).max() < 10


def test_what_passes_behind_something_that_stays_is_covered_by_it(painted: Painted) -> None:
    plan = planned(painted, frames=2)
    left = group_of(plan.scene, 0)
    plan = shifted(plan, {left: [(0, 0), (60, 100)]}, 2)
    frame = list(render_clip(painted.image, plan))[1]
    assert frame.objects[0].occluded
    assert 0.2 < frame.objects[0].visibility < 0.8
    assert frame.objects[3].visibility == 1
    assert np.abs(frame.image[215, 150].astype(int) - BLUE).max() < 10


@pytest.mark.parametrize("motion", ["video", "hard"])
@pytest.mark.parametrize("size", [(320, 240), (240, 320), (64, 400)])
def test_the_camera_never_looks_beyond_the_image(motion: str, size: tuple[int, int]) -> None:
    scene = divide([], [], *size)
    for seed in range(20):
        paths = draw_paths(scene, PRESETS[motion], 16, 30, lambda purpose, s=seed: generator(s, 1, 0, purpose))
        assert viewport_margins(paths.camera, *size) == (0, 0, 0, 0)
        assert np.array_equal(paths.camera[0], np.eye(3))


def test_what_does_not_move_by_itself_moves_with_the_camera(painted: Painted) -> None:
    plan = planned(painted, frames=8, seed=1)
    for index in (2, 3):
        assert np.array_equal(plan.paths.groups[group_of(plan.scene, index)], plan.paths.camera)
    assert not np.array_equal(plan.paths.groups[group_of(plan.scene, 0)], plan.paths.camera)


def test_frames_of_ovtracks_motion_are_second_views(painted: Painted) -> None:
    plan = planned(painted, frames=4, motion="ovtrack", seed=2)
    assert not plan.scene.moving()
    assert len({matrix.tobytes() for matrix in plan.paths.camera}) == 4
    assert len(list(render_clip(painted.image, plan))) == 4
    # Beyond the photograph there is background, and no part of an object that the edge cuts off.
    assert plan.plate.image.shape != painted.image.shape
    y, x = -plan.plate.corner[1], -plan.plate.corner[0]
    beyond = np.ones(plan.plate.image.shape[:2], np.bool_)
    beyond[y - 3 : y + HEIGHT + 3, x - 3 : x + WIDTH + 3] = False  # but for the soft transition
    for colour in (RED, GREEN, BLUE, YELLOW):
        distance = np.abs(plan.plate.image.astype(int) - colour).max(axis=2)
        assert distance[beyond].min() > 60


def test_a_clip_depends_on_its_key_alone(painted: Painted) -> None:
    def pixels(**settings: Any) -> list[bytes]:
        return [frame.image.tobytes() for frame in render_clip(painted.image, planned(painted, **settings))]

    first = pixels(frames=4, seed=5)
    pixels(frames=3, seed=6)
    assert pixels(frames=4, seed=5) == first
    assert pixels(frames=4, seed=6)[1:] != first[1:]


def test_noise_is_new_in_every_frame() -> None:
    painted = paint([disc(160, 120, 40)], [RED])
    plan = planned(painted, frames=4, motion="hard")
    still = np.repeat(np.eye(3)[None], 4, axis=0)
    looks = replace(plan.looks, gains=np.ones((4, 3)), noise=3.0)
    plan = replace(plan, paths=Paths(still, (still,)), looks=looks)
    frames = [frame.image.astype(int) for frame in render_clip(painted.image, plan)][1:]
    for first, second in ((0, 1), (1, 2), (0, 2)):
        difference = (frames[first] - frames[second])[:60, :60]
        assert difference.std() == pytest.approx(3 * 2**0.5, rel=0.1)
        assert abs(difference.mean()) < 0.2


def test_blur_follows_the_motion() -> None:
    painted = paint([rectangle(100, 80, 80, 80)], [(255, 255, 255)])
    plan = planned(painted, frames=3)
    group = plan.scene.moving()[0]
    plan = shifted(plan, {group: [(0, 0), (40, 0), (80, 0)]}, 3)
    plan = replace(plan, looks=replace(plan.looks, exposure=0.3))
    frame = list(render_clip(painted.image, plan))[1].image[..., 0].astype(float)

    def width_of_edge(line: NDArray[np.float64]) -> int:
        return int(((line > 140) & (line < 240)).sum())

    # 12 pixels in the time of the exposure: the edges across the motion are soft, those along it are not.
    assert 6 <= width_of_edge(frame[120, 120:180]) <= 14
    assert width_of_edge(frame[60:110, 180]) <= 3
    assert frame[120, 180] == 255


def test_the_median_of_a_step_grows_with_the_gap() -> None:
    spreads = {5: Spread(1, 2, 3), 15: Spread(2, 4, 6)}
    assert spread_for(spreads, 5) == Spread(1, 2, 3)
    assert spread_for(spreads, 1).middle == pytest.approx(0.4)
    assert 2 < spread_for(spreads, 10).middle < 4
    assert spread_for(spreads, 60) == Spread(2, 4, 6)


def test_a_spread_has_its_percentiles() -> None:
    spread = Spread(0.01, 0.05, 0.4)
    sizes = spread.at(np.random.default_rng(0).standard_normal(40_000))
    assert np.percentile(sizes, [10, 50, 90]) == pytest.approx([0.01, 0.05, 0.4], rel=0.05)
