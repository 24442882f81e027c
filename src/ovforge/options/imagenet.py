"""Options of the steps over ImageNet-21K."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ovforge.options import layout


@dataclass(frozen=True)
class IndexOptions:
    """Options of `imagenet index`."""

    imagenet: Path = layout.IMAGENET_21K
    """An ImageNet-21K tree: train, val and small classes, or flat class folders, or class tars."""
    lvis: Path = layout.LVIS_VAL
    """Any annotation file with the LVIS categories; only its categories are read."""
    out: Path = layout.IMAGENET_LVIS_INFO
    strict: bool = False
    """Stop at an unreadable image or a category without ImageNet id, instead of leaving it out with a message."""
    overwrite: bool = False


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
class PrepareOptions:
    """Options of `imagenet prepare`."""

    source: Path
    """`fall11_whole.tar`, `winter21_whole.tar.gz`, a folder of class tars, or a folder of class folders."""
    out: Path = layout.IMAGENET_21K
    resize: Resize = Resize.OFF
    classes: ClassChoice = ClassChoice.ALL
    small_limit: int = 500
    """Classes of at most this many images are small classes."""
    val_images: int = 50
    """So many images of every other class, the first in name order, go to val."""
    link: bool = False
    """Hard links instead of copies, where the source is class folders and images stay as they are."""
    check_space: bool = True
    """Refuse to start where the disk has too little room."""
