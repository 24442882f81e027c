"""What a judge says of the objects of second views; kept beside a merged run as `NAME.scores.json`."""

from __future__ import annotations

import msgspec

FORMAT = "ovforge scores 1"
SCORES = ("sharpness", "boundary", "colour", "repeated", "same", "margin", "found")
"""The scores of an object, beyond those that `pairs generate` notes itself."""


class ObjectScores(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One object in one second view, against the same object in the first view, moved as the second view is.

    None: not measured, because there was no model, or nothing of the object is in the image.
    """

    id: int
    """Of the original annotation."""
    sharpness: float | None = None
    """Fine detail in it, relative to the first view: 1 is as sharp, near 0 is a blur."""
    boundary: float | None = None
    """How much the image changes across its mask's edge, relative to the first view: 1 is as before, near 0 nothing
    ends there, far above 1 is a seam."""
    colour: float | None = None
    """Agreement of its colours with the first view's, 0 to 1."""
    repeated: float | None = None
    """How much more like it another place of the second view is than any place of the first view was, 0 to 1; from
    about 0.5 on a second copy."""
    same: float | None = None
    """Cosine of its feature with its first view's."""
    margin: float | None = None
    """That, less the highest cosine with another object of the first view; None where there is no other."""
    found: float | None = None
    """The best IoU of its box with a box that the detector found for its class."""


class ExtraObject(msgspec.Struct, frozen=True, gc=False):
    """A confident object of an annotated class where none is annotated."""

    category_id: int
    bbox: tuple[float, float, float, float]
    """x, y, width, height in pixels."""
    score: float


class ViewScores(msgspec.Struct, frozen=True, omit_defaults=True):
    """One second view."""

    file_name: str
    objects: tuple[ObjectScores, ...] = ()
    extra: tuple[ExtraObject, ...] | None = None
    """None: there was no detector."""


class Scores(msgspec.Struct, frozen=True):
    """The file."""

    format: str
    pairs_size: int
    """Bytes of the `NAME.pairs.json` that was scored; another size is another run's."""
    models: dict[str, str]
    """`vision` and `detector` -> the model's folder name, as far as there was one."""
    views: tuple[ViewScores, ...]
