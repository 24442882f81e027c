"""The pictures of a run: what the annotation file says of each, small enough to be sent to every worker."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.errors import AnnotationFileError
from ovforge.records.coco import Caption
from ovforge.records.lvis import AnnotationKey, Category, Image
from ovforge.storage.annotation_file import AnnotationFile, read_records
from ovforge.storage.image_store import is_plain_name
from ovforge.storage.record_index import RecordIndex
from ovforge.synthesis.pairs import Picture, variant_name


class _CaptionKey(msgspec.Struct, frozen=True, gc=False):
    id: int
    image_id: int


@dataclass(frozen=True)
class PictureTable:
    """Every picture of an annotation file, in file order.

    Attributes:
        ids: (pictures,) image ids, each once.
        names: bare file names, each once.
        sizes: (pictures, 2) width and height in pixels.
        annotations: the annotations by picture.
        captions: the captions by picture, or None.
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

    def picture(self, index: int) -> Picture:
        """The picture at position `index`, with its annotations and captions read from their files."""
        records = self.captions.records(index) if self.captions is not None else []
        return Picture(
            image_id=int(self.ids[index]),
            file_name=self.names[index],
            width=int(self.sizes[index, 0]),
            height=int(self.sizes[index, 1]),
            annotations=self.annotations.records(index),
            captions=[msgspec.json.decode(record, type=Caption).caption for record in records],
        )

    def digest(self) -> str:
        """SHA-256 over the list of pictures: ids, names and sizes in order."""
        digest = hashlib.sha256()
        for image_id, name, (width, height) in zip(self.ids.tolist(), self.names, self.sizes.tolist(), strict=True):
            digest.update(f"{image_id} {width} {height} {name}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def close(self) -> None:
        """Close the files."""
        self.annotations.close()
        if self.captions is not None:
            self.captions.close()


def read_pictures(annotations: Path, captions: Path | None, *, variants: int, limit: int | None = None) -> PictureTable:
    """Index an LVIS or COCO annotation file, and a COCO caption file, by picture.

    Args:
        variants: how many second views each picture gets: their names have to differ from all others.
        limit: only the first so many pictures.

    Raises:
        MissingInputError: a file is not there.
        AnnotationFileError: malformed; an id or a file name that comes twice; a name that is no file name; a size
            that is none.
    """
    images = list(read_records(annotations, "images", Image))
    _check(annotations, images, variants)
    images = images[:limit]
    ids = np.array([image.id for image in images], np.int64)
    categories = read_records(annotations, "categories", Category)
    return PictureTable(
        ids=ids,
        names=tuple(image.name for image in images),
        sizes=np.array([(image.width, image.height) for image in images], np.int64).reshape(-1, 2),
        annotations=_index(annotations, ids, AnnotationKey),
        captions=None if captions is None else _index(captions, ids, _CaptionKey),
        class_names={category.id: category.name for category in categories},
    )


def _index(path: Path, ids: NDArray[np.int64], record: type[msgspec.Struct]) -> RecordIndex:
    with AnnotationFile(path) as file:
        table = file.table("annotations", record)
        return RecordIndex(path, ids, np.asarray(table["image_id"], np.int64), table.starts, table.stops)


def _check(path: Path, images: list[Image], variants: int) -> None:
    if not images:
        raise AnnotationFileError(path, 'has no pictures in "images"')
    seen_ids: set[int] = set()
    seen_names: dict[str, int] = {}
    for position, image in enumerate(images):
        place = f"image {image.id} (record {position:,})"
        if image.id in seen_ids:
            raise AnnotationFileError(path, f"{place}: the id comes twice")
        seen_ids.add(image.id)
        if not is_plain_name(image.name) or image.name.startswith("__"):
            raise AnnotationFileError(
                path, f"{place}: {image.name!r} is no file name", hint="it needs a file_name or a coco_url"
            )
        if image.width < 1 or image.height < 1:
            raise AnnotationFileError(path, f"{place}: a size of {image.width}x{image.height} pixels")
        for name in (image.name, *(variant_name(image.name, r) for r in range(variants))):
            other = seen_names.setdefault(name, image.id)
            if other != image.id:
                raise AnnotationFileError(
                    path,
                    f"{place}: the name {name} belongs to image {other} already",
                    hint="pictures and their second views are stored by bare file name, so these have to differ",
                )
