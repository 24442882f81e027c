"""The images of the sample data set: which view of which photograph, and what is said about it.

Six photographs are few, so most of them appear several times: whole, cut, scaled and mirrored, and as small prints on
a sheet. The ids start at 900,001, above every id of COCO, so that no image is taken for one of COCO's.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovforge.sample_data.geometry import Tile


@dataclass(frozen=True)
class SourceImage:
    """One image of LVIS and COCO.

    Attributes:
        split: `train` or `val`.
        size: (width, height) in pixels.
        captions: two sentences.
        unlabelled: LVIS synsets of which objects are seen but not outlined; they become
            `not_exhaustive_category_ids`. The polygons are left to COCO, so that merging has something to add.
        outlined: how many objects of an `unlabelled` synset are outlined all the same.
        crowd_from: COCO outlines so many objects of a class one by one; all further ones are one crowd region.
    """

    id: int
    split: str
    size: tuple[int, int]
    tiles: tuple[Tile, ...]
    captions: tuple[str, str]
    unlabelled: tuple[str, ...] = ()
    outlined: int = 0
    crowd_from: int = 1000

    @property
    def file_name(self) -> str:
        """The bare name, as COCO names its images."""
        return f"{self.id:012d}.jpg"

    @property
    def folder(self) -> str:
        """COCO's folder of the split."""
        return f"{self.split}2017"


def _view(
    number: int,
    split: str,
    photograph: str,
    crop: tuple[int, int, int, int],
    captions: tuple[str, str],
    *,
    size: tuple[int, int] | None = None,
    mirror: bool = False,
    unlabelled: tuple[str, ...] = (),
) -> SourceImage:
    tile = Tile(photograph, crop, size, mirror)
    return SourceImage(900_000 + number, split, tile.out_size, (tile,), captions, unlabelled)


def _sheet_of_cats() -> SourceImage:
    """Sixteen prints of the cat, every second one mirrored."""
    tiles = tuple(
        Tile("chelsea", (25, 0, 400, 300), (160, 120), mirror=(row + column) % 2 == 1, at=(column * 160, row * 120))
        for row in range(4)
        for column in range(4)
    )
    captions = (
        "A sheet of sixteen small prints of the same tabby cat.",
        "Rows of cat portraits, every second one facing the other way.",
    )
    return SourceImage(900_015, "train", (640, 480), tiles, captions, ("cat.n.01",), outlined=6, crowd_from=8)


def _sheet_of_four() -> SourceImage:
    """Four photographs on one sheet."""
    tiles = (
        Tile("coffee", (40, 10, 480, 360), (320, 240), at=(0, 0)),
        Tile("chelsea", (25, 0, 400, 300), (320, 240), at=(320, 0)),
        Tile("astronaut", (0, 10, 512, 384), (320, 240), mirror=True, at=(0, 240)),
        Tile("camera", (0, 40, 448, 336), (320, 240), at=(320, 240)),
    )
    captions = (
        "Four photographs side by side: a cup of coffee, a cat, an astronaut and a man with a camcorder.",
        "A contact sheet with a cup, a cat's face and two portraits.",
    )
    return SourceImage(900_014, "train", (640, 480), tiles, captions)


IMAGES: tuple[SourceImage, ...] = (
    _view(
        1,
        "train",
        "astronaut",
        (0, 0, 512, 512),
        (
            "A smiling astronaut in an orange suit sits between a flag and a model of the Space Shuttle.",
            "Portrait of a woman in a launch suit with a dark helmet in front of her.",
        ),
    ),
    _view(
        2,
        "train",
        "coffee",
        (0, 0, 600, 400),
        (
            "An espresso in a red cup stands on a saucer on a wooden table.",
            "A small spoon leans on the saucer of a coffee cup.",
        ),
    ),
    _view(
        3,
        "train",
        "chelsea",
        (0, 0, 451, 300),
        ("The face of a tabby cat seen from very near.", "A cat with green eyes looks past the camera."),
    ),
    _view(
        4,
        "train",
        "camera",
        (0, 0, 512, 512),
        (
            "A man in a dark coat looks through a camcorder on a tripod.",
            "Someone with gloves films on a lawn in front of a city.",
        ),
    ),
    _view(
        5,
        "train",
        "rocket",
        (0, 0, 640, 427),
        (
            "A white rocket waits on its launch pad at dusk.",
            "Lights shine at the foot of a rocket between tall lattice towers.",
        ),
    ),
    _view(
        6,
        "train",
        "clock",
        (0, 0, 400, 300),
        (
            "A round clock on a grey wall, blurred by motion.",
            "A wall clock that the moving camera has smeared sideways.",
        ),
    ),
    _view(
        7,
        "train",
        "astronaut",
        (0, 0, 350, 512),
        (
            "A woman in an orange space suit stands beside a striped flag.",
            "An astronaut with short hair smiles for a portrait.",
        ),
        mirror=True,
    ),
    _view(
        8,
        "train",
        "astronaut",
        (300, 0, 212, 300),
        ("A model of the Space Shuttle on a dark stand.", "The Shuttle with its brown tank and two white boosters."),
        size=(424, 600),
    ),
    _view(
        9,
        "train",
        "coffee",
        (60, 0, 480, 400),
        ("A cup of coffee with a spoon beside it, seen from above.", "A red cup and saucer on rough brown boards."),
        mirror=True,
        unlabelled=("spoon.n.01",),
    ),
    _view(
        10,
        "train",
        "coffee",
        (150, 10, 290, 330),
        ("A close look into a cup that is half full of espresso.", "A shiny teaspoon rests in front of a red cup."),
        size=(435, 495),
    ),
    _view(
        11,
        "train",
        "chelsea",
        (0, 0, 451, 300),
        ("A striped cat turns its head to the left.", "Long white whiskers on the face of a cat."),
        size=(586, 390),
        mirror=True,
    ),
    _view(
        12,
        "train",
        "camera",
        (130, 50, 382, 300),
        ("A man peers into the viewfinder of a camcorder.", "Gloved hands hold a small video camera on a tripod."),
        size=(573, 450),
    ),
    _view(
        13,
        "train",
        "rocket",
        (160, 90, 320, 337),
        ("A rocket stands upright between two towers with lightning masts.", "A launch pad under an evening sky."),
        size=(480, 506),
    ),
    _sheet_of_four(),
    _sheet_of_cats(),
    _view(
        16,
        "train",
        "rocket",
        (230, 230, 410, 197),
        ("The foot of a rocket in the glare of lamps.", "A steel tower stands to the right of a launch pad."),
        size=(615, 296),
    ),
    _view(
        101,
        "val",
        "astronaut",
        (0, 0, 512, 450),
        (
            "A portrait of an astronaut with a model of her spacecraft.",
            "A woman in orange sits in front of a grey wall.",
        ),
        size=(640, 562),
        mirror=True,
    ),
    _view(
        102,
        "val",
        "coffee",
        (60, 0, 420, 400),
        ("Coffee in a red cup on a red saucer.", "A cup with a white rim stands on a wooden table top."),
        size=(336, 320),
    ),
    _view(
        103,
        "val",
        "chelsea",
        (20, 0, 380, 300),
        ("A brown cat with black stripes looks to the side.", "The head of a cat fills the image."),
        size=(475, 375),
    ),
    _view(
        104,
        "val",
        "camera",
        (0, 0, 512, 512),
        ("A man bends down to film with a camcorder.", "A black and white image of a man behind a tripod."),
        size=(400, 400),
        mirror=True,
    ),
    _view(
        105,
        "val",
        "rocket",
        (0, 0, 640, 427),
        ("A rocket before its start, with lamps all around.", "Four towers guard a rocket against lightning."),
        mirror=True,
    ),
)
