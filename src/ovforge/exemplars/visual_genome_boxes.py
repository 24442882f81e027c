"""Visual Genome as a source of exemplars."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ovforge.records.reporting import Drops, Progress
from ovforge.sources.visual_genome import IMAGES, OBJECTS, ObjectBox, read_images, read_objects


def find_visual_genome(folder: Path | None) -> Path | None:
    """The folder, if it has the two files that exemplars need."""
    if folder is None or not all((folder / name).exists() for name in (OBJECTS, IMAGES)):
        return None
    return folder


class VisualGenomeBoxes:
    """The objects of the wanted synsets that are large enough and whose image is known."""

    def __init__(self, folder: Path, *, min_area: float, drops: Drops) -> None:
        self._folder = folder
        self._min_area = min_area
        self._drops = drops
        self._boxes: dict[str, list[ObjectBox]] = {}
        self._small: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def read(self, synsets: Collection[str], *, progress: Progress) -> None:
        """Read the objects of `synsets`; the other methods know of these alone.

        Raises:
            AnnotationFileError: names the file and the entry.
        """
        self._names = {id_: image.file_name for id_, image in read_images(self._folder / IMAGES).items()}
        found = read_objects(
            self._folder / OBJECTS, synsets, min_area=self._min_area, drops=self._drops, progress=progress
        )
        self._small = found.small
        for synset, boxes in found.boxes.items():
            self._boxes[synset] = [box for box in boxes if box.image_id in self._names]
            for box in boxes:
                if box.image_id not in self._names:
                    self._drops.add("Visual Genome object", f"its image is not in {IMAGES}", box.image_id)

    def boxes(self, synset: str) -> list[ObjectBox]:
        """The objects of one synset, in file order."""
        return self._boxes.get(synset, [])

    def count(self, synset: str) -> int:
        """How many objects of one synset are large enough."""
        return len(self.boxes(synset))

    def count_small(self, synset: str) -> int:
        """How many are not."""
        return self._small.get(synset, 0)

    def file_name(self, image_id: int) -> str:
        """`VG_100K/2315364.jpg`."""
        return self._names[image_id]
