"""From an image to a clip, as the making of pairs has it: before the engine, and after it.

The engine is given the background plate, once for all frames; what it repaints is what no frame's own pixels cover.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.image_io.codec import encode_jpeg
from ovforge.options.labels import Repaint
from ovforge.options.pairs import ClipMotion
from ovforge.records.pairs import PairRecord, VariantRecord
from ovforge.records.reporting import Drops
from ovforge.records.run_layout import frame_name
from ovforge.synthesis.clips.clip import ClipPlan, ClipSettings, plan_clip, render_clip
from ovforge.synthesis.clips.plate import replace_missing
from ovforge.synthesis.clips.truth import ObjectTruth
from ovforge.synthesis.compose import to_image_size, to_working_size
from ovforge.synthesis.holes import Holes, plan_holes
from ovforge.synthesis.labelling import LabelledObject, label_objects
from ovforge.synthesis.masks import window_as_json_rle
from ovforge.synthesis.pairs import PairSettings, Prepared, SourceImage, decode_source, names_by_size
from ovforge.synthesis.prompts import draw_caption
from ovforge.synthesis.repaint import Repainted, RepaintJob, WorkingSize

NO_OBJECT = "without a usable object: no clip is made of it"


@dataclass(frozen=True)
class PlannedClip:
    """One clip before its background is repainted."""

    image: NDArray[np.uint8]
    plan: ClipPlan
    job: RepaintJob
    holes: Holes | None = None


def prepare_clip(
    source: SourceImage,
    data: bytes,
    settings: PairSettings,
    working_size: WorkingSize | None,
    class_names: dict[int, str] | None = None,
) -> Prepared:
    """Everything up to the engine: one `RepaintJob` for the clip's background. No clip is made without an object.

    Raises:
        ImageError: the bytes are no whole image, or one of another size than the annotations'.
    """
    drops = Drops()
    labelling = label_objects(source.annotations, source.width, source.height, settings.labels, settings.min_area)
    for reason, name in labelling.skipped:
        drops.add("annotation", reason, name)
    for reason, name in labelling.warnings:
        drops.warn("annotation", reason, name)
    image = decode_source(source, data)
    if not labelling.kept:
        drops.add("image", NO_OBJECT, source.file_name)
        return Prepared(source, b"", (), (), PairRecord(source.image_id, source.file_name, [], drops.freeze()))
    plan = plan_clip(
        image,
        [one.rle for one in labelling.objects],
        [one.is_region for one in labelling.objects],
        clip_settings(settings),
        image_id=source.image_id,
    )
    names = names_by_size([labelling.objects[index] for index in labelling.kept], class_names or {})
    prompt = draw_caption(source.captions, names, seed=settings.seed, image_id=source.image_id, variant=0)
    plate = plan.plate
    holes = None
    size = None if settings.repaint is Repaint.HOLES else working_size
    working, keep, content = to_working_size(plate.image, np.zeros_like(plate.hole), size)
    keep = plate.hole == 0 if size is None else _kept(plate.hole, keep.shape, content)
    job = RepaintJob(working, keep, content, prompt, source.image_id, 0, settings.seed)
    if settings.repaint is Repaint.HOLES:
        holes = plan_holes(job, working_size)
        job = holes.whole
    record = PairRecord(source.image_id, source.file_name, [], drops.freeze())
    return Prepared(source, data, labelling.objects, (PlannedClip(image, plan, job, holes),), record)


def clip_settings(settings: PairSettings) -> ClipSettings:
    """A run's settings as those of its clips."""
    return ClipSettings(settings.frames, ClipMotion(settings.motion).value, settings.gap, seed=settings.seed)


def finish_clip(
    prepared: Prepared, planned: PlannedClip, repainted: Repainted, settings: PairSettings
) -> Iterator[tuple[bytes, VariantRecord, tuple[tuple[str, str], ...]]]:
    """Everything after the engine: every frame's JPEG and its record but the first, which is the image itself.

    A frame is made when it is asked for: memory does not depend on their number.
    """
    source, plan, job = prepared.source, planned.plan, planned.job
    if repainted.image is not job.image:
        height, width = plan.plate.image.shape[:2]
        background = to_image_size(repainted.image, job.content, (width, height))
        plan = replace(plan, plate=replace_missing(plan.plate, background))
    for number, frame in enumerate(render_clip(planned.image, plan)):
        if number == 0:
            continue
        name = frame_name(source.file_name, number)
        record = VariantRecord(
            file_name=name,
            motion=_motion(prepared.objects, plan, number, settings),
            caption=job.prompt if repainted.prompt is None else repainted.prompt,
            seed=settings.seed,
            engine=repainted.record,
            annotations=[
                _entry(labelled, truth, name, source, with_mask=settings.masks)
                for labelled, truth in zip(prepared.objects, frame.objects, strict=True)
            ],
        )
        drops = repainted.drops if number == 1 else ()
        yield encode_jpeg(frame.image, settings.quality), record, drops


def _entry(
    labelled: LabelledObject, truth: ObjectTruth, name: str, source: SourceImage, *, with_mask: bool
) -> dict[str, Any]:
    # Assigning to a key that is there keeps its place: the fields stay in the original's order.
    entry: dict[str, Any] = {**labelled.annotation, "bbox": truth.box, "area": truth.area, "image_name": name}
    if labelled.is_region:
        entry["iscrowd"] = 1
    entry |= {
        "visibility": truth.visibility,
        "old_copy": 0.0,
        "amodal_bbox": truth.amodal_box,
        "occluded": truth.occluded,
        "outside": truth.outside,
    }
    if with_mask:
        x, y, width, height = truth.box
        left, top = x - truth.window[0], y - truth.window[1]
        mask = truth.mask[top : top + height, left : left + width] if truth.area else np.zeros((0, 0), np.uint8)
        entry["mask"] = window_as_json_rle(mask, x, y, source.width, source.height)
    return entry


def _motion(objects: Sequence[LabelledObject], plan: ClipPlan, number: int, settings: PairSettings) -> dict[str, Any]:
    """The motion of a frame as plain values; the objects of a group by their annotations' ids."""
    moving = plan.scene.moving()
    return {
        "kind": "clip",
        "preset": ClipMotion(settings.motion).value,
        "frame": number,
        "gap": settings.gap,
        "matrix": plan.paths.camera[number].tolist(),
        "groups": [
            {
                "objects": [objects[index].annotation.get("id") for index in plan.scene.groups[position].members],
                "matrix": plan.paths.groups[position][number].tolist(),
            }
            for position in moving
        ],
    }


def _kept(hole: NDArray[np.uint8], shape: tuple[int, ...], content: tuple[int, int]) -> NDArray[np.bool_]:
    """The keep mask of a plate at an engine's working size: a cell that is missing in part is repainted."""
    small = cv2.resize(hole, content, interpolation=cv2.INTER_AREA)
    keep = np.zeros(shape, np.bool_)
    keep[: content[1], : content[0]] = small == 0
    return keep
