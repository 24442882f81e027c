"""How a second view is composed and what of it is labelled: the choices that a run's engine and options lead to."""

from __future__ import annotations

from enum import Enum


class Outside(str, Enum):
    """What is seen where the moved image does not reach."""

    COMPLETED = "completed"
    """The image without its annotated objects, completed and continued beyond the moved image's border."""
    ORIGINAL = "original"
    """The original image, its objects included, as in OVTrack: an object may be seen twice."""


class Repaint(str, Enum):
    """What a repainting engine repaints."""

    BACKGROUND = "background"
    """Everything but the objects that are kept, as in OVTrack."""
    HOLES = "holes"
    """Only what the motion uncovered: the moved image's own pixels stay."""


class Labels(str, Enum):
    """Which annotated objects a second view keeps and labels."""

    ALL = "all"
    """All of them, whatever their size; crowd regions, and objects of which only a box is known, as ignore regions."""
    KEPT = "kept"
    """Those above the smallest area. Others are removed before the engine repaints, or become ignore regions."""
    OVTRACK = "ovtrack"
    """Those above the smallest area, as in OVTrack. Others are left to chance, without a label."""
