"""What is remembered of every pair: kept in the shards, handed on by the partitions."""

from __future__ import annotations

from typing import Any

import msgspec

from ovforge.records.reporting import Drop


class VariantRecord(msgspec.Struct, omit_defaults=True):
    """One second view of an image."""

    file_name: str
    """`<stem>_v<r>.jpg`, the key of its image."""
    motion: dict[str, Any]
    """`synthesis.motion.Motion` as plain values; `matrix` maps the original's pixels to the second view's.
    {"kind": "none"}: the second view is the original, because the image has no usable object."""
    caption: str
    seed: int
    engine: dict[str, Any]
    """What the engine says of this image; {} where nothing was repainted."""
    annotations: list[dict[str, Any]]
    """The original's annotations in their order, their fields in their order, with `bbox` ([x, y, w, h], whole
    pixels) and `area` (pixels) of the warped mask, and `image_name` appended. Objects that left the image stay,
    with the box 0, 0, 0, 0 and the area 0. Optional further keys: `fidelity` (0 to 1), `mask` (RLE of
    the warped mask)."""
    keep_mask: dict[str, Any] | None = None
    """RLE, at the image's own size, of what was kept from repainting; only where masks were asked for."""


class PairRecord(msgspec.Struct, omit_defaults=True):
    """One image with its second views. An image that could not be used has no variants and says why in `drops`,
    so that every image of a plan has a record."""

    image_id: int
    file_name: str
    variants: list[VariantRecord]
    drops: tuple[Drop, ...] = ()
    source: str = ""
    """Fingerprint of what the annotation file said of the image (`synthesis.corrections.fingerprint`): while it is
    the same, a corrected file changes no pixel of it."""
