"""What folders, files and archives of images hold, by a look at what is in them; for `inventory`."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import msgspec

from ovforge.errors import ImageError, OvforgeError
from ovforge.files.tar_archive import check_is_tar, stream_members
from ovforge.image_io.hdf5 import is_hdf5
from ovforge.image_io.header import read_header_of_file
from ovforge.image_io.read_file import exists, is_folder
from ovforge.image_io.store import has_image_suffix
from ovforge.sources.imagenet21k import PARTS, ImageNet21k, find_tree, why_unfinished
from ovforge.sources.visual_genome import IMAGES, read_images

_LOOKED_AT = 3
_MERGED_LOOKED_AT = 20


class ImageProbe(msgspec.Struct, frozen=True):
    """What a look at images found."""

    files: int | None = None
    looks_like: str = ""
    problem: str = ""


def probe_images(path: Path) -> ImageProbe:
    """A folder of images, or an HDF5 file of them."""
    if path.is_file():
        if is_hdf5(path):
            return ImageProbe(looks_like="packed images")
        return ImageProbe(problem="is neither a folder nor an HDF5 file")
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if has_image_suffix(entry.name) and not is_folder(entry)]
    if not names:
        return ImageProbe(files=0, problem="holds no images")
    if problem := _no_image_among(path, names):
        return ImageProbe(files=len(names), problem=problem)
    if any(name.startswith("COCO_") for name in names):
        naming = "named as in COCO 2014 (COCO_train2014_...)"
    elif all(len(name) == len("000000000139.jpg") and name[:12].isdigit() for name in names):
        naming = "named as in COCO 2017"
    else:
        naming = ""
    return ImageProbe(files=len(names), looks_like=f"{len(names):,} images" + (f", {naming}" if naming else ""))


def _no_image_among(path: Path, names: list[str]) -> str:
    """What is wrong with the first files, if none of them is an image."""
    first = ""
    for name in sorted(names)[:_LOOKED_AT]:
        try:
            read_header_of_file(path / name, name)
        except ImageError as error:
            first = first or error.message
        else:
            return ""
    return f"its files are not images ({first})"


def probe_visual_genome_images(path: Path, folder: str) -> ImageProbe:
    """The images of one of Visual Genome's two folders; `path` may be the other one, with both merged into it."""
    found = probe_images(path)
    if path.name == folder or found.problem or not path.is_dir():
        return found
    wanted = [
        image.file_name
        for image in read_images(path.parent / IMAGES).values()
        if image.file_name.startswith(f"{folder}/")
    ]
    looked_at = wanted[:: max(1, len(wanted) // _MERGED_LOOKED_AT)]
    here = sum(exists(path / name.rpartition("/")[2]) for name in looked_at)
    if not here:
        return ImageProbe(problem=f"holds none of the images of {folder}")
    return ImageProbe(files=found.files, looks_like=f"{found.looks_like}, with those of {folder} among them")


def probe_imagenet(path: Path) -> ImageProbe:
    """ImageNet-21K in any layout, in `path` or in a folder below it that is called as one of its releases is."""
    found = find_tree(path)
    if found is None:
        return ImageProbe(files=0, problem="holds no class folders (nXXXXXXXX)")
    with ImageNet21k(found) as tree:
        count = {part: sum(any(p.part == part for p in tree.places(w)) for w in tree.classes()) for part in PARTS}
        classes = len(tree.classes())
    problem = why_unfinished(found)
    if tree.layout == "flat":
        return ImageProbe(files=classes, looks_like=f"a flat copy of {classes:,} classes", problem=problem)
    shown = ", ".join(f"{number:,} in {part}" for part, number in count.items())
    missing = [part for part, number in count.items() if not number and part != "val"]
    return ImageProbe(
        files=classes,
        looks_like=f"ImageNet-21K-P: classes {shown}" + (f"; no {missing[0]}" if missing else ""),
        problem=problem or ("" if classes else "holds no class folders (nXXXXXXXX)"),
    )


def probe_imagenet_archive(path: Path) -> ImageProbe:
    """An archive of ImageNet-21K, by its first file."""
    size = f"{path.stat().st_size / 1e9:,.1f} GB"
    with open(path, "rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            if is_gzip:
                with gzip.GzipFile(fileobj=raw) as plain:
                    first = next(stream_members(path, plain, lambda _: None), None)  # type: ignore[arg-type]
            else:
                check_is_tar(path, raw.read(512))
                raw.seek(0)
                first = next(stream_members(path, raw, lambda _: None), None)
        except OvforgeError as error:
            return ImageProbe(problem=error.message.removeprefix(f"{path}: "))
    if first is None:
        return ImageProbe(problem="is an empty archive")
    if first.name.startswith("winter21"):
        return ImageProbe(looks_like=f"ImageNet-21K Winter 2021, which lacks classes that Fall 2011 has, {size}")
    if first.name.endswith(".tar"):
        return ImageProbe(looks_like=f"ImageNet-21K, class tars, {size}")
    return ImageProbe(looks_like=f"ImageNet-21K, images in class folders, {size}")
