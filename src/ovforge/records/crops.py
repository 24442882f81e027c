"""What the crop step leaves behind beside the images: which folder is which class."""

from __future__ import annotations

import msgspec

CLASSES_FILE = "classes.json"


class CroppedClass(msgspec.Struct, frozen=True):
    """One class's folder, the same name under `train`, `val` and `all`."""

    folder: str
    category_id: int | None
    """The id in the sampled exemplars; None for a class without any."""
    synset: str | None
    """The class's own synset; None where neither the exemplars nor the packaged table tell it."""
    files: dict[str, int] = {}
    """Path below the crop folder, the contact sheet's too -> size in bytes."""

    def of(self, split: str) -> list[str]:
        """The paths in one of the folders `train`, `val`, `all`, sorted as plain strings."""
        return sorted(path for path in self.files if path.startswith(f"{split}/"))


class CropIndex(msgspec.Struct, frozen=True):
    """`classes.json`, written when all crops are there."""

    form: str
    """`split` or `lists`, see `options.exemplars.CropForm`."""
    classes: tuple[CroppedClass, ...]
