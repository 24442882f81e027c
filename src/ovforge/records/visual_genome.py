"""Visual Genome's `objects.json` and `image_data.json` (versions 1.2 and 1.4 share these fields)."""

from __future__ import annotations

import msgspec


class VisualGenomeObject(msgspec.Struct, frozen=True):
    """One box of `objects.json`, in whole pixels; boxes may lie partly outside the image or be empty."""

    synsets: list[str]
    x: int | float
    y: int | float
    w: int | float
    h: int | float


class VisualGenomeImage(msgspec.Struct, frozen=True):
    """One entry of `image_data.json`."""

    image_id: int
    url: str
    coco_id: int | None = None
    """Half of the images are COCO images, some of them from COCO's validation set."""

    @property
    def file_name(self) -> str:
        """The last two parts of the address: `VG_100K_2/1.jpg`."""
        return "/".join(self.url.split("/")[-2:])
