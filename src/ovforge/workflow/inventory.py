"""What the two documents ask a user to download, and what of it is here.

The list follows MM-OVOD's `datasets/` document and OVTrack's `data/` document. Nothing is judged by its name alone:
annotation files say which release they look like, folders how many images or classes they hold.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from ovforge.annotation_io.door import Annotations, open_annotations, read_table
from ovforge.annotation_io.json_text import opening_problem
from ovforge.errors import AnnotationFileError, OvforgeError
from ovforge.image_io.read_file import exists
from ovforge.options import layout
from ovforge.workflow.image_probes import (
    ImageProbe,
    probe_imagenet,
    probe_imagenet_archive,
    probe_images,
    probe_visual_genome_images,
)

LVIS_SITE = "lvisdataset.org/dataset"
COCO_SITE = "cocodataset.org/#download"
IMAGENET_SITE = "image-net.org/download.php"
VISUAL_GENOME_SITE = "homes.cs.washington.edu/~ranjay/visualgenome"
MODEL_SITE = "huggingface.co/CompVis/stable-diffusion-v1-4"


@dataclass(frozen=True)
class ProbeResult:
    """What a look at a place found."""

    files: int | None = None
    looks_like: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Input:
    """One thing to download, or to have from elsewhere."""

    key: str
    job: str
    what: str
    places: tuple[Path, ...]
    site: str
    download: str
    look: Callable[[Path], ProbeResult]
    optional: bool = False


class InputState(msgspec.Struct, frozen=True):
    """One input, as found."""

    key: str
    job: str
    what: str
    place: str
    """Where it is, or where to put or link it."""
    present: bool
    optional: bool
    files: int | None
    """How many images, or class folders; None for a single file."""
    looks_like: str
    problem: str
    site: str
    download: str


def take_inventory(root: Path) -> list[InputState]:
    """Look at every input below `root`, in the documents' order."""
    return [_state(root, wanted) for wanted in INPUTS]


def _probe(wanted: Input, path: Path) -> ProbeResult:
    try:
        return wanted.look(path)
    except OvforgeError as error:
        return ProbeResult(problem=error.message)
    except OSError as error:
        return ProbeResult(problem=f"cannot be read: {error.strerror or error}")


def _state(root: Path, wanted: Input) -> InputState:
    here = [place for place in wanted.places if exists(root / place)]
    dangling = next((place for place in wanted.places if (root / place).is_symlink()), None)
    look = ProbeResult(problem="a link that leads nowhere" if dangling and not here else "")
    found = here[0] if here else None
    for place in here:
        result = _probe(wanted, root / place)
        if not result.problem or place == here[0]:
            found, look = place, result
        if not result.problem:
            break
    if found == layout.IMAGENET_DIR and look.problem and not look.files:  # it is there for other things
        found, look = None, ProbeResult()
    return InputState(
        key=wanted.key,
        job=wanted.job,
        what=wanted.what,
        place=str(found or wanted.places[0]),
        present=found is not None and not look.problem,
        optional=wanted.optional,
        files=look.files,
        looks_like=look.looks_like,
        problem=look.problem,
        site=wanted.site,
        download=wanted.download,
    )


def _lvis(path: Path, *, split: str) -> ProbeResult:
    with open_annotations(path, images=_SPLIT_FROM, categories=("frequency",), spans=()) as opened:
        count, frequencies = len(opened.categories), set(opened.categories["frequency"]) - {""}
        splits = _splits(opened)
    releases = {1203: "LVIS v1", 1230: "LVIS v0.5", 80: "COCO instances"}
    name = releases.get(count, f"{count:,} classes, no release known here")
    if not frequencies:
        return ProbeResult(looks_like=name, problem="its categories have no frequency (r, c, f): not an LVIS file")
    # LVIS's val file has images of COCO's train2017, too; its train file has none of val2017.
    of_val = sum(number for (_, part), number in splits.items() if part == "val")
    if split == "train" and of_val:
        return ProbeResult(
            looks_like=name,
            problem=f"holds val images ({of_val:,} of {splits.total():,}): it is the val file, in train's place",
        )
    if split == "val" and splits and not of_val:
        return ProbeResult(looks_like=name, problem="holds train images only: it is the train file, in val's place")
    return ProbeResult(looks_like=name)


_SPLIT_FROM = ("file_name", "coco_url")
_SPLIT = re.compile(r"(train|val|test)(2014|2015|2017)(?![0-9])")


def _splits(opened: Annotations) -> Counter[tuple[str, str]]:
    """How many images are of which year and part of COCO, by their addresses and names; others are not counted."""
    columns = (opened.images[name].tolist() for name in _SPLIT_FROM)
    matches = (_SPLIT.search(url) or _SPLIT.search(name) for name, url in zip(*columns, strict=True))
    return Counter((match[2], match[1]) for match in matches if match)


def _coco(path: Path) -> ProbeResult:
    with open_annotations(path, images=_SPLIT_FROM, categories=(), spans=()) as opened:
        count, splits = len(opened.categories), _splits(opened)
    if count != 80:
        return ProbeResult(looks_like=f"{count:,} classes", problem="COCO instances have 80 classes")
    if not splits:
        return ProbeResult(looks_like="COCO instances")
    (year, part), _ = splits.most_common(1)[0]
    name = f"COCO {year} {part} instances"
    if (year, part) != ("2017", "train"):
        return ProbeResult(looks_like=name, problem=f"holds images of {part}{year}, not of train2017: {name}")
    return ProbeResult(looks_like="COCO 2017 instances")


def _captions(path: Path) -> ProbeResult:
    if not len(read_table(path, "annotations", optional={"annotations.id"})):
        return ProbeResult(problem="has no annotations, so no captions")
    # The first records tell.
    with open(path, "rb") as file:
        head = file.read(1 << 16)
        file.seek(max(0, path.stat().st_size - (1 << 16)))
        tail = file.read()
    if b'"caption"' not in head and b'"caption"' not in tail:
        return ProbeResult(problem='has no "caption": COCO\'s captions file is another one')
    return ProbeResult(looks_like="COCO captions")


def _images(path: Path) -> ProbeResult:
    return _result(probe_images(path))


def _imagenet(path: Path) -> ProbeResult:
    return _result(probe_imagenet(path))


def _archive(path: Path) -> ProbeResult:
    return _result(probe_imagenet_archive(path))


def _visual_genome_images(path: Path, *, folder: str) -> ProbeResult:
    return _result(probe_visual_genome_images(path, folder))


def _result(probe: ImageProbe) -> ProbeResult:
    return ProbeResult(probe.files, probe.looks_like, probe.problem)


def _visual_genome(path: Path) -> ProbeResult:
    head = _head_of_list(path)
    if b'"objects"' not in head:
        return ProbeResult(problem='has no "objects": Visual Genome\'s objects.json is another file')
    if b'"synsets"' not in head:
        return ProbeResult(
            looks_like="v1.0", problem="its objects have no synsets: take objects.json of version 1.2 or later"
        )
    return ProbeResult(looks_like="with synsets (v1.2 or later)")


def _image_list(path: Path) -> ProbeResult:
    if b'"url"' not in _head_of_list(path):
        return ProbeResult(problem='has no "url": Visual Genome\'s image_data.json is another file')
    return ProbeResult()


def _head_of_list(path: Path) -> bytes:
    """The first bytes of a JSON list that is whole, as far as its two ends tell.

    Raises:
        AnnotationFileError: it is something else; says what.
    """
    with open(path, "rb") as file:
        head = file.read(1 << 16)
        file.seek(max(0, path.stat().st_size - 64))
        tail = file.read().rstrip()
    if problem := opening_problem(head):
        raise AnnotationFileError(path, problem.text, hint=problem.hint)
    if not head.lstrip().startswith(b"["):
        raise AnnotationFileError(path, "is not a JSON list")
    if not tail.endswith(b"]"):
        raise AnnotationFileError(path, "is cut short: its list has no end")
    return head


def _place(folder: Path, name: str) -> tuple[Path, ...]:
    return (folder / name,)


INPUTS: tuple[Input, ...] = (
    Input(
        "lvis-train",
        "detection",
        "LVIS v1 train annotations",
        (layout.LVIS_TRAIN,),
        LVIS_SITE,
        "lvis_v1_train.json.zip",
        partial(_lvis, split="train"),
    ),
    Input(
        "lvis-val",
        "detection",
        "LVIS v1 val annotations",
        (layout.LVIS_VAL,),
        LVIS_SITE,
        "lvis_v1_val.json.zip",
        partial(_lvis, split="val"),
    ),
    Input(
        "coco-train-images",
        "detection",
        "COCO train2017 images",
        _place(layout.COCO_DIR, "train2017"),
        COCO_SITE,
        "train2017.zip",
        _images,
    ),
    Input(
        "coco-val-images",
        "detection",
        "COCO val2017 images",
        _place(layout.COCO_DIR, "val2017"),
        COCO_SITE,
        "val2017.zip",
        _images,
    ),
    Input(
        "imagenet-archive",
        "detection",
        "ImageNet-21K archive (only to make imagenet21k_P)",
        layout.IMAGENET_ARCHIVES,
        IMAGENET_SITE,
        "fall11_whole.tar, winter21_whole.tar.gz or imagenet21k_resized.tar.gz",
        _archive,
        optional=True,
    ),
    Input(
        "imagenet",
        "detection",
        "ImageNet-21K images by class",
        (layout.IMAGENET_21K, layout.IMAGENET_DIR / "imagenet22k", layout.IMAGENET_DIR),
        IMAGENET_SITE,
        "fall11_whole.tar, then `ovforge imagenet prepare`; or link an existing copy",
        _imagenet,
    ),
    Input(
        "visual-genome-objects",
        "detection",
        "Visual Genome objects",
        _place(layout.VISUAL_GENOME_DIR, "objects.json"),
        VISUAL_GENOME_SITE,
        "objects.json.zip",
        _visual_genome,
    ),
    Input(
        "visual-genome-images",
        "detection",
        "Visual Genome image list",
        _place(layout.VISUAL_GENOME_DIR, "image_data.json"),
        VISUAL_GENOME_SITE,
        "image_data.json.zip",
        _image_list,
    ),
    Input(
        "visual-genome-images-1",
        "detection",
        "Visual Genome images, part 1",
        (layout.VISUAL_GENOME_DIR / "VG_100K", layout.VISUAL_GENOME_DIR / "VG_100K_2"),
        VISUAL_GENOME_SITE,
        "images.zip",
        partial(_visual_genome_images, folder="VG_100K"),
    ),
    Input(
        "visual-genome-images-2",
        "detection",
        "Visual Genome images, part 2",
        (layout.VISUAL_GENOME_DIR / "VG_100K_2", layout.VISUAL_GENOME_DIR / "VG_100K"),
        VISUAL_GENOME_SITE,
        "images2.zip",
        partial(_visual_genome_images, folder="VG_100K_2"),
    ),
    Input(
        "tracking-lvis",
        "tracking",
        "LVIS v1 train annotations",
        (layout.TRACKING_LVIS_TRAIN,),
        LVIS_SITE,
        "lvis_v1_train.json.zip",
        partial(_lvis, split="train"),
    ),
    Input(
        "tracking-coco",
        "tracking",
        "COCO 2017 train instances",
        layout.TRACKING_COCO_TRAIN_PLACES,
        COCO_SITE,
        "annotations_trainval2017.zip",
        _coco,
    ),
    Input(
        "tracking-captions",
        "tracking",
        "COCO 2017 train captions",
        (layout.TRACKING_CAPTIONS,),
        COCO_SITE,
        "annotations_trainval2017.zip",
        _captions,
        optional=True,
    ),
    Input(
        "tracking-images",
        "tracking",
        "COCO train2017 images",
        (layout.TRACKING_IMAGES, layout.TRACKING_PACKED),
        COCO_SITE,
        "train2017.zip",
        _images,
    ),
)
"""Every input of the two documents but the diffusion model, which `synthesis.diffusion` knows how to look at."""
