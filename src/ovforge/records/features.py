"""Features of exemplars on disk: which files a folder of them has, and what it says of the model."""

from __future__ import annotations

from typing import Any

import msgspec

from ovforge.records.exemplar import Exemplar

SETTINGS_FILE = "features.json"
PARTS_FOLDER = "parts"
RUN_FOLDER = "run"
FORMAT = "ovforge features 1"


class FeatureSettings(msgspec.Struct, frozen=True):
    """`features.json`: what decides the features of a folder; all of its parts were made alike."""

    model: dict[str, Any]
    """The model's type, name, number format, and the hashes of its files."""
    crop: dict[str, Any]
    """How crops were cut, and how many random views of each were averaged."""
    format: str = FORMAT


def feature_key(exemplar: Exemplar) -> str:
    """Names an exemplar's crop: data set, image, object and box, so that another box is another crop."""
    box = exemplar.box
    numbers = "" if box is None else ",".join(f"{float(number):.10g}" for number in box)
    return f"{exemplar.identity}:{numbers}"
