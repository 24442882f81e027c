"""A clip from an image: everything drawn, the background completed, the frames rendered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovforge.synthesis.clips.layers import LEAST_AREA, Scene, divide
from ovforge.synthesis.clips.looks import Looks, draw_looks, plain_looks
from ovforge.synthesis.clips.motion import PRESETS, Paths, draw_paths, ovtrack_paths, viewport_margins
from ovforge.synthesis.clips.plate import Plate, make_plate
from ovforge.synthesis.clips.render import Frame, render
from ovforge.synthesis.randomness import generator


@dataclass(frozen=True)
class ClipSettings:
    """What decides a clip, besides its image.

    Attributes:
        frames: frames of a clip, the image itself the first.
        motion: `ovtrack`, `video` or `hard`.
        gap: how many video frames two frames of a clip are apart.
        min_area: square pixels; larger objects may move by themselves.
        seed: of all random numbers.
    """

    frames: int = 5
    motion: str = "video"
    gap: float = 15.0
    min_area: float = LEAST_AREA
    seed: int = 0


@dataclass(frozen=True)
class ClipPlan:
    """A clip before its background is repainted and its frames are rendered."""

    scene: Scene
    paths: Paths
    looks: Looks
    plate: Plate


def plan_clip(
    image: NDArray[np.uint8],
    rles: Sequence[dict[str, Any]],
    crowd: Sequence[bool],
    settings: ClipSettings,
    *,
    image_id: int,
    variant: int = 0,
) -> ClipPlan:
    """Draw a clip's paths and looks, and complete its background.

    Args:
        image: uint8 RGB (height, width, 3).
        rles: COCO run-length masks of all annotated objects, none of them empty.
        crowd: for each whether it is a crowd region.
        image_id, variant: the key of the random numbers, with the settings' seed.
    """
    height, width = image.shape[:2]

    def draws(purpose: str) -> np.random.Generator:
        return generator(settings.seed, image_id, variant, f"clip {purpose}")

    if settings.motion == "ovtrack":
        scene = divide(rles, crowd, width, height, min_area=float("inf"))
        paths = ovtrack_paths(scene, settings.frames, [draws(f"motion {k}") for k in range(1, settings.frames)])
        looks = plain_looks(settings.frames)
    else:
        preset = PRESETS[settings.motion]
        scene = divide(rles, crowd, width, height, min_area=settings.min_area)
        paths = draw_paths(scene, preset, settings.frames, settings.gap, draws)
        looks = draw_looks(preset, settings.frames, settings.gap, draws)
    plate = make_plate(image, scene, viewport_margins(paths.camera, width, height))
    return ClipPlan(scene, paths, looks, plate)


def render_clip(image: NDArray[np.uint8], plan: ClipPlan) -> Iterator[Frame]:
    """The frames of a planned clip, the image itself first."""
    return render(image, plan.scene, plate=plan.plate, paths=plan.paths, looks=plan.looks)
