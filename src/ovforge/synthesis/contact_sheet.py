"""An image of pairs or clips to look at: original and second views, or a clip's frames, side by side, boxes and labels
coloured by track; and clips as videos."""

from __future__ import annotations

import colorsys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ovforge.annotation_io.door import Annotations, categories_of, open_annotations
from ovforge.errors import InputError
from ovforge.files.atomic import atomic_path, check_output, write_bytes
from ovforge.image_io.codec import decode_as_annotated
from ovforge.image_io.store import ImageStore, open_image_store
from ovforge.records.run_layout import frame_name
from ovforge.synthesis.randomness import generator

CELL = (400, 300)
"""Width and height in pixels of the space for one image."""
GAP = 8
PAPER = 245
IGNORED = (128, 128, 128)
"""RGB, of ignore regions."""


MOST_IN_A_STRIP = 8
"""Frames of a clip on a sheet; of a longer one so many are shown, evenly spaced."""
FRAMES_PER_SECOND = 30.0
"""Of real footage: a clip whose frames are `gap` of its frames apart is played so much slower."""


class _Motion(msgspec.Struct, frozen=True):
    gap: float = 15.0


class _Moved(msgspec.Struct, frozen=True):
    motion: _Motion = _Motion()


class _Frame(NamedTuple):
    id: int
    file_name: str
    video_id: int
    frame_id: int
    width: int
    height: int
    row: int
    """In the file's table of images."""


_FRAME_COLUMNS = ("id", "frame_name", "video_id", "frame_id", "width", "height")


class _Box(NamedTuple):
    image_id: int
    category_id: int
    track_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0


def contact_sheet(
    h5: Path,
    json: Path,
    out: Path,
    *,
    count: int = 8,
    seed: int = 0,
    columns: int = 2,
    mp4: Path | None = None,
    overwrite: bool = False,
) -> int:
    """Draw pairs or clips, chosen by the seed among those that share a track, as a PNG.

    Args:
        h5: the merged images, `NAME.h5`.
        json: the tracks, `NAME.json`.
        count: how many pairs; fewer if there are fewer.
        columns: pairs side by side; clips are drawn as strips, one below the other.
        mp4: a folder: each clip on the sheet is written there as a video, too, with its boxes.

    Returns:
        How many pairs are on the sheet.

    Raises:
        InputError: an input is missing or malformed, or holds no pair with a track in both views; or there are no
            clips to be written as videos, or OpenCV cannot write them.
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
        gaps = [
            msgspec.json.decode(opened.images.raw(frames[-1].row), type=_Moved).motion.gap
            for frames in pairs
            if _is_clip(frames)
        ]
    cells = []
    with open_image_store(h5) as store:
        if mp4 is not None:
            _write_videos(mp4, pairs, gaps, boxes, store=store, names=names, overwrite=overwrite)
        for frames in pairs:
            shown = [frames[index] for index in _evenly(len(frames), MOST_IN_A_STRIP)]
            views = [_drawn(_read(store, frame), boxes[frame.id], names) for frame in shown]
            cells.append(_side_by_side(views))
    columns = 1 if any(_is_clip(frames) for frames in pairs) else columns
    done, png = cv2.imencode(".png", cv2.cvtColor(_grid(cells, columns), cv2.COLOR_RGB2BGR))
    if not done:
        raise InputError(f"{out}: a sheet of {len(cells)} pairs cannot be encoded", hint="ask for fewer pairs")
    write_bytes(out, np.asarray(png).tobytes(), overwrite=overwrite)
    return len(cells)


def _is_clip(frames: Sequence[_Frame]) -> bool:
    return frames[1].file_name == frame_name(frames[0].file_name, 1)


def _read(store: ImageStore, frame: _Frame) -> NDArray[np.uint8]:
    return decode_as_annotated(store.read(frame.file_name), frame.file_name, frame.width, frame.height)


def _evenly(count: int, most: int) -> list[int]:
    """At most so many of the numbers below `count`, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def _write_videos(
    folder: Path,
    clips: Sequence[Sequence[_Frame]],
    gaps: Sequence[float],
    boxes: dict[int, list[_Box]],
    *,
    store: ImageStore,
    names: dict[int, str],
    overwrite: bool,
) -> None:
    clips = [frames for frames in clips if _is_clip(frames)]
    if not clips:
        raise InputError("--mp4: the run has no clips", hint="`ovforge pairs generate NAME --frames 5` makes some")
    paths = [folder / f"{Path(frames[0].file_name).stem}.mp4" for frames in clips]
    for path in paths:
        check_output(path, overwrite=overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    for path, frames, gap in zip(paths, clips, gaps, strict=True):
        images = (_boxed(_read(store, frame), boxes[frame.id], names) for frame in frames)
        with atomic_path(path, overwrite=overwrite) as temporary:
            write_mp4(temporary, images, FRAMES_PER_SECOND / gap)


def write_mp4(path: Path, images: Iterable[NDArray[np.uint8]], rate: float) -> None:
    """Write images of one size, uint8 RGB (height, width, 3), as a video of `rate` frames a second.

    Raises:
        InputError: this OpenCV cannot write such videos.
    """
    with tempfile.TemporaryDirectory(prefix="ovforge-") as scratch:
        written = Path(scratch) / "clip.mp4"  # OpenCV goes by the name's end
        writer: cv2.VideoWriter | None = None
        for image in images:
            if writer is None:
                size = (image.shape[1], image.shape[0])
                writer = cv2.VideoWriter(str(written), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
                if not writer.isOpened():
                    raise InputError(
                        "--mp4: this OpenCV cannot write MP4 videos", hint="leave it out, or install one with FFmpeg"
                    )
            writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if writer is not None:
            writer.release()
        path.write_bytes(written.read_bytes())


def track_colour(track_id: int) -> tuple[int, int, int]:
    """A colour, RGB, for a track; neighbouring tracks get hues far apart."""
    red, green, blue = colorsys.hsv_to_rgb(track_id * 0.618033988749895 % 1.0, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _chosen(opened: Annotations, count: int, seed: int) -> tuple[list[list[_Frame]], dict[int, list[_Box]]]:
    """Frames of the chosen pairs, and the boxes of each image in them."""
    videos: dict[int, list[_Frame]] = defaultdict(list)
    images, annotations = opened.images, opened.annotations
    for frame in map(_Frame, *(images[name].tolist() for name in _FRAME_COLUMNS), range(len(images))):
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
            pairs.append(several[video] if _is_clip(several[video]) else [first, seconds[0]])
    if not pairs:
        raise InputError(
            f"{opened.path}: holds no pair with an object in both views", hint="is it the JSON of `pairs annotate`?"
        )
    return pairs, boxes


def _drawn(image: NDArray[np.uint8], boxes: Sequence[_Box], names: dict[int, str]) -> NDArray[np.uint8]:
    """The image in a cell, with its boxes and labels."""
    scale = min(CELL[0] / image.shape[1], CELL[1] / image.shape[0])
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    drawn = _boxed(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), boxes, names, scale)
    cell = np.full((CELL[1], CELL[0], 3), PAPER, np.uint8)
    left, top = (CELL[0] - size[0]) // 2, (CELL[1] - size[1]) // 2
    cell[top : top + size[1], left : left + size[0]] = drawn
    return cell


def _boxed(
    image: NDArray[np.uint8], boxes: Sequence[_Box], names: dict[int, str], scale: float = 1.0
) -> NDArray[np.uint8]:
    """The image with its boxes, which are for an image `scale` times smaller, and labels."""
    for box in sorted(boxes, key=lambda b: -b.bbox[2] * b.bbox[3]):
        x, y, width, height = (value * scale for value in box.bbox)
        if width < 1 or height < 1:
            continue
        colour = IGNORED if box.iscrowd else track_colour(box.track_id)
        corner, opposite = (round(x), round(y)), (round(x + width) - 1, round(y + height) - 1)
        cv2.rectangle(image, corner, opposite, colour, 2)
        name = names.get(box.category_id, box.category_id)
        _label(image, f"{name} ignored" if box.iscrowd else f"{name} {box.track_id}", corner, colour)
    return image


def _label(canvas: NDArray[np.uint8], text: str, corner: tuple[int, int], colour: tuple[int, int, int]) -> None:
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
    x = min(max(corner[0], 0), max(canvas.shape[1] - width - 2, 0))
    y = min(max(corner[1], 0), canvas.shape[0] - height - below - 2)
    cv2.rectangle(canvas, (x, y), (x + width + 2, y + height + below + 2), colour, -1)
    dark = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] < 130
    ink = (255, 255, 255) if dark else (0, 0, 0)
    cv2.putText(canvas, text, (x + 1, y + height + 1), cv2.FONT_HERSHEY_SIMPLEX, 0.4, ink, 1, cv2.LINE_AA)


def _side_by_side(views: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    between = np.full((CELL[1], GAP // 2, 3), PAPER, np.uint8)
    return np.hstack([part for view in views for part in (between, view)][1:])


def _grid(cells: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    columns = max(1, min(columns, len(cells)))
    rows = -(-len(cells) // columns)
    height, width = cells[0].shape[:2]
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + 2 * GAP), 3), PAPER, np.uint8)
    for index, cell in enumerate(cells):
        top, left = GAP + index // columns * (height + GAP), GAP + index % columns * (width + 2 * GAP)
        sheet[top : top + height, left : left + width] = cell
    return sheet
