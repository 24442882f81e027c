"""Features of exemplars, as `exemplars embed` stores them: a folder of parts, each a finished run's features.

A part is an .npz file with `keys` (a JSON list as UTF-8 bytes) and `features` (float32, one row per key). Features are
found by the crop's key (`records.features.feature_key`), so exemplars may be added, dropped and sorted as one likes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.errors import InputError, MissingInputError
from ovforge.files.atomic import write_bytes
from ovforge.records.features import FORMAT, PARTS_FOLDER, SETTINGS_FILE, FeatureSettings
from ovforge.records.json_errors import JSON_ERRORS

Features = NDArray[np.float32]
_HINT = "`ovforge exemplars embed` makes it"


class FeatureFolder:
    """The features of one folder, read once."""

    def __init__(self, folder: Path) -> None:
        """Read all parts.

        Raises:
            MissingInputError: there is no such folder of features.
            InputError: a part cannot be read; names it.
        """
        self.folder = folder
        self.settings = read_settings(folder)
        if self.settings is None:
            raise MissingInputError(folder / SETTINGS_FILE, what="features of exemplars", hint=_HINT)
        self._rows: dict[str, int] = {}
        parts = []
        count = 0
        for path in part_files(folder):
            keys, features = read_part(path)
            parts.append(features)
            for row, key in enumerate(keys, start=count):
                self._rows.setdefault(key, row)
            count += len(keys)
        dimensions = {part.shape[1] for part in parts if len(part)}
        if len(dimensions) > 1:
            raise InputError(f"{folder}: its parts have features of {sorted(dimensions)} numbers", hint=_HINT)
        self._features = np.concatenate([part for part in parts if len(part)]) if dimensions else None

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    @property
    def dimension(self) -> int:
        """Numbers per feature; 0 without any."""
        return 0 if self._features is None else self._features.shape[1]

    def take(self, keys: Sequence[str]) -> Features:
        """The features of `keys`, float32 (n, dimension), in their order.

        Raises:
            KeyError: one of them is not there.
        """
        if self._features is None or not keys:
            return np.zeros((0, self.dimension), np.float32)
        return self._features[[self._rows[key] for key in keys]]


def read_settings(folder: Path) -> FeatureSettings | None:
    """What the folder's features were made with; None if there is no such folder.

    Raises:
        InputError: the file is not what `exemplars embed` writes.
    """
    path = folder / SETTINGS_FILE
    try:
        settings = msgspec.json.decode(path.read_bytes(), type=FeatureSettings)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except JSON_ERRORS as error:
        raise InputError(f"{path}: is not what `exemplars embed` writes ({error})", hint=_HINT) from None
    if settings.format != FORMAT:
        raise InputError(f"{path}: has the format '{settings.format}', this release knows '{FORMAT}'", hint=_HINT)
    return settings


def part_files(folder: Path) -> list[Path]:
    """The parts of a folder, in the order in which they were made."""
    return sorted((folder / PARTS_FOLDER).glob("[0-9]*.npz"))


def add_part(folder: Path, keys: Sequence[str], features: Features) -> Path:
    """Publish features as a further part."""
    taken = [int(path.stem) for path in part_files(folder) if path.stem.isdigit()]
    path = folder / PARTS_FOLDER / f"{max(taken, default=-1) + 1:06d}.npz"
    write_bytes(path, encode_part(keys, features))
    return path


def encode_part(keys: Sequence[str], features: Features) -> bytes:
    """A part's bytes; the same keys and features give the same bytes."""
    buffer = io.BytesIO()
    text = np.frombuffer(msgspec.json.encode(list(keys)), np.uint8)
    np.savez(buffer, keys=text, features=np.ascontiguousarray(features, np.float32))
    return buffer.getvalue()


def read_part(path: Path) -> tuple[list[str], Features]:
    """The keys and the features of one part.

    Raises:
        InputError: it is damaged or no part; names it.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            keys = msgspec.json.decode(file["keys"].tobytes(), type=list[str])
            features = np.asarray(file["features"], np.float32)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, *JSON_ERRORS) as error:
        raise InputError(
            f"{path}: cannot be read as features ({error})", hint="remove it and run `ovforge exemplars embed` again"
        ) from None
    if features.ndim != 2 or len(features) != len(keys):
        raise InputError(f"{path}: has {len(keys)} keys for features of the shape {features.shape}", hint=_HINT)
    return keys, features
