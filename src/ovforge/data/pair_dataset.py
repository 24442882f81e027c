"""Pairs as a map-style PyTorch dataset, over the merged HDF5 file and its JSON."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ovforge.errors import AnnotationFileError, ImageError, MissingExtraError
from ovforge.image_io.codec import decode_as_annotated
from ovforge.image_io.store import open_image_store
from ovforge.sources.pair_index import PairIndex, open_pair_index

if TYPE_CHECKING:
    import torch

Sample = tuple["torch.Tensor", "torch.Tensor", dict[str, Any]]


class PairDataset:
    """The pairs of one run: `dataset[i]` is (view_a, view_b, targets).

    Images are turned as their annotations are drawn (`image_io.codec.decode_as_annotated`), so boxes and masks fit.

    `view_a` (the original) and `view_b` (its second view) are uint8 tensors (3, height, width), RGB. `targets` holds

    - `a` and `b`, each a dictionary of `boxes` float32 (n, 4) as x1, y1, x2, y2 in pixels; `labels` int64 (n,), the
      category ids of the JSON; `track_ids` int64 (n,); `areas` float32 (n,); `fidelity` float32 (n,), NaN where the
      run has none; `visibility` float32 (n,), 0 to 1, 1 where the JSON says nothing; `ignore` float32 (m, 4), the boxes
      of regions that are neither object nor background, and of objects below `min_visibility`; each score that
      `pairs score` gave (`sharpness`, `boundary`, `colour`, `repeated`, `same`, `margin`, `found`), float32 (n,),
      NaN where an object has none; and, with `masks`, `masks` uint8 (n, height, width) of the objects whose masks were
      kept (an object without one has a mask of zeros);
    - `match` int64 (n of a,): for each object of `a` the place of the same object in `b`, or -1 where it left;
    - `image_ids` and `file_names` of the two views.

    The HDF5 file is opened where a sample is first read, so a dataset may be pickled and handed to DataLoader workers,
    forked or spawned. The annotations are mapped, not loaded: N workers share the pages of one index.

    Args:
        h5: the merged file, `data/tao/ovtrack/NAME.h5`.
        annotations: the JSON of `pairs annotate`.
        transform: called with (view_a, view_b, targets), returns what the dataset then returns.
        masks: read the objects' masks too; they are decoded from the JSON, record by record.
        min_visibility: 0 to 1; objects of which a smaller share is visible become ignore regions.

    Raises:
        MissingExtraError: torch is not installed.
        MissingInputError: one of the files is not there.
        AnnotationFileError: the JSON is not a pairs JSON.
        ImageError: at `dataset[i]`, an image that is not in the HDF5 file, is damaged, or has another size than the
            JSON says.
    """

    def __init__(
        self,
        h5: Path | str,
        annotations: Path | str,
        *,
        transform: Callable[[Any, Any, dict[str, Any]], Any] | None = None,
        masks: bool = False,
        min_visibility: float = 0.0,
    ) -> None:
        self.h5 = Path(h5)
        self.annotations = Path(annotations)
        self.transform = transform
        self.masks = masks
        self.min_visibility = min_visibility
        # A store reopens itself after a fork or a pickle, so that no worker shares an HDF5 handle.
        self._store = open_image_store(self.h5)
        self._index: PairIndex | None = None
        import_torch()
        self._length = len(self._open_index())

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> Any:
        if not -self._length <= position < self._length:
            raise IndexError(position)
        torch = import_torch()
        index = self._open_index()
        row_a, row_b = (int(row) for row in index.pairs[position])
        names = index.file_name(row_a), index.file_name(row_b)
        view_a, view_b = (
            torch.from_numpy(np.ascontiguousarray(self._decode(index, row, name).transpose(2, 0, 1)))
            for row, name in zip((row_a, row_b), names, strict=True)
        )
        tracks_a, tracks_b = (index.track_id[self._kept(index, row)] for row in (row_a, row_b))
        targets = {
            "a": self._objects(index, row_a),
            "b": self._objects(index, row_b),
            "match": torch.from_numpy(matches(tracks_a, tracks_b)),
            "image_ids": (int(index.image_id[row_a]), int(index.image_id[row_b])),
            "file_names": names,
        }
        if self.transform is not None:
            return self.transform(view_a, view_b, targets)
        return view_a, view_b, targets

    def get(self, file_name: str | os.PathLike[str]) -> bytes:
        """The encoded bytes of one image, by its file name or any path that ends in it.

        These are the semantics of OVTrack's HDF5 file client for data of type `lvis`, whose key is the bare name.

        Raises:
            ImageError: the file has no such image.
        """
        name = os.fspath(file_name).replace("\\", "/").rpartition("/")[2]
        if not name:
            raise ImageError(os.fspath(file_name), "names no image")
        return self._store.read(name)

    def _decode(self, index: PairIndex, row: int, name: str) -> NDArray[np.uint8]:
        """The image the way up that its boxes are drawn."""
        width, height = (int(side) for side in index.image_size[row])
        return decode_as_annotated(self.get(name), name, width, height)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_index": None}

    def _open_index(self) -> PairIndex:
        if self._index is None:
            self._index = open_pair_index(self.annotations)
        return self._index

    def _kept(self, index: PairIndex, row: int) -> NDArray[np.int64]:
        """Where the objects of an image stand that are visible enough."""
        span = index.objects(row)
        return np.asarray(np.flatnonzero(index.visibility(span) >= self.min_visibility) + span.start, np.int64)

    def _objects(self, index: PairIndex, row: int) -> dict[str, Any]:
        torch = import_torch()
        kept, span = self._kept(index, row), index.objects(row)
        boxes = index.box[kept].astype(np.float32)
        below = np.setdiff1d(np.arange(span.start, span.stop), kept)
        regions = np.concatenate([index.regions(row), index.box[below]]).astype(np.float32)
        for corners in (boxes, regions):
            corners[:, 2:] += corners[:, :2]
        own = kept - span.start
        objects = {
            "boxes": torch.from_numpy(boxes),
            "labels": torch.from_numpy(index.category_id[kept]),
            "track_ids": torch.from_numpy(index.track_id[kept]),
            "areas": torch.from_numpy(index.area[kept]),
            "fidelity": torch.from_numpy(index.fidelity[kept]),
            "visibility": torch.from_numpy(index.visibility(span)[own]),
            **{name: torch.from_numpy(np.asarray(values)[own]) for name, values in index.scores(span).items()},
            "ignore": torch.from_numpy(regions),
        }
        if self.masks:
            width, height = (int(side) for side in index.image_size[row])
            shapes = [
                _mask(self.annotations, index.object_fields(position), height, width) for position in kept.tolist()
            ]
            stacked = np.stack(shapes) if shapes else np.zeros((0, height, width), np.uint8)
            objects["masks"] = torch.from_numpy(stacked)
        return objects


def collate_pairs(samples: Sequence[Sample]) -> tuple[list[torch.Tensor], list[torch.Tensor], list[dict[str, Any]]]:
    """A batch as three lists: images and objects differ in size and number, so they are not stacked."""
    first, second, targets = zip(*samples, strict=True)
    return list(first), list(second), list(targets)


def matches(tracks_a: NDArray[np.int64], tracks_b: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each track of `a` its place in `b`, or -1; int64 (len(a),). Track ids are unique within an image."""
    if not len(tracks_b):
        return np.full(len(tracks_a), -1, dtype=np.int64)
    order = np.argsort(tracks_b, kind="stable")
    place = np.minimum(np.searchsorted(tracks_b, tracks_a, sorter=order), len(tracks_b) - 1)
    found = order[place]
    return np.where(tracks_b[found] == tracks_a, found, -1).astype(np.int64)


def _mask(path: Path, fields: dict[str, Any], height: int, width: int) -> NDArray[np.uint8]:
    from pycocotools import mask as coco_mask

    labelled = fields.get("segmentation")
    shapes: Any
    if isinstance(labelled, list):
        # pycocotools takes four numbers for a box.
        shapes = [polygon for polygon in labelled if isinstance(polygon, list) and len(polygon) >= 6]
    else:
        shapes = labelled if isinstance(labelled, dict) and list(labelled.get("size", ())) == [height, width] else None
    if not shapes:
        return np.zeros((height, width), np.uint8)
    try:
        if isinstance(shapes, list):
            encoded = coco_mask.merge(coco_mask.frPyObjects(shapes, height, width))
        else:
            encoded = coco_mask.frPyObjects(shapes, height, width) if isinstance(shapes["counts"], list) else shapes
        decoded: NDArray[np.uint8] = coco_mask.decode(encoded)
    except (ValueError, TypeError, KeyError) as error:
        raise AnnotationFileError(path, f"annotation {fields.get('id')} has no readable mask ({error})") from error
    return np.ascontiguousarray(decoded)


def import_torch() -> Any:
    """torch, or an error that says how to install it."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", needed_for="PairDataset") from error
    return torch
