"""An image of pairs to look at: original and second views side by side, boxes and labels coloured by track."""

from __future__ import annotations

import colorsys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.door import Annotations, categories_of, open_annotations
from ovforge.errors import InputError
from ovforge.files.atomic import check_output, write_bytes
from ovforge.image_io.codec import decode_as_annotated
from ovforge.image_io.store import open_image_store
from ovforge.synthesis.randomness import generator

CELL = (400, 300)
"""Width and height in pixels of the space for one image."""
GAP = 8
PAPER = 245
IGNORED = (128, 128, 128)
"""RGB, of ignore regions."""


class _Frame(NamedTuple):
    id: int
    file_name: str
    video_id: int
    frame_id: int
    width: int
    height: int


_FRAME_COLUMNS = ("id", "frame_name", "video_id", "frame_id", "width", "height")


class _Box(NamedTuple):
    image_id: int
    category_id: int
    track_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0


def contact_sheet(
    h5: Path, json: Path, out: Path, *, count: int = 8, seed: int = 0, columns: int = 2, overwrite: bool = False
) -> int:
    """Draw pairs, chosen by the seed among those that share a track, as a PNG.

    Args:
        h5: the merged images, `NAME.h5`.
        json: the tracks, `NAME.json`.
        count: how many pairs; fewer if there are fewer.
        columns: pairs side by side.

    Returns:
        How many pairs are on the sheet.

    Raises:
        InputError: an input is missing or malformed, or holds no pair with a track in both views.
    """
    check_output(out, overwrite=overwrite)
    with open_annotations(
        json,
        images=_FRAME_COLUMNS[1:],
        annotations=("track_id", "bbox", "iscrowd"),
        categories=("name",),
        optional={"categories.name"},
    ) as opened:
        pairs, boxes = _chosen(opened, count, seed)
        names = {one.id: one.name for one in categories_of(opened.categories) if one.name}
    cells = []
    with open_image_store(h5) as store:
        for frames in pairs:
            views = [
                _drawn(
                    decode_as_annotated(store.read(frame.file_name), frame.file_name, frame.width, frame.height),
                    boxes[frame.id],
                    names,
                )
                for frame in frames
            ]
            cells.append(_side_by_side(views))
    done, png = cv2.imencode(".png", cv2.cvtColor(_grid(cells, columns), cv2.COLOR_RGB2BGR))
    if not done:
        raise InputError(f"{out}: a sheet of {len(cells)} pairs cannot be encoded", hint="ask for fewer pairs")
    write_bytes(out, np.asarray(png).tobytes(), overwrite=overwrite)
    return len(cells)


def track_colour(track_id: int) -> tuple[int, int, int]:
    """A colour, RGB, for a track; neighbouring tracks get hues far apart."""
    red, green, blue = colorsys.hsv_to_rgb(track_id * 0.618033988749895 % 1.0, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _chosen(opened: Annotations, count: int, seed: int) -> tuple[list[list[_Frame]], dict[int, list[_Box]]]:
    """Frames of the chosen pairs, and the boxes of each image in them."""
    videos: dict[int, list[_Frame]] = defaultdict(list)
    images, annotations = opened.images, opened.annotations
    for frame in map(_Frame, *(images[name].tolist() for name in _FRAME_COLUMNS)):
        videos[frame.video_id].append(frame)
    several = {video: sorted(f, key=lambda one: one.frame_id) for video, f in videos.items() if len(f) > 1}
    order = generator(seed, 0, 0, "contact sheet").permutation(sorted(several)).tolist() if several else []
    # A few more than asked for are looked at: some pairs have no object that is in both views.
    wanted = {frame.id for video in order[: 4 * count + 16] for frame in several[video]}
    boxes: dict[int, list[_Box]] = defaultdict(list)
    rows = np.flatnonzero(np.isin(annotations["image_id"], sorted(wanted)))
    for box in map(_Box, *(annotations[name][rows].tolist() for name in _Box._fields)):
        boxes[box.image_id].append(box)
    pairs: list[list[_Frame]] = []
    for video in order[: 4 * count + 16]:
        first, *others = several[video]
        tracks = {box.track_id for box in boxes[first.id] if not box.iscrowd}
        seconds = [f for f in others if any(box.track_id in tracks and not box.iscrowd for box in boxes[f.id])]
        if seconds and len(pairs) < count:
            pairs.append([first, seconds[0]])
    if not pairs:
        raise InputError(
            f"{opened.path}: holds no pair with an object in both views", hint="is it the JSON of `pairs annotate`?"
        )
    return pairs, boxes


def _drawn(image: NDArray[np.uint8], boxes: Sequence[_Box], names: dict[int, str]) -> NDArray[np.uint8]:
    """The image in a cell, with its boxes and labels."""
    scale = min(CELL[0] / image.shape[1], CELL[1] / image.shape[0])
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    canvas = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    for box in sorted(boxes, key=lambda b: -b.bbox[2] * b.bbox[3]):
        x, y, width, height = (value * scale for value in box.bbox)
        if width < 1 or height < 1:
            continue
        colour = IGNORED if box.iscrowd else track_colour(box.track_id)
        corner, opposite = (round(x), round(y)), (round(x + width) - 1, round(y + height) - 1)
        cv2.rectangle(canvas, corner, opposite, colour, 2)
        name = names.get(box.category_id, box.category_id)
        _label(canvas, f"{name} ignored" if box.iscrowd else f"{name} {box.track_id}", corner, colour)
    cell = np.full((CELL[1], CELL[0], 3), PAPER, np.uint8)
    left, top = (CELL[0] - size[0]) // 2, (CELL[1] - size[1]) // 2
    cell[top : top + size[1], left : left + size[0]] = canvas
    return cell


def _label(canvas: NDArray[np.uint8], text: str, corner: tuple[int, int], colour: tuple[int, int, int]) -> None:
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
    x = min(max(corner[0], 0), max(canvas.shape[1] - width - 2, 0))
    y = min(max(corner[1], 0), canvas.shape[0] - height - below - 2)
    cv2.rectangle(canvas, (x, y), (x + width + 2, y + height + below + 2), colour, -1)
    dark = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] < 130
    ink = (255, 255, 255) if dark else (0, 0, 0)
    cv2.putText(canvas, text, (x + 1, y + height + 1), cv2.FONT_HERSHEY_SIMPLEX, 0.4, ink, 1, cv2.LINE_AA)


def _side_by_side(views: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.hstack([views[0], np.full((CELL[1], GAP // 2, 3), PAPER, np.uint8), views[1]])


def _grid(cells: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    columns = max(1, min(columns, len(cells)))
    rows = -(-len(cells) // columns)
    height, width = cells[0].shape[:2]
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + 2 * GAP), 3), PAPER, np.uint8)
    for index, cell in enumerate(cells):
        top, left = GAP + index // columns * (height + GAP), GAP + index % columns * (width + 2 * GAP)
        sheet[top : top + height, left : left + width] = cell
    return sheet
