"""How fast ImageNet is indexed and prepared, against decoding every image.

    python benchmarks/bench_imagenet.py --images datasets/coco/train2017 --work /tmp/bench [--files 100000]

Takes up to 200 JPEGs of --images as the material. The tree is made of hard links to them, so that its size on
disk is small and its files are in the page cache: the figures are those of the processor, not of a disk. "CPU"
is processor time of all processes, which other work on the machine changes little.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from ovforge.image_io.header import read_size_of_file
from ovforge.taxonomy import lvis_classes

PER_CLASS = 1000


def main() -> None:
    """Measure and print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder on the images' disk, removed after")
    parser.add_argument("--files", type=int, default=100_000, help="names in the tree of folders, at most 1,200,000")
    parser.add_argument("--tar-files", type=int, default=5_000, help="images in the class tars; 0 for no tars")
    arguments = parser.parse_args()
    images = sorted(arguments.images.glob("*.jpg"))[:200] or sorted(arguments.images.rglob("*.JPEG"))[:200]
    arguments.work.mkdir(parents=True)
    try:
        headers_against_decoding(images)
        lvis = make_categories(arguments.work)
        tree = make_tree(arguments.work / "tree", images, arguments.files)
        tars = make_tars(arguments.work / "tars", images, arguments.tar_files)
        cores = len(os.sched_getaffinity(0))
        for name, root in (("folders", tree), ("class tars", tars))[: 2 if arguments.tar_files else 1]:
            for workers in sorted({1, cores}):
                index_tree(name, root, lvis, arguments.work, workers)
        for resize in ("off", "256", "224") if arguments.tar_files else ():
            prepare_tars(tars, arguments.work, resize, cores)
    finally:
        shutil.rmtree(arguments.work)


def headers_against_decoding(images: list[Path]) -> None:
    """One image after another on one core, the file read each time."""
    cv2.setNumThreads(1)
    decoders: dict[str, Callable[[Path], object]] = {"OpenCV": lambda path: cv2.imread(str(path))}
    try:
        from PIL import Image, ImageOps
    except ImportError:
        pass
    else:  # what the original does: detectron2's read_image
        decoders["Pillow, as the original"] = lambda path: ImageOps.exif_transpose(Image.open(path).convert("RGB"))
    header = median_time(images, read_size_of_file, repeats=9)
    print(f"header: {header * 1e6:.1f} us an image, {1 / header:,.0f} images/s on one core")
    for name, decode in decoders.items():
        seconds = median_time(images, decode, repeats=3)
        print(f"decoding with {name}: {seconds * 1e6:,.0f} us an image; the header is {seconds / header:.0f}x faster")


def median_time(images: list[Path], function: Callable[[Path], object], *, repeats: int) -> float:
    """Median over `repeats` of the mean processor time an image."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        for path in images:
            function(path)
        times.append((time.process_time() - start) / len(images))
    return sorted(times)[repeats // 2]


def make_categories(work: Path) -> Path:
    """An annotation file with the LVIS classes and nothing else."""
    path = work / "lvis.json"
    categories = [{"id": c.id, "name": c.name, "synset": c.synset, "frequency": c.frequency} for c in lvis_classes()]
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": categories}))
    return path


def make_tree(root: Path, images: list[Path], files: int) -> Path:
    """train/nXXXXXXXX/*.JPEG, hard links."""
    wnids = [c.wnid for c in lvis_classes() if c.wnid]
    for start in range(0, files, PER_CLASS):
        wnid = wnids[start // PER_CLASS]
        (root / "train" / wnid).mkdir(parents=True)
        for i in range(PER_CLASS):
            source = images[(start + i) % len(images)]
            target = root / "train" / wnid / f"{wnid}_{i}.JPEG"
            try:
                os.link(source, target)
            except OSError:  # another disk
                shutil.copyfile(source, target)
    return root


def make_tars(root: Path, images: list[Path], files: int) -> Path:
    """Class tars of PER_CLASS images each."""
    root.mkdir()
    wnids = [c.wnid for c in lvis_classes() if c.wnid]
    for start in range(0, files, PER_CLASS):
        wnid = wnids[start // PER_CLASS]
        with tarfile.open(root / f"{wnid}.tar", "w", dereference=True) as archive:
            for i in range(PER_CLASS):
                archive.add(images[(start + i) % len(images)], f"{wnid}_{i}.JPEG")
    return root


def index_tree(name: str, root: Path, lvis: Path, work: Path, workers: int) -> None:
    """`imagenet index` in a process of its own, start-up included."""
    arguments = ["index", "--imagenet-path", root, "--lvis-meta-path", lvis, "--out-path", work / "index.json"]
    seconds, cpu, summary = command([*arguments, "--overwrite", "--workers", workers])
    count = summary["counts"]["images"]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"index, {name}, {workers} workers: {count:,} images in {seconds:.2f} s, {count / seconds:,.0f} images/s, "
        f"CPU {cpu:.2f} s, largest process so far {peak:,.0f} MB"
    )


def prepare_tars(tars: Path, work: Path, resize: str, workers: int) -> None:
    """`imagenet prepare` from class tars."""
    out = work / f"prepared_{resize}"
    size = sum(path.stat().st_size for path in tars.iterdir())
    seconds, cpu, summary = command(["prepare", tars, "--out", out, "--resize", resize, "--workers", workers])
    count = summary["counts"]["train"] + summary["counts"]["val"]
    print(
        f"prepare, resize {resize}, {workers} workers: {count:,} images in {seconds:.2f} s, "
        f"{count / seconds:,.0f} images/s, {size / 1e6 / seconds:,.0f} MB/s, CPU {cpu:.1f} s"
    )
    shutil.rmtree(out)


def command(arguments: list[object]) -> tuple[float, float, dict[str, Any]]:
    """Run `ovforge imagenet ...`: its wall time, its processor time, its summary."""
    code = "import sys; from ovforge.cli.common import run_app; from ovforge.cli.imagenet import app; "
    start, before = time.perf_counter(), os.times()
    result = subprocess.run(
        [sys.executable, "-c", code + "sys.exit(run_app(app, sys.argv[1:]))", *map(str, arguments), "--json"],
        check=True,
        capture_output=True,
    )
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, cpu, json.loads(result.stdout)


if __name__ == "__main__":
    main()
