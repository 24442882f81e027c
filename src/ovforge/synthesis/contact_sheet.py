"""An image of pairs or clips to look at: original and second views, or a clip's frames, side by side, each under its
file name, with boxes; an object has one number and one colour in all of them. And clips as videos."""

from __future__ import annotations

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
from ovforge.image_io.drawing import Label, draw_boxes
from ovforge.image_io.lettering import LARGE, SMALL, fitted, write_text
from ovforge.image_io.store import ImageStore, open_image_store
from ovforge.records.run_layout import frame_name
from ovforge.synthesis.randomness import generator

CELL = (440, 330)
"""Width and height in pixels of the space for one image."""
GAP = 8
HEADER, CAPTION = 40, 22
"""Heights of the sheet's head line, and of the line above each image that has its file name."""
PAPER = 245


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
        pairs, boxes, total = _chosen(opened, count, seed)
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
            numbers = _numbers([box for frame in frames for box in boxes[frame.id]])
            views = [_drawn(_read(store, frame), frame.file_name, boxes[frame.id], numbers, names) for frame in shown]
            cells.append(_side_by_side(views))
    is_clips = any(_is_clip(frames) for frames in pairs)
    title = _title(h5.stem, len(cells), total, is_clips=is_clips)
    sheet = _grid(cells, 1 if is_clips else columns, title)
    done, png = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
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
        numbers = _numbers([box for frame in frames for box in boxes[frame.id]])
        images = (draw_boxes(_read(store, f), _labels(boxes[f.id], numbers, names)) for f in frames)
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


def _chosen(opened: Annotations, count: int, seed: int) -> tuple[list[list[_Frame]], dict[int, list[_Box]], int]:
    """Frames of the chosen pairs, the boxes of each image in them, and how many pairs there are to choose from."""
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
    return pairs, boxes, len(order)


def _numbers(boxes: Sequence[_Box]) -> dict[int, int]:
    """Each track's number among those of a pair or clip, from 0: as they come in the first frame they are in."""
    numbers: dict[int, int] = {}
    for box in boxes:
        if not box.iscrowd:
            numbers.setdefault(box.track_id, len(numbers))
    return numbers


def _labels(boxes: Sequence[_Box], numbers: dict[int, int], names: dict[int, str], scale: float = 1.0) -> list[Label]:
    """The boxes for an image that is so much larger, largest first."""
    found = []
    for box in sorted(boxes, key=lambda b: -b.bbox[2] * b.bbox[3]):
        name = str(names.get(box.category_id, box.category_id))
        edges = tuple(value * scale for value in box.bbox)
        number = None if box.iscrowd else numbers.get(box.track_id)
        found.append(Label(edges, f"{name}, ignored" if box.iscrowd else name, number))  # type: ignore[arg-type]
    return found


def _drawn(
    image: NDArray[np.uint8], name: str, boxes: Sequence[_Box], numbers: dict[int, int], names: dict[int, str]
) -> NDArray[np.uint8]:
    """The image in a cell under its file name, with its boxes and labels."""
    scale = min(CELL[0] / image.shape[1], CELL[1] / image.shape[0])
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    cell = np.full((CAPTION + CELL[1], CELL[0], 3), PAPER, np.uint8)
    left, top = (CELL[0] - size[0]) // 2, CAPTION
    write_text(cell, fitted(name, CELL[0], SMALL), (0, 4), SMALL)
    cell[top : top + size[1], left : left + size[0]] = draw_boxes(small, _labels(boxes, numbers, names, scale))
    return cell


def _side_by_side(views: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    between = np.full((views[0].shape[0], GAP // 2, 3), PAPER, np.uint8)
    return np.hstack([part for view in views for part in (between, view)][1:])


def _grid(cells: Sequence[NDArray[np.uint8]], columns: int, title: str) -> NDArray[np.uint8]:
    columns = max(1, min(columns, len(cells)))
    rows = -(-len(cells) // columns)
    height, width = cells[0].shape[:2]
    sheet = np.full((HEADER + rows * (height + 2 * GAP), columns * (width + 2 * GAP), 3), PAPER, np.uint8)
    write_text(sheet, fitted(title, sheet.shape[1] - 2 * GAP, LARGE), (GAP, (HEADER - 20) // 2), LARGE)
    for index, cell in enumerate(cells):
        top, left = HEADER + index // columns * (height + 2 * GAP), GAP + index % columns * (width + 2 * GAP)
        sheet[top : top + height, left : left + width] = cell
    return sheet


def _title(name: str, drawn: int, total: int, *, is_clips: bool) -> str:
    what = "clips" if is_clips else "pairs"
    return f"{name}: {drawn:,} of {total:,} {what}; same number and colour: same object"
