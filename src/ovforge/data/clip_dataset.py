"""Clips as a map-style PyTorch dataset, over the merged HDF5 file and its JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ovforge.data.pair_dataset import PairDataset, import_torch
from ovforge.errors import AnnotationFileError
from ovforge.sources.pair_index import PairIndex

if TYPE_CHECKING:
    import torch

Clip = tuple["torch.Tensor", list[dict[str, Any]]]


class ClipDataset(PairDataset):
    """The clips of one run: `dataset[i]` is (frames, targets).

    `frames` is a uint8 tensor (frames, 3, height, width), RGB, frame 0 the image itself. `targets` has a dictionary
    for each frame, with

    - `boxes` float32 (n, 4) as x1, y1, x2, y2 in pixels, of what is seen of each object; `labels` int64 (n,), the
      category ids of the JSON; `track_ids` int64 (n,); `areas` float32 (n,);
    - `visibility` float32 (n,), 0 to 1, and `occluded` bool (n,); 1 and False where the JSON says nothing;
    - `ignore` float32 (m, 4), the boxes of regions that are neither object nor background, and of objects below
      `min_visibility`;
    - with `masks`, `masks` uint8 (n, height, width);
    - `image_id` and `file_name`.

    An object that is out of sight in a frame is not in that frame's dictionary; when it comes back, it has the same
    track id. Pairs are clips of two frames (and of one more for each further variant). All else is as in
    `PairDataset`: images are turned as their annotations are drawn, the dataset may be pickled and handed to workers,
    the annotations are mapped.

    Args:
        h5: the merged file, `data/tao/ovtrack/NAME.h5`.
        annotations: the JSON of `pairs annotate`.
        transform: called with (frames, targets), returns what the dataset then returns.
        masks: read the objects' masks too.
        min_visibility: 0 to 1; objects of which a smaller share is visible become ignore regions.

    Raises:
        MissingExtraError: torch is not installed.
        MissingInputError: one of the files is not there.
        AnnotationFileError: the JSON is not one of pairs or clips; or, at `dataset[i]`, a frame has another size.
        ImageError: at `dataset[i]`, an image that is not in the HDF5 file, or is damaged.
    """

    def __init__(
        self,
        h5: Path | str,
        annotations: Path | str,
        *,
        transform: Callable[[Any, list[dict[str, Any]]], Any] | None = None,
        masks: bool = False,
        min_visibility: float = 0.0,
    ) -> None:
        super().__init__(h5, annotations, masks=masks, min_visibility=min_visibility)
        self.clip_transform = transform
        first = self._open_index().pairs[:, 0]
        # Pairs of one clip have the same first frame; frames stand in their order in the file.
        self._starts, counts = np.unique(first, return_counts=True)
        self._seconds = np.argsort(first, kind="stable")
        self._edges = np.concatenate([[0], np.cumsum(counts)])
        self._length = len(self._starts)

    def __getitem__(self, position: int) -> Any:
        if not -self._length <= position < self._length:
            raise IndexError(position)
        torch = import_torch()
        index = self._open_index()
        rows = self._rows(index, position)
        images = [self._decode(index, row, index.file_name(row)) for row in rows]
        if len({image.shape for image in images}) > 1:
            name = index.file_name(rows[0])
            raise AnnotationFileError(self.annotations, f"the frames of the clip of {name} differ in size")
        frames = torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))
        targets = [self._frame(index, row) for row in rows]
        if self.clip_transform is not None:
            return self.clip_transform(frames, targets)
        return frames, targets

    def visibility(self, position: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """How visible each object of a clip is in each frame, without decoding anything: to choose clips by it.

        Returns:
            track ids int64 (k,), ascending, and float32 (frames, k): 0 where an object is out of sight.
        """
        if not -self._length <= position < self._length:
            raise IndexError(position)
        index = self._open_index()
        spans = [index.objects(row) for row in self._rows(index, position)]
        tracks = np.unique(np.concatenate([index.track_id[span] for span in spans]))
        seen = np.zeros((len(spans), len(tracks)), np.float32)
        for frame, span in enumerate(spans):
            seen[frame, np.searchsorted(tracks, index.track_id[span])] = index.visibility(span)
        return tracks, seen

    def _rows(self, index: PairIndex, position: int) -> list[int]:
        """The images of a clip, frame by frame."""
        position %= self._length
        pairs = self._seconds[self._edges[position] : self._edges[position + 1]]
        return [int(self._starts[position]), *(int(row) for row in index.pairs[pairs, 1])]

    def _frame(self, index: PairIndex, row: int) -> dict[str, Any]:
        torch = import_torch()
        objects = self._objects(index, row)
        del objects["fidelity"]
        objects["occluded"] = torch.from_numpy(np.asarray(index.object_occluded[self._kept(index, row)]))
        return {**objects, "image_id": int(index.image_id[row]), "file_name": index.file_name(row)}


def collate_clips(clips: Sequence[Clip]) -> tuple[list[torch.Tensor], list[list[dict[str, Any]]]]:
    """A batch as two lists: clips differ in size and objects in number, so they are not stacked."""
    frames, targets = zip(*clips, strict=True)
    return list(frames), list(targets)
