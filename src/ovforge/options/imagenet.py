"""Options of the steps over ImageNet-21K."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.options import layout
from ovforge.options.base import Options, option


@dataclass(frozen=True)
class IndexOptions(Options):
    """Options of `imagenet index`."""

    imagenet: Path = option(
        layout.IMAGENET_21K,
        "ImageNet-21K: train, val and small classes, or flat n* folders, or n*.tar class tars.",
        "--imagenet-path",
    )
    lvis: Path = option(layout.LVIS_VAL, "Any LVIS annotation file; only its categories are read.", "--lvis-meta-path")
    out: Path = option(layout.IMAGENET_LVIS_INFO, "The index to write.", "--out", "--out-path")
    strict: bool = option(False, "Stop at an unreadable image or an unknown synset instead of skipping it.")
    overwrite: bool = option(False, "Replace an existing index.")


class Resize(str, Enum):
    """How `imagenet prepare` resizes images, as the processing document of ImageNet-21K-P offers."""

    OFF = "off"
    SQUASH = "224"
    """To 224x224, proportions lost; images whose longer edge is below 224 are copied as they are."""
    SHORT_EDGE = "256"
    """The shorter edge to 256, proportions kept; images whose longer edge is below 256 are copied as they are."""


class ClassChoice(str, Enum):
    """Which classes `imagenet prepare` takes."""

    ALL = "all"
    LVIS = "lvis"
    """Only those that the other steps read: LVIS classes and their substitutes."""


@dataclass(frozen=True)
class PrepareOptions(Options):
    """Options of `imagenet prepare`."""

    source: Path = option(
        help="fall11_whole.tar, winter21_whole.tar.gz, a folder of class tars, or a folder of class folders.",
        argument=True,
    )
    out: Path = option(layout.IMAGENET_21K, "The tree to write: train, val, imagenet21k_small_classes.")
    resize: Resize = option(
        Resize.OFF, "off; 224: to 224x224, proportions lost; 256: the shorter edge to 256, proportions kept."
    )
    classes: ClassChoice = option(
        ClassChoice.ALL, "all; lvis: only the LVIS classes and their substitutes, about a tenth."
    )
    small_limit: int = option(500, "Classes of at most this many images are small classes.", at_least=0)
    val_images: int = option(50, "Images of every other class that go to val, the first in name order.", at_least=0)
    link: bool = option(False, "Hard links instead of copies (class folders, --resize off).")
    check_space: bool = option(True, "Start even if the disk seems too small.", off="--no-space-check")
