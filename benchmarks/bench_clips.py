"""How clips move compared with real footage, and what rendering them costs compared with encoding them.

    python benchmarks/bench_clips.py DATA [--seeds 24] [--video VIDEO] [--no-cost | --no-motion] [...]

DATA is a folder with `lvis/lvis_v1_train.json` and `coco/train2017`. Prints markdown tables:

- for 5, 15 and 30 video frames between two frames of a clip: the 10th, 50th and 90th percentile of the absolute log
  area ratio and of the shift of the box's centre (share of the diagonal), from one frame to the next, of the visible
  masks above 64x64 pixels in both; of the objects that move by themselves, in every other photograph and in the
  rest of them, and of all objects; beside what DAVIS
  sequences have for their (moving) objects. VIDEO is a folder of `frames/NAME/KKKKK.jpg` and `masks/NAME/KKKKK.png`:
  the same measured on it, and on clips that are made of its first frames.
- in how many clips something moves by itself, and why objects do not.
- CPU milliseconds of one core for each frame, with and without its JPEG, against the JPEG encoding alone; and the
  peak memory of a worker that makes clips of 3, 16 and 64 frames.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ovforge.image_io.codec import decode_rgb, encode_jpeg
from ovforge.options.labels import Labels
from ovforge.options.pairs import ClipMotion
from ovforge.parallel import keep_freed_memory
from ovforge.runs.task import Shard, Slot
from ovforge.synthesis.clips.clip import ClipSettings, plan_clip, render_clip
from ovforge.synthesis.clips.layers import divide
from ovforge.synthesis.clips.motion import PRESETS, draw_paths
from ovforge.synthesis.clips.truth import Truth
from ovforge.synthesis.image_table import read_images
from ovforge.synthesis.masks import UnusableMaskError, rasterise
from ovforge.synthesis.pair_task import PairTask
from ovforge.synthesis.pairs import PairSettings
from ovforge.synthesis.randomness import generator
from ovforge.synthesis.warp import FillEngine

SMALLEST = 64 * 64
DAVIS = {
    5: ((0.02, 0.12, 0.32), (0.01, 0.02, 0.06)),
    15: ((0.01, 0.24, 1.06), (0.01, 0.05, 0.13)),
    30: ((0.08, 0.48, 1.75), (0.03, 0.06, 0.16)),
}
"""By gap: log area ratio and shift; the figures that clips are to follow."""

Still = tuple[int, NDArray[np.uint8], list[dict[str, Any]], list[bool]]
Steps = list[tuple[float, float, bool, int]]
"""Log area ratio, shift, whether the object moves by itself, the place of its photograph among all."""


def stills(data: Path) -> Iterator[Still]:
    """The images that have objects: id, pixels, masks, crowd flags."""
    content = json.loads((data / "lvis/lvis_v1_train.json").read_bytes())
    objects = defaultdict(list)
    for annotation in content["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    for image in content["images"]:
        path = data / "coco/train2017" / image["coco_url"].rpartition("/")[2]
        rles, crowd = [], []
        for annotation in objects[image["id"]]:
            try:
                rles.append(rasterise(annotation["segmentation"], image["width"], image["height"]))
            except UnusableMaskError:
                continue
            crowd.append(bool(annotation.get("iscrowd")))
        if rles:
            yield image["id"], decode_rgb(path.read_bytes(), path), rles, crowd


def stills_of_video(folder: Path) -> Iterator[Still]:
    """The first frame of each sequence, with its one object."""
    for place, sequence in enumerate(sorted((folder / "masks").iterdir())):
        first = min(sequence.glob("*.png"))
        mask = cv2.imdecode(np.frombuffer(first.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise SystemExit(f"{first}: not an image")
        frame = folder / "frames" / sequence.name / f"{first.stem}.jpg"
        rle = coco_mask.encode(np.asfortranarray(mask > 0).view(np.uint8))
        yield place, decode_rgb(frame.read_bytes(), frame), [rle], [False]


def steps_of_clips(images: Iterable[Still], motion: str, gap: int, seeds: range, frames: int) -> Steps:
    """The steps of all objects in a clip of each image for each of the seeds."""
    found: Steps = []
    for place, (image_id, image, rles, crowd) in enumerate(images):
        height, width = image.shape[:2]
        scene = divide(rles, crowd, width, height)
        truth = Truth(scene)
        moving = {index for position in scene.moving() for index in scene.groups[position].members}
        for seed in seeds:
            paths = draw_paths(
                scene,
                PRESETS[motion],
                frames,
                gap,
                functools.partial(_clip_generator, seed, image_id),
            )
            before = truth.frame(np.eye(3), [np.eye(3)] * len(scene.groups))
            for frame in range(1, frames):
                after = truth.frame(paths.camera[frame], [matrices[frame] for matrices in paths.groups])
                for index, (a, b) in enumerate(zip(before, after, strict=True)):
                    if not crowd[index] and min(a.area, b.area) > SMALLEST:
                        step = _step(a.box, a.area, b.box, b.area, np.hypot(width, height))
                        found.append((*step, index in moving, place))
                before = after
    return found


def _clip_generator(seed: int, image_id: int, purpose: str) -> np.random.Generator:
    return generator(seed, image_id, 0, f"clip {purpose}")


def steps_of_video(folder: Path, gap: int) -> Steps:
    """The steps of the objects of real sequences."""
    found: Steps = []
    for sequence in sorted((folder / "masks").iterdir()):
        seen = {}
        for path in sorted(sequence.glob("*.png")):
            mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            assert mask is not None, path
            seen[int(path.stem)] = (cv2.boundingRect(mask), cv2.countNonZero(mask), np.hypot(*mask.shape))
        for number, (box, area, diagonal) in seen.items():
            if number + gap in seen and min(area, seen[number + gap][1]) > SMALLEST:
                found.append((*_step(box, area, *seen[number + gap][:2], diagonal), True, 0))
    return found


def _step(box: Any, area: int, other_box: Any, other_area: int, diagonal: float) -> tuple[float, float]:
    centres = [np.array([b[0] + b[2] / 2, b[1] + b[3] / 2]) for b in (box, other_box)]
    return abs(float(np.log(other_area / area))), float(np.hypot(*(centres[1] - centres[0]))) / diagonal


def print_motion(data: Path, motion: str, seeds: range, frames: int, video: Path | None) -> None:
    """Percentiles of clips beside those of real footage."""
    print(f"## Motion: {motion}, {frames} frames a clip, {len(seeds)} clips of each image, seeds from {seeds.start}\n")
    print("| video frames apart | of | steps | absolute log area ratio, 10/50/90 % | shift of the centre, 10/50/90 % |")
    print("|---|---|---:|---|---|")
    for gap, (areas, shifts) in DAVIS.items():
        steps = steps_of_clips(stills(data), motion, gap, seeds, frames)
        print(f"| {gap} | DAVIS, as given | | {_three(areas)} | {_three(shifts)} |")
        rows = {
            "clips, objects that move by themselves, first half": [s for s in steps if s[2] and s[3] % 2 == 0],
            "clips, objects that move by themselves, second half": [s for s in steps if s[2] and s[3] % 2],
            "clips, all objects": steps,
        }
        if video is not None:
            own = steps_of_clips(stills_of_video(video), motion, gap, seeds, frames)
            rows["clips of the first frames of VIDEO, objects that move by themselves"] = [s for s in own if s[2]]
            rows = {"the sequences of VIDEO themselves": steps_of_video(video, gap), **rows}
        for name, some in rows.items():
            if not some:
                print(f"| {gap} | {name} | 0 | | |")
                continue
            table = np.percentile(np.array([step[:2] for step in some]), [10, 50, 90], axis=0)
            print(f"| {gap} | {name} | {len(some):,} | {_three(table[:, 0])} | {_three(table[:, 1])} |")


def print_movers(data: Path) -> None:
    """In how many clips something moves by itself, and why objects do not."""
    reasons: Counter[str] = Counter()
    clips = some_moves = 0
    for _, image, rles, crowd in stills(data):
        scene = divide(rles, crowd, image.shape[1], image.shape[0])
        clips += 1
        some_moves += bool(scene.moving())
        reasons.update(group.why_not or "moves" for group in scene.groups)
    print(f"\nIn {some_moves} of {clips} clips something moves by itself. Groups of objects:\n")
    print("| | groups |\n|---|---:|")
    for reason, count in reasons.most_common():
        print(f"| {reason} | {count} |")


def _three(values: Any) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def print_cost(data: Path, motion: str, frames: int, repeat: int) -> None:
    """Rendering against encoding, CPU time of one core."""
    cv2.setNumThreads(1)
    keep_freed_memory()  # as a worker does
    total: dict[str, float] = defaultdict(float)
    images = 0
    for image_id, image, rles, crowd in stills(data):
        best: dict[tuple[str, int], float] = {}

        def note(what: str, frame: int, seconds: float, best: dict[tuple[str, int], float] = best) -> None:
            best[what, frame] = min(best.get((what, frame), seconds), seconds)

        for _ in range(repeat):
            started = time.thread_time()
            plan = plan_clip(image, rles, crowd, ClipSettings(frames=frames, motion=motion), image_id=image_id)
            note("plan", 0, time.thread_time() - started)
            iterator = render_clip(image, plan)
            next(iterator)
            for number in range(1, frames):
                started = time.thread_time()
                frame = next(iterator)
                rendered = time.thread_time()
                encode_jpeg(frame.image)
                note("render", number, rendered - started)
                note("encode", number, time.thread_time() - rendered)
        for (what, _), seconds in best.items():
            total[what] += seconds * 1000
        images += 1
    per_frame = images * (frames - 1)
    render, encode = total["render"] / per_frame, total["encode"] / per_frame
    print(f"\n## Cost: {images} images, {frames} frames a clip, one core, the best of {repeat} times for each frame\n")
    print("| | CPU milliseconds |\n|---|---:|")
    print(f"| a clip's masks, paths and background, once | {total['plan'] / images:.1f} |")
    print(f"| rendering a frame, with its truth | {render:.2f} |")
    print(f"| encoding a frame as JPEG, quality 95 | {encode:.2f} |")
    print(f"| rendering / encoding | {render / encode:.2f} |")


def _peak(data: Path, motion: str, frames: int, results: Any) -> None:
    table = read_images(data / "lvis/lvis_v1_train.json", None, variants=1)
    settings = PairSettings(labels=Labels.ALL, min_area=0.0, frames=frames, motion=ClipMotion(motion))
    worker = PairTask(table, data / "coco/train2017", FillEngine(), settings).open(Slot(0))
    with tempfile.TemporaryDirectory() as folder:
        worker.run(Shard(0, 0, min(8, len(table))), Path(folder) / "shard.h5")
    worker.close()
    # Not ru_maxrss: a new process inherits its parent's.
    results.put(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]))


def print_memory(data: Path, motion: str) -> None:
    """Peak memory of a worker by the number of frames."""
    print("\n| frames a clip | peak memory of a worker that makes 8 clips |\n|---:|---:|")
    context = multiprocessing.get_context("spawn")
    for frames in (3, 16, 64):
        results = context.Queue()
        process = context.Process(target=_peak, args=(data, motion, frames, results))
        process.start()
        print(f"| {frames} | {results.get() / 1024:.0f} MB |")
        process.join()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--motion", choices=sorted(PRESETS), default="video")
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--no-cost", action="store_true")
    parser.add_argument("--no-motion", action="store_true")
    arguments = parser.parse_args()
    if not arguments.no_motion:
        seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        print_motion(arguments.data, arguments.motion, seeds, arguments.frames, arguments.video)
        print_movers(arguments.data)
    if not arguments.no_cost:
        print_cost(arguments.data, arguments.motion, arguments.frames, arguments.repeat)
        print_memory(arguments.data, arguments.motion)


if __name__ == "__main__":
    main()
