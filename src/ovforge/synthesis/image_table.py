"""The images of a run: what the annotation file says of each, small enough to be sent to every worker."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.annotation_file import RecordTable
from ovforge.annotation_io.door import Annotations, open_annotations, open_captions
from ovforge.annotation_io.record_edit import decode_record
from ovforge.annotation_io.record_index import RecordIndex
from ovforge.annotation_io.schema import Fields, record_decoder
from ovforge.options.pairs import PAIR_FRAMES
from ovforge.records.reporting import require_some
from ovforge.records.run_layout import view_names
from ovforge.synthesis.box_masks import with_box_mask
from ovforge.synthesis.pairs import SourceImage

LISTS = ("neg_category_ids", "not_exhaustive_category_ids")
"""LVIS's lists of classes; in TAO they are the video's."""
_CATEGORIES = ("name", "synset", "frequency")


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
        fields: what the run uses of an annotation.
        objects: how many annotations the images have that are not crowd regions.
    """

    ids: NDArray[np.int64]
    names: tuple[str, ...]
    sizes: NDArray[np.int64]
    annotations: RecordIndex
    captions: RecordIndex | None
    class_names: dict[int, str]
    fields: Fields
    objects: int = 0
    has_masks: bool = True
    """Whether any of its annotations has a segmentation, usable or not."""
    box_masks: bool = False
    """Whether rounded boxes take the place of masks that are not there."""

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> SourceImage:
        """The image at position `index`, with its annotations and captions read from their files.

        The fields of the annotations that the run uses are as LVIS and COCO write them, whatever the file has.
        """
        records = self.captions.records(index) if self.captions is not None else []
        annotations = list(map(record_decoder(self.fields).canonical, self.annotations.records(index)))
        return SourceImage(
            image_id=int(self.ids[index]),
            file_name=self.names[index],
            width=int(self.sizes[index, 0]),
            height=int(self.sizes[index, 1]),
            annotations=list(map(with_box_mask, annotations)) if self.box_masks else annotations,
            captions=[text for text in map(_caption, records) if isinstance(text, str)],
        )

    def digest(self) -> str:
        """SHA-256 over the list of images: ids and names in order. Sizes may be corrected (`synthesis.corrections`)."""
        digest = hashlib.sha256()
        for image_id, name in zip(self.ids.tolist(), self.names, strict=True):
            digest.update(f"{image_id} {name}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def close(self) -> None:
        """Close the files."""
        self.annotations.close()
        if self.captions is not None:
            self.captions.close()


def _has_masks(table: RecordTable, rows: NDArray[np.int64]) -> bool:
    """Whether any of these annotations has a segmentation; usually the first tells. No annotations lack none."""
    for row in rows.tolist():
        raw = table.raw(row)
        if b"seg" in raw and decode_record(raw).get("segmentation"):
            return True
    return not len(rows)


def open_for_pairs(path: Path, *, lists: bool = True) -> Annotations:
    """Open the annotation file that pairs are made from, with all that the run and the steps after it use.

    Every step of a run opens it by this one function: what `generate` accepts the others accept.

    Args:
        lists: whether the images' lists of classes are wanted; OVTrack's own file does without.

    Raises:
        MissingInputError, AnnotationFileError: as `open_annotations`.
    """
    return open_annotations(
        path,
        images=("name", "width", "height", *(LISTS if lists else ())),
        annotations=("bbox", "area", "iscrowd"),
        categories=_CATEGORIES,
        optional={f"categories.{field}" for field in _CATEGORIES},
    )


def read_images(
    annotations: Path,
    captions: Path | None,
    *,
    variants: int,
    limit: int | None = None,
    frames: int = PAIR_FRAMES,
    box_masks: bool = False,
) -> ImageTable:
    """Index an LVIS or COCO annotation file, and a COCO caption file, by image.

    Args:
        variants: how many second views each image gets: their names have to differ from all others.
        limit: only the first so many images.
        frames: of a clip; 2: pairs.
        box_masks: as in `ImageTable`.

    Raises:
        MissingInputError: a file is not there.
        AnnotationFileError: it is not what this run or a step after it needs (see `annotation_io.door`), two images
            need the same name for a second view, or the captions are of other images.
    """
    with open_for_pairs(annotations) as file:
        images, table = file.images, file.annotations
        require_some(len(images), "image", annotations)
        _check_second_views(images, variants, frames)
        ids = images["id"][:limit]
        captions_of_all = open_captions(captions, images["id"]) if captions is not None else None
        mine = np.isin(table["image_id"], ids) if limit is not None else np.ones(len(table), np.bool_)
        return ImageTable(
            ids=ids,
            names=tuple(images["name"][:limit].tolist()),
            sizes=np.stack([images["width"], images["height"]], axis=1)[:limit],
            annotations=RecordIndex(annotations, ids, table["image_id"], table.starts, table.stops),
            captions=captions_of_all.of(ids) if captions_of_all is not None else None,
            class_names={
                number: name
                for number, name in zip(file.categories["id"].tolist(), file.categories["name"].tolist(), strict=True)
                if name
            },
            fields=file.fields("annotations"),
            objects=int(np.count_nonzero(mine & (table["iscrowd"] == 0))),
            box_masks=box_masks,
            has_masks=_has_masks(table, np.flatnonzero(mine & (table["iscrowd"] == 0))),
        )


def _caption(record: bytes) -> object:
    return decode_record(record).get("caption")


def _check_second_views(images: RecordTable, variants: int, frames: int) -> None:
    """Refuse names of second views that are another image's: `a.jpg` needs `a_v0.jpg`, and so does `a.png`."""
    names = images["name"]
    owners: dict[str, int] = {name: index for index, name in enumerate(names)}
    for index, name in enumerate(names):
        for view in view_names(name, variants, frames):
            owner = owners.setdefault(view, index)
            if owner != index:
                raise images.error(
                    index,
                    f"needs the name {view} for its second view, as {images.where(owner)} does",
                    hint="images and their second views are stored by bare file name, so these have to differ",
                )
