"""Zero-shot detectors: boxes of named classes in an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovforge.devices import resolve_device
from ovforge.options.vision import VisionOptions
from ovforge.vision.devices import check_libraries
from ovforge.vision.loading import load_network, load_tokenizer
from ovforge.vision.model_folder import DETECT, check_vision_folder, preprocessor_config
from ovforge.vision.preprocessing import Inputs, make_preprocessor

OWL_PROMPT = "a photo of a {}"
NMS_IOU = 0.5
"""Of two boxes of a class that overlap more, the less sure one is dropped."""
_OWL_TOKENS = 16
_DINO_TOKENS = 200
"""Tokens of class names per pass; Grounding DINO reads 256."""


@dataclass(frozen=True)
class Detections:
    """What a detector found in one image.

    Attributes:
        boxes: float32 (n, 4): x1, y1, x2, y2 in pixels.
        scores: float32 (n,), 0 to 1, falling.
        labels: int64 (n,): positions in the list of class names that were asked for.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]


class Detector:
    """OWLv2, OWL-ViT or Grounding DINO."""

    def __init__(self, options: VisionOptions, *, device: str | None = None) -> None:
        """Load the model.

        Raises:
            MissingInputError, InputError: the folder cannot be used; says why.
            MissingExtraError: a library is not installed.
        """
        check_libraries()
        from transformers import AutoModelForZeroShotObjectDetection

        self.found = check_vision_folder(options.folder, DETECT)
        self.device = resolve_device(device or options.device)
        self.preprocessor = make_preprocessor(
            options.folder, self.found.model_type, preprocessor_config(options.folder)
        )
        self._network = load_network(
            self.found, options, self.device, AutoModelForZeroShotObjectDetection.from_pretrained
        )
        self._tokenizer = load_tokenizer(self.found)

    def detect(self, image: NDArray[np.uint8], classes: Sequence[str], *, threshold: float) -> Detections:
        """Boxes of `classes` with a score of at least `threshold`, in one image, uint8 RGB (height, width, 3)."""
        return self.detect_prepared(self.preprocessor(image), image.shape[:2], classes, threshold=threshold)

    def detect_prepared(
        self, prepared: Inputs, size: tuple[int, ...], classes: Sequence[str], *, threshold: float
    ) -> Detections:
        """Like `detect`, of an image that `preprocessor` has prepared; `size` is its height and width."""
        if not classes:
            return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
        names = [name.replace("_", " ").lower() for name in classes]
        run = self._grounding_dino if self.found.model_type == "grounding-dino" else self._owl
        boxes, scores = run(prepared, names)
        height, width = size
        # OWLv2 sees the image padded to a square at right and below.
        scale = (max(size),) * 4 if self.preprocessor.pad_to_square else (width, height, width, height)
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1) * scale
        clipped = np.asarray(np.clip(corners, 0, (width, height, width, height)), np.float32)
        labels = scores.argmax(axis=1)
        best = scores.max(axis=1)
        return _strongest(Detections(clipped, best.astype(np.float32), labels.astype(np.int64)), threshold)

    def _owl(self, prepared: Inputs, names: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Boxes (n, 4) as centre, width and height, 0 to 1, and scores (n, classes)."""
        import torch

        tokens = self._tokenizer(
            [OWL_PROMPT.format(name) for name in names],
            padding="max_length", truncation=True, max_length=_OWL_TOKENS, return_tensors="pt",
        )  # fmt: skip
        with torch.inference_mode():
            out = self._network(
                input_ids=tokens["input_ids"].to(self.device),
                attention_mask=tokens["attention_mask"].to(self.device),
                **self._tensors(prepared),
            )
            scores = out.logits[0].float().sigmoid().cpu().numpy()
            boxes = out.pred_boxes[0].float().cpu().numpy()
        return boxes.astype(np.float64), scores.astype(np.float64)

    def _grounding_dino(self, prepared: Inputs, names: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        boxes, scores = [], []
        for chunk in self._chunks(names):
            ids, spans = self._prompt([names[place] for place in chunk])
            chunk_boxes, token_scores = self._read_prompt(prepared, ids)
            # A class is as sure as the surest token of its name.
            of_chunk = np.zeros((len(chunk_boxes), len(names)))
            for place, (start, stop) in zip(chunk, spans, strict=True):
                if stop > start:
                    of_chunk[:, place] = token_scores[:, start:stop].max(axis=1)
            boxes.append(chunk_boxes)
            scores.append(of_chunk)
        return np.concatenate(boxes), np.concatenate(scores)

    def _chunks(self, names: list[str]) -> Iterator[list[int]]:
        chunk: list[int] = []
        length = 0
        for place, name in enumerate(names):
            count = len(self._ids(name)) + 1
            if chunk and length + count > _DINO_TOKENS:
                yield chunk
                chunk, length = [], 0
            chunk.append(place)
            length += count
        yield chunk

    def _prompt(self, names: list[str]) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of `cat. dog.`, and where each name's tokens stand."""
        ids, spans = [self._tokenizer.cls_token_id], []
        for name in names:
            own = self._ids(name)
            spans.append((len(ids), len(ids) + len(own)))
            ids += [*own, *self._ids(".")]
        return [*ids, self._tokenizer.sep_token_id], spans

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _read_prompt(self, prepared: Inputs, ids: list[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        import torch

        input_ids = torch.tensor([ids], device=self.device)
        with torch.inference_mode():
            out = self._network(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                token_type_ids=torch.zeros_like(input_ids),
                **self._tensors(prepared),
            )
            scores = out.logits[0].float().sigmoid().cpu().numpy()
            boxes = out.pred_boxes[0].float().cpu().numpy()
        return boxes.astype(np.float64), scores.astype(np.float64)

    def _tensors(self, prepared: Inputs) -> dict[str, Any]:
        import torch

        tensors = {}
        for key, value in self.preprocessor.collate([prepared]).items():
            tensor = torch.from_numpy(np.ascontiguousarray(value)).to(self.device)
            tensors[key] = tensor.to(self._network.dtype) if tensor.is_floating_point() else tensor
        return tensors


def box_iou(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Intersection over union of boxes x1, y1, x2, y2: (n, 4) and (m, 4) give (n, m)."""
    one, other = np.asarray(one, np.float64).reshape(-1, 4), np.asarray(other, np.float64).reshape(-1, 4)
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0), np.float64)


def _strongest(found: Detections, threshold: float) -> Detections:
    """The sure boxes, without those that overlap a surer one of their class."""
    has_area = ((found.boxes[:, 2:] - found.boxes[:, :2]) > 0).all(axis=1)
    order = np.flatnonzero((found.scores >= threshold) & has_area)
    order = order[np.argsort(-found.scores[order], kind="stable")]
    kept: list[int] = []
    for place in order.tolist():
        rivals = [other for other in kept if found.labels[other] == found.labels[place]]
        if not rivals or box_iou(found.boxes[[place]], found.boxes[rivals]).max() <= NMS_IOU:
            kept.append(place)
    return Detections(found.boxes[kept], found.scores[kept], found.labels[kept])
