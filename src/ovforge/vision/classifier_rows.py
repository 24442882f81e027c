"""The arithmetic of classifiers, on plain arrays; what the published files of MM-OVOD were made by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]

FUSION_TEMPERATURE = 10.0
"""OVMR's `EVAL_TAU`: how much a classifier that is better on the exemplars counts for more."""


def normalised(rows: NDArray[Any]) -> Rows:
    """Rows of length 1, float32; a row of zeros stays one."""
    wide = np.asarray(rows, np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(np.divide(wide, length, out=np.zeros_like(wide), where=length > 0), np.float32)


def mean_rows(features: NDArray[Any], counts: Sequence[int]) -> Rows:
    """The mean feature of every class: `features` (n, dimension) class by class, `counts` of each class.

    Features are averaged as they come, not normalised, as MM-OVOD's `get_exemplars_tta.py` and
    `dump_clip_features_lvis_sentences.py` do. A class without any gets zeros.
    """
    features = np.asarray(features, np.float64)
    rows = np.zeros((len(counts), features.shape[1]))
    start = 0
    for row, count in enumerate(counts):
        if count:
            rows[row] = features[start : start + count].mean(axis=0)
        start += count
    return rows.astype(np.float32)


def fused_rows(text: NDArray[Any], image: NDArray[Any]) -> Rows:
    """Normalised text plus normalised image, not normalised again (MM-OVOD's published files)."""
    return normalised(text) + normalised(image)


def fusion_weights(features: NDArray[Any], labels: NDArray[np.int64], text: Rows, image: Rows, fused: Rows) -> Rows:
    """How much each of OVMR's three classifiers counts for each class, (classes, 3): fused, image, text; rows sum to 1.

    OVMR's rule: the classifiers sort the exemplars, and each class's weights are the softmax of `FUSION_TEMPERATURE`
    times its F1 scores. An exemplar is left out of the mean of its own class while it is being sorted, which OVMR,
    whose classifiers are learned, does not do. Classes without exemplars count all three alike.
    """
    count = len(text)
    unit = normalised(features)
    sums = np.zeros((count, unit.shape[1]) if len(unit) else (count, text.shape[1]))
    totals = np.bincount(labels, minlength=count)
    np.add.at(sums, labels, np.asarray(features, np.float64))
    scores = np.zeros((count, 3))
    predicted = np.empty((3, len(unit)), np.int64)
    text_unit = normalised(text)
    predicted[2] = np.argmax(unit @ text_unit.T, axis=1) if len(unit) else []
    image_logits, fused_logits = unit @ normalised(image).T, unit @ normalised(fused).T
    for row, label in enumerate(labels.tolist()):
        # Without this exemplar its class's mean is another one.
        rest = totals[label] - 1
        mean = (sums[label] - features[row]) / rest if rest else np.zeros(sums.shape[1])
        own = normalised(mean[None])
        image_logits[row, label] = float(unit[row] @ own[0])
        both = normalised(text_unit[label][None] + own)
        fused_logits[row, label] = float(unit[row] @ both[0])
    predicted[1] = np.argmax(image_logits, axis=1) if len(unit) else []
    predicted[0] = np.argmax(fused_logits, axis=1) if len(unit) else []
    for kind in range(3):
        hits = np.bincount(labels[predicted[kind] == labels], minlength=count)
        claimed = np.bincount(predicted[kind], minlength=count)
        scores[:, kind] = np.divide(2 * hits, claimed + totals, out=np.zeros(count), where=claimed + totals > 0)
    scores[totals == 0] = 0
    powers = np.exp(FUSION_TEMPERATURE * (scores - scores.max(axis=1, keepdims=True)))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
