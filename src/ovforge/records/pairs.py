"""What is remembered of every pair: kept in the shards, handed on by the partitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ovforge.records.reporting import Drop


class VariantRecord(msgspec.Struct, omit_defaults=True):
    """One second view of an image, or one frame of a clip after the first."""

    file_name: str
    """`<stem>_v<r>.jpg`, or `<stem>_v0_f<frame>.jpg` in a clip: the key of its image."""
    motion: dict[str, Any]
    """`synthesis.motion.Motion` as plain values; `matrix` maps the original's pixels to the second view's.
    {"kind": "none"}: the second view is the original, because the image has no usable object. {"kind": "clip"}:
    `matrix` is the camera's, `groups` those of the objects that move by themselves."""
    caption: str
    seed: int
    engine: dict[str, Any]
    """What the engine says of this image; {} where nothing was repainted."""
    annotations: list[dict[str, Any]]
    """The original's annotations in their order, their fields in their order, with `bbox` ([x, y, w, h], whole
    pixels) and `area` (pixels) of the warped mask, and `image_name` appended. Objects that left the image stay,
    with the box 0, 0, 0, 0 and the area 0. Further keys: `fidelity` (0 to 1), `visibility` (0 to 1, the share of the
    warped mask that is seen in the second view), `old_copy` (0 to 1, the share of the object that is seen once more,
    at its old place); in clips `amodal_bbox` (the whole object's box, hidden and outside parts included, in pixels),
    `occluded` and `outside`; `iscrowd` 1 where it is an ignore region; optional: `mask` (RLE of the warped mask)."""
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
    """Fingerprint of what the annotation file said of the image (`synthesis.fingerprints.fingerprint`): while it is
    the same, a corrected file changes no pixel of it."""


OBJECTS, REGIONS = "objects", "ignore regions"
LEFT, HALF_HIDDEN = "objects that left the image", "objects less than half visible"
OLD_COPIES = "objects still seen at their old place"


def count_objects(record: PairRecord) -> dict[str, int]:
    """What is seen of a record's objects, counted; sums over records keep their meaning."""
    entries = [entry for variant in record.variants for entry in variant.annotations]
    objects = [entry for entry in entries if not entry.get("iscrowd")]
    return {
        OBJECTS: len(objects),
        REGIONS: len(entries) - len(objects),
        LEFT: sum(1 for entry in objects if not entry["area"]),
        HALF_HIDDEN: sum(1 for entry in objects if entry["area"] and entry.get("visibility", 1.0) < 0.5),
        OLD_COPIES: sum(1 for entry in objects if entry.get("old_copy", 0.0) > 0),
    }


def visibility_text(counts: Mapping[str, int]) -> str:
    """The shares of what `count_objects` has counted, in words; empty without an object."""
    total = counts.get(OBJECTS, 0)
    if not total or HALF_HIDDEN not in counts:
        return ""
    left, hidden, old = (counts.get(key, 0) / total for key in (LEFT, HALF_HIDDEN, OLD_COPIES))
    return (
        f"of the objects in second views {1 - left - hidden:.1%} are visible by half or more, {hidden:.1%} by less, "
        f"{left:.1%} left the image; {old:.1%} are still seen at their old place"
    )
