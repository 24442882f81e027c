"""What a pair costs on one CPU core, stage by stage, against the way of the original scripts.

    python benchmarks/bench_pairs.py DATA [--repeat 5]

DATA is a folder with `lvis/lvis_v1_train.json` and `coco/train2017`. Prints a markdown table of CPU milliseconds per
second view (not of the clock, so that neighbours on the machine disturb it less): the best of the repeats for each
image and stage, averaged over the images with usable objects. The engine's own time is not in it; fidelity is
measured on an image that was changed everywhere, as after a diffusion engine. The original's way is written plainly
here after its description: a mask, a warp and a box for each object on its own, blackness as validity, two dilations.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cv2
import h5py
import msgspec
import numpy as np
from pycocotools import mask as coco_mask

from ovforge.image_io.codec import decode_rgb, encode_jpeg
from ovforge.image_io.hdf5 import ImageWriter
from ovforge.options.labels import Labels
from ovforge.options.pairs import GenerateOptions
from ovforge.runs.task import Shard, Slot
from ovforge.synthesis.compose import compose, to_image_size, to_working_size, without_objects
from ovforge.synthesis.fidelity import fidelity
from ovforge.synthesis.generate import pair_settings
from ovforge.synthesis.image_table import read_images
from ovforge.synthesis.labelling import label_objects
from ovforge.synthesis.masks import stack, usable_objects, window_as_json_rle
from ovforge.synthesis.motion import draw_motion
from ovforge.synthesis.pair_task import PairTask
from ovforge.synthesis.pairs import leaves_a_gap
from ovforge.synthesis.randomness import generator
from ovforge.synthesis.repaint import Engine, WorkingSize
from ovforge.synthesis.visibility import show_objects
from ovforge.synthesis.warp import FillEngine, WarpEngine

STAGES = (
    "decode",
    "masks",
    "background",
    "warp and compose",
    "to working size",
    "back to size",
    "boxes",
    "masks as RLE",
    "encode",
    "HDF5",
    "fidelity",
)
OURS_ALONE = ("background", "masks as RLE", "fidelity")
"""What the original does not do. Masks and boxes are of all objects here, of large ones there."""
WORKING = WorkingSize()
T = TypeVar("T")


class Clock:
    """Keeps the best time of each stage for each image."""

    def __init__(self) -> None:
        self.best: dict[tuple[str, int], float] = {}
        self.image = 0

    def __call__(self, stage: str, function: Callable[..., T], *arguments: Any) -> T:
        started = time.thread_time()
        result = function(*arguments)
        key, seconds = (stage, self.image), time.thread_time() - started
        self.best[key] = min(self.best.get(key, seconds), seconds)
        return result

    def mean(self) -> dict[str, float]:
        """Milliseconds per stage, averaged over the images."""
        per_stage: dict[str, list[float]] = defaultdict(list)
        for (stage, _), seconds in self.best.items():
            per_stage[stage].append(seconds * 1000)
        return {stage: sum(values) / len(values) for stage, values in per_stage.items()}


def ours(clock: Clock, image: dict[str, Any], records: list[bytes], data: bytes, writer: ImageWriter) -> None:
    """One second view, ovforge's way."""
    width, height, name = image["width"], image["height"], f"{image['id']}-{time.perf_counter_ns()}"
    pixels = clock("decode", decode_rgb, data, name)

    def rasterise() -> Any:
        labelling = label_objects(records, width, height, Labels.ALL, 0)
        return labelling, stack([o.rle for o in labelling.objects], width, height)

    labelling, masks = clock("masks", rasterise)
    motion = draw_motion(generator(0, image["id"], 0, "motion"), width, height)
    has_gap = leaves_a_gap(motion, width, height)
    background = clock("background", lambda: without_objects(pixels, labelling.annotated) if has_gap else None)
    composed = clock("warp and compose", compose, pixels, masks, motion, background)

    def shrink() -> Any:
        return to_working_size(composed.image, composed.masks.union(), WORKING)

    working, _, content = clock("to working size", shrink)
    final = clock("back to size", to_image_size, working, content, (width, height))

    def see() -> Any:
        return show_objects(masks, composed.masks, motion, original_outside=False)

    shown = clock("boxes", see)

    def encode_masks() -> None:
        for index, one in enumerate(shown):
            x, y, across, down = one.box
            if one.area:
                mask = composed.masks.mask(index, np.s_[y : y + down, x : x + across])
                window_as_json_rle(mask, x, y, width, height)

    clock("masks as RLE", encode_masks)
    jpeg = clock("encode", encode_jpeg, final)
    clock("HDF5", writer.add, name, jpeg)
    changed = cv2.add(final, 3)
    clock("fidelity", fidelity, composed.image, changed, composed.masks)


def originals(clock: Clock, image: dict[str, Any], records: list[bytes], data: bytes, file: h5py.File) -> None:
    """One second view as the original scripts make it."""
    width, height, name = image["width"], image["height"], f"{image['id']}-{time.perf_counter_ns()}"
    buffer = np.frombuffer(data, np.uint8)
    decoded = clock("decode", lambda: cv2.cvtColor(cv2.imdecode(buffer, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))

    def rasterise() -> list[np.ndarray]:
        masks = []
        for annotation in map(json.loads, records):
            if 64**2 < annotation["area"] < 32**5 and not annotation.get("iscrowd"):
                rles = coco_mask.frPyObjects(annotation["segmentation"], height, width)
                masks.append(coco_mask.decode(coco_mask.merge(rles)))
        return masks

    masks = clock("masks", rasterise)
    matrix = draw_motion(generator(0, image["id"], 0, "motion"), width, height).array()

    def warp() -> tuple[np.ndarray, list[np.ndarray]]:
        warped = cv2.warpPerspective(decoded, matrix, (width, height), flags=cv2.INTER_NEAREST)
        moved = [cv2.warpPerspective(m, matrix, (width, height), flags=cv2.INTER_NEAREST) for m in masks]
        return np.where(warped == 0, decoded, warped), moved

    composed, moved = clock("warp and compose", warp)

    def shrink() -> np.ndarray:
        union = np.zeros((height, width), np.uint8)
        for mask in moved:
            union = np.logical_or(union, mask).astype(np.uint8)
        union = cv2.dilate(union * 255, np.ones((15, 15), np.uint8), iterations=2)
        scale = min(WORKING.width / width, WORKING.height / height)
        size = (int(width * scale), int(height * scale))
        below, right = -size[1] % 64, -size[0] % 64
        small = cv2.resize(composed, size, interpolation=cv2.INTER_LANCZOS4)
        cv2.copyMakeBorder(cv2.resize(union, size), 0, below, 0, right, cv2.BORDER_CONSTANT)
        return np.asarray(cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_CONSTANT)[: size[1], : size[0]])

    working = clock("to working size", shrink)
    final = clock("back to size", lambda: cv2.resize(working, (width, height), interpolation=cv2.INTER_CUBIC))

    def boxes() -> list[tuple[list[int], int]]:
        found = []
        for mask in moved:
            ys, xs = np.where(mask)
            found.append(([xs.min(), ys.min(), np.ptp(xs), np.ptp(ys)] if len(xs) else [0] * 4, mask.sum()))
        return found

    clock("boxes", boxes)

    def encode() -> bytes:
        return cv2.imencode(".jpg", cv2.cvtColor(final, cv2.COLOR_RGB2BGR))[1].tobytes()

    jpeg = clock("encode", encode)
    clock("HDF5", lambda: file.create_dataset(name, data=np.bytes_(jpeg)))


def whole(data: Path, folder: Path, engine: Engine) -> float:
    """CPU milliseconds per image of a worker, everything in it."""
    images = read_images(data / "lvis/lvis_v1_train.json", None, variants=1)
    settings = pair_settings(GenerateOptions("benchmark"), engine)
    worker = PairTask(images, data / "coco/train2017", engine, settings).open(Slot(0))
    seconds = []
    for attempt in range(4):
        started = time.process_time()
        worker.run(Shard(0, 0, len(images)), folder / f"{engine.name}-{attempt}.h5")
        seconds.append(time.process_time() - started)
    worker.close()
    return min(seconds) / len(images) * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    content = json.loads((arguments.data / "lvis/lvis_v1_train.json").read_bytes())
    records: dict[int, list[bytes]] = defaultdict(list)
    for annotation in content["annotations"]:
        records[annotation["image_id"]].append(msgspec.json.encode(annotation))
    used = [i for i in content["images"] if usable_objects(records[i["id"]], i["width"], i["height"], 4096)[0]]
    clocks = {"ovforge": Clock(), "the original's way": Clock()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with ImageWriter(folder / "ours.h5") as writer, h5py.File(folder / "theirs.h5", "w") as file:
            for _ in range(arguments.repeat):
                for image in used:
                    data = (arguments.data / "coco/train2017" / image["coco_url"].rpartition("/")[2]).read_bytes()
                    for clock in clocks.values():
                        clock.image = image["id"]
                    ours(clocks["ovforge"], image, records[image["id"]], data, writer)
                    originals(clocks["the original's way"], image, records[image["id"]], data, file)
        times = {name: clock.mean() for name, clock in clocks.items()}
        print(f"{len(used)} images, one core, best of {arguments.repeat}; CPU milliseconds per second view\n")
        print("| stage | " + " | ".join(times) + " |\n|---|" + "---:|" * len(times))
        for stage in STAGES:
            print(f"| {stage} | " + " | ".join(f"{t[stage]:.2f}" if stage in t else "-" for t in times.values()) + " |")
        sums = [sum(t[s] for s in t if s not in OURS_ALONE) for t in times.values()]
        print("| what both do | " + " | ".join(f"{value:.2f}" for value in sums) + " |")
        print(f"\nratio {sums[1] / sums[0]:.2f}; a worker with everything in it, an image:")
        for engine in (FillEngine(), WarpEngine()):
            print(f"  {engine.name} {whole(arguments.data, folder, engine):.2f}")


if __name__ == "__main__":
    main()
