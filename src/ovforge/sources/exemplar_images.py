"""The images of exemplars where they lie: folders, one HDF5 file, class tars.

Exemplars name images by the last parts of their path: `train2017/000000000081.jpg`, `VG_100K_2/17.jpg`,
`train/n02084071/n02084071_81.JPEG`. A store that keeps other folders around the same bare names is searched by these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ovforge.errors import MissingImageError, MissingInputError, StorageError
from ovforge.image_io.read_file import exists
from ovforge.image_io.store import ImageStore, open_image_store
from ovforge.records.exemplar import IMAGENET, LVIS, VISUAL_GENOME
from ovforge.sources.imagenet21k import ImageNet21k

VISUAL_GENOME_FOLDERS = ("VG_100K", "VG_100K_2")
_PACKED = (".hdf5", ".h5")
_WHAT = {
    LVIS: ("COCO images of LVIS", "--lvis-img-dir"),
    IMAGENET: ("ImageNet-21K images", "--imagenet-img-dir"),
    VISUAL_GENOME: ("Visual Genome images", "--visual-genome-img-dir"),
}


class ExemplarImages:
    """The images of several data sets, by data set and file name. Opened lazily; give every process its own."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        """Remember where the data sets are.

        Raises:
            MissingInputError: one of `roots` is not there; names the data set and the option.
        """
        self.roots = dict(roots)
        for dataset, root in self.roots.items():
            if not exists(root):
                what, option = _WHAT[dataset]
                raise MissingInputError(root, what=what, hint=f"give their place with {option}")
        self._stores: dict[Path, ImageStore] = {}
        self._imagenet: ImageNet21k | None = None

    def read(self, dataset: str, file_name: str) -> bytes:
        """The bytes of one image as they are stored.

        Raises:
            MissingImageError: there is no such image; names it.
            ImageError: it is not a plain file, or not stored as an image's bytes.
            StorageError: the disk or network file system failed.
        """
        for store, name in self._candidates(dataset, file_name):
            try:
                return store.read(name)
            except MissingImageError:
                continue
        raise MissingImageError(f"{self.roots[dataset]}/{file_name}")

    def has(self, dataset: str, file_name: str) -> bool:
        """Whether there is such an image."""
        return any(name in store for store, name in self._candidates(dataset, file_name))

    def close(self) -> None:
        """Close what is open."""
        for store in self._stores.values():
            store.close()
        if self._imagenet is not None:
            self._imagenet.close()

    def _candidates(self, dataset: str, file_name: str) -> Iterator[tuple[ImageStore | ImageNet21k, str]]:
        root = self.roots[dataset]
        folder, _, bare = file_name.rpartition("/")
        if not root.is_dir():
            yield self._store(root), bare
        elif dataset == IMAGENET:
            if self._imagenet is None:
                self._imagenet = ImageNet21k(root)
            yield self._imagenet, file_name
            for place in self._imagenet.places(folder.rpartition("/")[2]):
                yield self._imagenet, place.prefix + bare
        else:
            # Many keep Visual Genome's two folders as one; its numbers are each there once.
            merged = [root / each for each in VISUAL_GENOME_FOLDERS if dataset == VISUAL_GENOME]
            packed = [root / f"{folder}{suffix}" for suffix in _PACKED if folder]
            for path in dict.fromkeys([root / folder, *packed, *merged, root]):
                if exists(path):
                    yield self._store(path), bare
            if not exists(root):
                raise StorageError(root, "it was there before")

    def _store(self, path: Path) -> ImageStore:
        if path not in self._stores:
            self._stores[path] = open_image_store(path)
        return self._stores[path]


def missing_hint(dataset: str) -> str:
    """What to do when the images of a data set are not where they were looked for."""
    return f"give the place of the {_WHAT[dataset][0]} with {_WHAT[dataset][1]}"
