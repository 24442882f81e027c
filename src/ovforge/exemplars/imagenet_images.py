"""ImageNet-21K as a source of exemplars: image names by synset."""

from __future__ import annotations

from pathlib import Path

from ovforge.image_io.store import has_image_suffix, is_utf8
from ovforge.image_io.tar_store import REPEATED
from ovforge.records.reporting import Drops
from ovforge.sources.imagenet21k import SMALL, TRAIN, ImageNet21k
from ovforge.taxonomy import synset_to_wnid

PARTS = (TRAIN, SMALL)
"""The validation images of ImageNet-21K-P are kept for evaluation and never become exemplars."""


class ImageNetImages:
    """The names of the images of a synset, listed when first asked for."""

    def __init__(self, folder: Path, *, drops: Drops) -> None:
        """Look at what is in `folder`.

        Raises:
            InputError: nothing in it looks like ImageNet-21K.
        """
        self._source = ImageNet21k(folder)
        self._drops = drops
        self._names: dict[str, list[str]] = {}

    def names(self, synset: str) -> list[str]:
        """Image names relative to the root, `train/n02084071/n02084071_81.JPEG`, sorted in each part.

        A synset without an ImageNet id has none; a class in both parts has both.
        """
        wnid = synset_to_wnid().get(synset)
        if wnid is None:
            return []
        if wnid not in self._names:
            found = self._source.images(wnid, parts=PARTS)
            self._names[wnid] = []
            for name in found:
                if not is_utf8(name):
                    self._drops.add("ImageNet file", "its name is not UTF-8", name)
                elif not has_image_suffix(name):
                    self._drops.add("ImageNet file", "is not named like an image", name)
                elif problem := self._source.odd_files.get(name):
                    self._drops.add("ImageNet file", problem, name)
                else:
                    self._names[wnid].append(name)
                    if name in self._source.repeated:
                        self._drops.warn("ImageNet file", REPEATED, name)
        return self._names[wnid]

    @property
    def note(self) -> str:
        """What is to be said of the tree as a whole."""
        return f"{self._source.path}: {self._source.unfinished}" if self._source.unfinished else ""

    def close(self) -> None:
        """Close the class tars."""
        self._source.close()
