"""The images of a run: what the annotation file says of each, small enough to be sent to every worker."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.annotation_file import AnnotationFile, RecordTable
from ovforge.annotation_io.record_index import RecordIndex
from ovforge.errors import AnnotationFileError
from ovforge.image_io.store import is_plain_name
from ovforge.records.lvis import AnnotationKey
from ovforge.records.run_layout import variant_name
from ovforge.synthesis.pairs import SourceImage


class _ImageRow(msgspec.Struct, frozen=True, gc=False):
    id: int
    width: int
    height: int
    file_name: str = ""
    coco_url: str = ""


class _CategoryRow(msgspec.Struct, frozen=True, gc=False):
    id: int
    name: str


class _CaptionRow(msgspec.Struct, frozen=True, gc=False):
    id: int
    image_id: int


@dataclass(frozen=True)
class ImageTable:
    """Every image of an annotation file, in file order.

    Attributes:
        ids: (images,) image ids, each once.
        names: bare file names, each once.
        sizes: (images, 2) width and height in pixels.
        annotations: the annotations by image.
        captions: the captions by image, or None.
        class_names: category id -> name.
    """

    ids: NDArray[np.int64]
    names: tuple[str, ...]
    sizes: NDArray[np.int64]
    annotations: RecordIndex
    captions: RecordIndex | None
    class_names: dict[int, str]

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> SourceImage:
        """The image at position `index`, with its annotations and captions read from their files."""
        records = self.captions.records(index) if self.captions is not None else []
        return SourceImage(
            image_id=int(self.ids[index]),
            file_name=self.names[index],
            width=int(self.sizes[index, 0]),
            height=int(self.sizes[index, 1]),
            annotations=self.annotations.records(index),
            captions=[text for text in map(_caption, records) if isinstance(text, str)],
        )

    def digest(self) -> str:
        """SHA-256 over the list of images: ids, names and sizes in order."""
        digest = hashlib.sha256()
        for image_id, name, (width, height) in zip(self.ids.tolist(), self.names, self.sizes.tolist(), strict=True):
            digest.update(f"{image_id} {width} {height} {name}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def close(self) -> None:
        """Close the files."""
        self.annotations.close()
        if self.captions is not None:
            self.captions.close()


def read_images(annotations: Path, captions: Path | None, *, variants: int, limit: int | None = None) -> ImageTable:
    """Index an LVIS or COCO annotation file, and a COCO caption file, by image.

    Args:
        variants: how many second views each image gets: their names have to differ from all others.
        limit: only the first so many images.

    Raises:
        MissingInputError: a file is not there.
        AnnotationFileError: malformed; an id or a file name that comes twice; a name that is no file name; a size
            that is none.
    """
    with AnnotationFile(
        annotations, {"images": _ImageRow, "annotations": AnnotationKey, "categories": _CategoryRow}
    ) as file:
        images = file.table("images", _ImageRow)
        names = tuple(bare_name(name or url) for name, url in zip(images["file_name"], images["coco_url"], strict=True))
        sizes = np.stack([images["width"], images["height"]], axis=1)
        _check(annotations, images, names, sizes, variants)
        ids, names, sizes = images["id"][:limit], names[:limit], sizes[:limit]
        categories = file.table("categories", _CategoryRow)
        return ImageTable(
            ids=ids,
            names=names,
            sizes=sizes,
            annotations=_index(annotations, ids, file.table("annotations", AnnotationKey)),
            captions=_captions(captions, ids),
            class_names=dict(zip(categories["id"].tolist(), categories["name"].tolist(), strict=True)),
        )


def _caption(record: bytes) -> object:
    return msgspec.json.decode(record).get("caption")


def bare_name(path: str) -> str:
    """The last part of a path or URL: the key of an image in every store."""
    return path.rpartition("/")[2]


def _index(path: Path, ids: NDArray[np.int64], table: RecordTable) -> RecordIndex:
    return RecordIndex(path, ids, table["image_id"], table.starts, table.stops)


def _captions(path: Path | None, ids: NDArray[np.int64]) -> RecordIndex | None:
    if path is None:
        return None
    with AnnotationFile(path, {"annotations": _CaptionRow}) as file:
        return _index(path, ids, file.table("annotations", _CaptionRow))


def _check(path: Path, images: RecordTable, names: Sequence[str], sizes: NDArray[np.int64], variants: int) -> None:
    if not len(images):
        raise AnnotationFileError(path, 'has no images in "images"')
    images.check_unique("id")
    owners: dict[str, int] = {}
    for index, (name, (width, height)) in enumerate(zip(names, sizes.tolist(), strict=True)):
        if not is_plain_name(name) or name.startswith("__"):
            raise images.error(index, f"has no usable file name ({name!r})", hint="it needs a file_name or a coco_url")
        if width < 1 or height < 1:
            raise images.error(index, f"has a size of {width}x{height} pixels")
        for stored in (name, *(variant_name(name, r) for r in range(variants))):
            owner = owners.setdefault(stored, index)
            if owner != index:
                raise images.error(
                    index,
                    f"needs the name {stored}, as {images.where(owner)} does",
                    hint="images and their second views are stored by bare file name, so these have to differ",
                )
