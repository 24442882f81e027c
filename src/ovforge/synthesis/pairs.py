"""From an image to its second views, but for the repainting itself.

`prepare` does what comes before an engine: decode, rasterise, move, compose, bring to the working size. `finish`
does what comes after: back to the image's size, encode, new boxes and areas, the record. Both depend on the
image alone, so they may run in any order, in any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ovforge.errors import ImageError
from ovforge.image_io.codec import decode_as_annotated, encode_jpeg
from ovforge.options.labels import Labels, Outside, Repaint
from ovforge.options.pairs import DEFAULT_GAP, PAIR_FRAMES, ClipMotion
from ovforge.records.pairs import PairRecord, VariantRecord
from ovforge.records.reporting import Drop, Drops
from ovforge.records.run_layout import variant_name
from ovforge.synthesis.compose import Composed, compose, object_mask, to_image_size, to_working_size, without_objects
from ovforge.synthesis.fidelity import fidelity
from ovforge.synthesis.holes import Holes, plan_holes
from ovforge.synthesis.labelling import LabelledObject, Labelling, label_objects
from ovforge.synthesis.masks import LabelMaps, as_json_rle, stack, window_as_json_rle
from ovforge.synthesis.motion import NO_MOTION, Motion, draw_motion
from ovforge.synthesis.prompts import draw_caption
from ovforge.synthesis.randomness import generator
from ovforge.synthesis.repaint import Repainted, RepaintJob, WorkingSize
from ovforge.synthesis.visibility import Shown, show_objects

NO_OBJECT = "has no usable object: its second view is the image itself"
LONGEST_SIDE = 32_766
"""Pixels; OpenCV's warps count them in 16 bits."""


@dataclass(frozen=True)
class PairSettings:
    """What decides the pairs of an image, besides the image and the engine."""

    seed: int = 0
    variants: int = 1
    min_area: float = 64.0**2
    """Square pixels; where the engine repaints, only objects with a larger annotated area are kept."""
    masks: bool = True
    quality: int = 95
    """JPEG quality of the second views."""
    outside: Outside = Outside.COMPLETED
    labels: Labels = Labels.KEPT
    repaint: Repaint = Repaint.BACKGROUND
    """What the engine repaints, if it does."""
    frames: int = PAIR_FRAMES
    """2: pairs; more: clips of so many frames (`synthesis.clips`)."""
    motion: ClipMotion = ClipMotion.VIDEO
    gap: float = DEFAULT_GAP
    """Video frames between two frames of a clip."""

    @property
    def views(self) -> int:
        """How many images are made of each image."""
        return self.variants if self.frames == PAIR_FRAMES else self.frames - 1


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


class PlannedView(Protocol):
    """What an engine is to repaint."""

    @property
    def job(self) -> RepaintJob:
        """The engine's job, or where only holes are repainted the whole that they are in."""

    @property
    def holes(self) -> Holes | None:
        """The holes, where only they are repainted."""


def jobs_of(planned: PlannedView) -> tuple[RepaintJob, ...]:
    """What the engine gets of a view: one job, or one for each crop around holes, so perhaps none."""
    return (planned.job,) if planned.holes is None else planned.holes.jobs


def repainted_whole(planned: PlannedView, results: Sequence[Repainted]) -> Repainted:
    """A view's repainted image, from the results of `jobs_of`."""
    return results[0] if planned.holes is None else planned.holes.finished(results)


@dataclass(frozen=True)
class Planned:
    """One second view before its repainting."""

    variant: int
    motion: Motion
    composed: Composed
    shown: Sequence[Shown]
    job: RepaintJob
    holes: Holes | None = None


@dataclass(frozen=True)
class Prepared:
    """An image before its repainting. `planned` is empty where there is nothing to repaint: `record` says why."""

    source: SourceImage
    data: bytes
    """The original's bytes; empty if there is no such image."""
    objects: tuple[LabelledObject, ...]
    """What every second view carries."""
    planned: tuple[PlannedView, ...]
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
        ImageError: the bytes are not a whole image, or one of another size than the annotations'.
    """
    drops = Drops(keep_names=True)
    labelling = label_objects(source.annotations, source.width, source.height, settings.labels, settings.min_area)
    for reason, name in labelling.skipped:
        drops.add("annotation", reason, name)
    for reason, name in labelling.warnings:
        drops.warn("annotation", reason, name)
    image = decode_source(source, data)
    kept = labelling.kept
    if not kept:
        drops.warn("image", NO_OBJECT, source.file_name)
        variants = [
            VariantRecord(variant_name(source.file_name, r), dict(NO_MOTION), "", settings.seed, {}, [])
            for r in range(settings.variants)
        ]
        return Prepared(source, data, (), (), PairRecord(source.image_id, source.file_name, variants, drops.freeze()))
    masks = stack([o.rle for o in labelling.objects], source.width, source.height)
    names = names_by_size([labelling.objects[index] for index in kept], class_names or {})
    motions = [
        draw_motion(generator(settings.seed, source.image_id, variant, "motion"), source.width, source.height)
        for variant in range(settings.variants)
    ]
    background = None
    has_gap = any(leaves_a_gap(motion, source.width, source.height) for motion in motions)
    if settings.outside is Outside.COMPLETED and (has_gap or labelling.removed):
        background = without_objects(image, labelling.annotated)
        image = _without_removed(image, background, labelling, masks)
    planned = []
    for variant, motion in enumerate(motions):
        composed = compose(image, masks, motion, background)
        moved = composed.masks
        shown = show_objects(masks, moved, motion, original_outside=settings.outside is Outside.ORIGINAL)
        if settings.labels is Labels.ALL:  # the moved image stays, whole
            working, content = composed.image, (source.width, source.height)
            keep = moved.inside().astype(np.bool_)
        else:
            working, keep, content = to_working_size(composed.image, moved.union(kept), working_size)
        prompt = draw_caption(source.captions, names, seed=settings.seed, image_id=source.image_id, variant=variant)
        job = RepaintJob(working, keep, content, prompt, source.image_id, variant, settings.seed)
        holes = plan_holes(job, working_size) if settings.repaint is Repaint.HOLES else None
        planned.append(Planned(variant, motion, composed, shown, job if holes is None else holes.whole, holes))
    record = PairRecord(source.image_id, source.file_name, [], drops.freeze())
    return Prepared(source, data, labelling.objects, tuple(planned), record)


def finish(
    prepared: Prepared, planned: Planned, repainted: Repainted, settings: PairSettings
) -> tuple[bytes, VariantRecord, tuple[tuple[str, str], ...]]:
    """Everything after the engine: the second view's JPEG, its record, and what the engine gave up on."""
    source, masks = prepared.source, planned.composed.masks
    size = (source.width, source.height)
    final = to_image_size(repainted.image, planned.job.content, size)
    name = variant_name(source.file_name, planned.variant)
    areas = [one.area for one in planned.shown]
    if settings.labels is Labels.ALL:  # the moved image stays as it is
        similarities = [float(area > 0) for area in areas]
    else:
        similarities = fidelity(planned.composed.image, final, masks, areas)
    annotations = []
    for index, (labelled, shown, similarity) in enumerate(
        zip(prepared.objects, planned.shown, similarities, strict=True)
    ):
        # Assigning to a key that is there keeps its place: the fields stay in the original's order.
        entry: dict[str, Any] = {**labelled.annotation, "bbox": shown.box, "area": shown.area, "image_name": name}
        if labelled.is_region:
            entry["iscrowd"] = 1
        entry |= {"fidelity": similarity, "visibility": shown.visibility, "old_copy": shown.old_copy}
        if settings.masks:
            x, y, width, height = shown.box
            window = np.s_[y : y + height, x : x + width]
            mask = masks.mask(index, window) if shown.area else np.zeros((0, 0), np.uint8)
            entry["mask"] = window_as_json_rle(mask, x, y, *size)
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


def decode_source(source: SourceImage, data: bytes) -> NDArray[np.uint8]:
    """The image at the size that its annotations are drawn on: as stored, or else turned upright."""
    if max(source.width, source.height) > LONGEST_SIDE:
        raise ImageError(source.file_name, f"is longer than {LONGEST_SIDE:,} pixels")
    return decode_as_annotated(data, source.file_name, source.width, source.height)


def leaves_a_gap(motion: Motion, width: int, height: int) -> bool:
    """Whether some of the second view lies outside the moved image."""
    corners = np.array([[0, width - 1, width - 1, 0], [0, 0, height - 1, height - 1], [1, 1, 1, 1]], np.float64)
    x, y, w = np.linalg.inv(motion.array()) @ corners
    near = 1e-6 * max(width, height)
    inside = (w > 0) & (x >= -near * w) & (x <= (width - 1 + near) * w)
    return not bool((inside & (y >= -near * w) & (y <= (height - 1 + near) * w)).all())


def _without_removed(
    image: NDArray[np.uint8], background: NDArray[np.uint8], labelling: Labelling, masks: LabelMaps
) -> NDArray[np.uint8]:
    """The image with the background where objects are removed. The kept objects' own pixels stay."""
    if not labelling.removed:
        return image
    where = object_mask(labelling.removed, image.shape[1], image.shape[0])
    where &= cv2.bitwise_not(masks.union(labelling.kept))
    return np.asarray(cv2.copyTo(background, where, image.copy()), np.uint8)


def names_by_size(objects: Sequence[LabelledObject], class_names: dict[int, str]) -> list[str]:
    by_size = sorted(objects, key=lambda o: -int(coco_mask.area(o.rle)))
    names = (class_names.get(o.annotation.get("category_id", -1)) for o in by_size)
    return [name for name in names if name]


def _full_size(job: RepaintJob, size: tuple[int, int]) -> NDArray[np.uint8]:
    kept = job.keep_mask[: job.content[1], : job.content[0]].astype(np.uint8)
    return np.asarray(cv2.resize(kept, size, interpolation=cv2.INTER_NEAREST), np.uint8)
