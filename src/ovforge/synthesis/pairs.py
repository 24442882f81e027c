"""From an image to its second views, but for the repainting itself.

`prepare` does what comes before an engine: decode, rasterise, move, compose, bring to the working size. `finish`
does what comes after: back to the image's size, encode, new boxes and areas, the record. Both depend on the
image alone, so they may run in any order, in any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ovforge.errors import ImageError
from ovforge.image_io.codec import decode_rgb, encode_jpeg
from ovforge.records.pairs import PairRecord, VariantRecord
from ovforge.records.reporting import Drop, Drops
from ovforge.records.run_layout import variant_name
from ovforge.synthesis.compose import Composed, compose, to_image_size, to_working_size
from ovforge.synthesis.fidelity import fidelity
from ovforge.synthesis.masks import UsableObject, as_json_rle, box_and_area, stack, usable_objects
from ovforge.synthesis.motion import NO_MOTION, Motion, draw_motion
from ovforge.synthesis.prompts import draw_caption
from ovforge.synthesis.randomness import generator
from ovforge.synthesis.repaint import Repainted, RepaintJob, WorkingSize

NO_OBJECT = "has no usable object: its second view is the image itself"
LONGEST_SIDE = 32_766
"""Pixels; OpenCV's warps count them in 16 bits."""


@dataclass(frozen=True)
class PairSettings:
    """What decides the pairs of an image, besides the image and the engine."""

    seed: int = 0
    variants: int = 1
    min_area: float = 64.0**2
    """Square pixels; only objects with a larger annotated area are kept and followed."""
    masks: bool = True
    quality: int = 95
    """JPEG quality of the second views."""


@dataclass(frozen=True)
class SourceImage:
    """One image of the annotation file.

    Attributes:
        file_name: bare file name, its key in every store.
        width, height: as the annotation file states them, in pixels; the polygons' coordinates belong to it.
        annotations: raw JSON records in file order.
        captions: in file order.
    """

    image_id: int
    file_name: str
    width: int
    height: int
    annotations: Sequence[bytes | memoryview]
    captions: Sequence[str] = ()


@dataclass(frozen=True)
class Planned:
    """One second view before its repainting."""

    variant: int
    motion: Motion
    composed: Composed
    job: RepaintJob


@dataclass(frozen=True)
class Prepared:
    """An image before its repainting. `planned` is empty where there is nothing to repaint: `record` says why."""

    source: SourceImage
    data: bytes
    """The original's bytes; empty if there is no such image."""
    objects: tuple[UsableObject, ...]
    planned: tuple[Planned, ...]
    record: PairRecord
    """Without the variants that are still to be repainted."""


def failed(source: SourceImage, reason: str, detail: str = "") -> Prepared:
    """An image that cannot be used: its record has no variants and says why."""
    drop = Drop("image", reason, 1, (source.file_name,), (detail,) if detail else ())
    return Prepared(source, b"", (), (), PairRecord(source.image_id, source.file_name, [], (drop,)))


def prepare(
    source: SourceImage,
    data: bytes,
    settings: PairSettings,
    working_size: WorkingSize | None,
    class_names: dict[int, str] | None = None,
) -> Prepared:
    """Everything up to the engine: a `RepaintJob` for each variant of an image.

    An image without a usable object keeps its own bytes as every variant, as in OVTrack.

    Raises:
        ImageError: the bytes are no whole image, or one of another size than the annotations'.
    """
    drops = Drops(keep_names=True)
    objects, dropped = usable_objects(source.annotations, source.width, source.height, settings.min_area)
    for reason, name in dropped:
        drops.add("annotation", reason, name)
    image = _decoded(source, data)
    if not objects:
        drops.warn("image", NO_OBJECT, source.file_name)
        variants = [
            VariantRecord(variant_name(source.file_name, r), dict(NO_MOTION), "", settings.seed, {}, [])
            for r in range(settings.variants)
        ]
        return Prepared(source, data, (), (), PairRecord(source.image_id, source.file_name, variants, drops.freeze()))
    masks = stack([o.rle for o in objects], source.width, source.height)
    names = _names_by_size(objects, class_names or {})
    planned = []
    for variant in range(settings.variants):
        motion = draw_motion(generator(settings.seed, source.image_id, variant, "motion"), source.width, source.height)
        composed = compose(image, masks, motion)
        working, kept, content = to_working_size(composed.image, composed.masks.union(), working_size)
        prompt = draw_caption(source.captions, names, seed=settings.seed, image_id=source.image_id, variant=variant)
        job = RepaintJob(working, kept, content, prompt, source.image_id, variant, settings.seed)
        planned.append(Planned(variant, motion, composed, job))
    record = PairRecord(source.image_id, source.file_name, [], drops.freeze())
    return Prepared(source, data, tuple(objects), tuple(planned), record)


def finish(
    prepared: Prepared, planned: Planned, repainted: Repainted, settings: PairSettings
) -> tuple[bytes, VariantRecord, tuple[tuple[str, str], ...]]:
    """Everything after the engine: the second view's JPEG, its record, and what the engine gave up on."""
    source, masks = prepared.source, planned.composed.masks
    size = (source.width, source.height)
    final = to_image_size(repainted.image, planned.job.content, size)
    name = variant_name(source.file_name, planned.variant)
    similarities = fidelity(planned.composed.image, final, masks)
    annotations = []
    for index, (usable, similarity) in enumerate(zip(prepared.objects, similarities, strict=True)):
        mask = masks.mask(index)
        box, area = box_and_area(mask)
        # Assigning to a key that is there keeps its place: the fields stay in the original's order.
        entry: dict[str, Any] = {**usable.annotation, "bbox": box, "area": area, "image_name": name}
        entry["fidelity"] = similarity
        if settings.masks:
            entry["mask"] = as_json_rle(mask)
        annotations.append(entry)
    record = VariantRecord(
        file_name=name,
        motion=planned.motion.record(),
        caption=planned.job.prompt if repainted.prompt is None else repainted.prompt,
        seed=settings.seed,
        engine=repainted.record,
        annotations=annotations,
        keep_mask=as_json_rle(_full_size(planned.job, size)) if settings.masks else None,
    )
    return encode_jpeg(final, settings.quality), record, repainted.drops


def _decoded(source: SourceImage, data: bytes) -> NDArray[np.uint8]:
    """The image at the size that its annotations are drawn on: as stored, or else turned upright."""
    wanted = (source.height, source.width)
    if max(wanted) > LONGEST_SIDE:
        raise ImageError(source.file_name, f"is longer than {LONGEST_SIDE:,} pixels")
    image = decode_rgb(data, source.file_name)
    if image.shape[:2] == wanted:
        return image
    if image.shape[1::-1] == wanted:
        upright = decode_rgb(data, source.file_name, upright=True)
        if upright.shape[:2] == wanted:
            return upright
    raise ImageError(
        source.file_name,
        "is another image than the annotations'",
        detail=f"{image.shape[1]}x{image.shape[0]} pixels instead of {source.width}x{source.height}",
    )


def _names_by_size(objects: Sequence[UsableObject], class_names: dict[int, str]) -> list[str]:
    by_size = sorted(objects, key=lambda o: -int(coco_mask.area(o.rle)))
    names = (class_names.get(o.annotation.get("category_id", -1)) for o in by_size)
    return [name for name in names if name]


def _full_size(job: RepaintJob, size: tuple[int, int]) -> NDArray[np.uint8]:
    kept = job.keep_mask[: job.content[1], : job.content[0]].astype(np.uint8)
    return np.asarray(cv2.resize(kept, size, interpolation=cv2.INTER_NEAREST), np.uint8)
